//! A base model with everything its runs share: tokenised pairs and the reference's answers.

use crate::Result;
use crate::config::{Latent, ModelSource, Precision, Recipe, Training, Truncation};
use crate::data::tokenize::TokenizedPair;
use crate::experiment::base;
use crate::experiment::dataset::{PairData, TextPairs};
use crate::experiment::reference::Reference;
use crate::experiment::template_date;
use crate::experiment::trainable::{fixed, reference};
use crate::interrupt;
use crate::latent::States;
use crate::model::batch::PairBatch;
use crate::model::load::Loaded;
use crate::model::parameters::Parameters;
use crate::passes::policy::{PairPolicy, Policy};
use crate::progress::Progress;
use crate::run::numerics::NUMERICS;
use crate::run::store::RunKey;
use crate::train::micro_batches::micro_batches;
use crate::train::reference::by_length;
use candle_core::{DType, Device, Tensor};
use std::path::Path;
use std::sync::OnceLock;

/// Where finished work is kept, and what computes the rest.
#[derive(Clone, Copy)]
pub struct Where<'a> {
    pub runs: &'a Path,
    pub device: &'a Device,
    /// What the user wants a chat template to take for today.
    pub template_date: Option<&'a str>,
}

pub struct Prepared {
    pub base: Loaded,
    pub data: PairData,
    /// For objectives that compare with π_ref, and for the base model's own accuracy.
    pub reference: Option<Reference>,
    pub device: Device,
    /// What the chat template wrote, where it asks for the date.
    pub template_date: Option<String>,
    states: OnceLock<States>,
}

impl Prepared {
    /// The reference answers in the precision that the policy is trained in, by as many pairs at a
    /// time, which changes only the speed.
    ///
    /// Errors: the model or the pairs cannot be read, or do not fit each other.
    pub fn load(
        model: &ModelSource,
        text: &TextPairs,
        truncation: &Truncation,
        needs_reference: bool,
        training: &Training,
        place: Where<'_>,
        progress: &Progress,
    ) -> Result<Self> {
        // Flat memory is filled a piece at a time.
        let read = if training.memory.is_tensors() { base::load } else { base::open };
        let mut base = read(model, place.runs, progress)?;
        let template_date = template_date::fix(&mut base, place.template_date, text, place.runs)?;
        let data = text.tokenized(&base, truncation)?;
        let reference = match needs_reference {
            false => None,
            true => Some(Reference::load(&base, &data, training, place, progress)?),
        };
        let (device, states) = (place.device.clone(), OnceLock::new());
        Ok(Self { base, data, reference, device, template_date, states })
    }

    /// The base model's last hidden states of the training pairs, computed once: of the first [`STATES`] pairs.
    pub fn states(&self, training: &Training) -> Result<&States> {
        if let Some(states) = self.states.get() {
            return Ok(states);
        }
        let pairs = &self.data.train[..self.data.train.len().min(STATES)];
        let policy = reference(&self.base, training, &self.data, &self.device)?;
        let states = last_states(policy.as_ref(), pairs, training)?;
        Ok(self.states.get_or_init(|| states))
    }

    /// What decides the numbers of a recipe's run; the recipe with what is fixed when it begins.
    ///
    /// Errors: the device has no room for any format.
    pub fn key(&self, recipe: &Recipe) -> Result<RunKey> {
        let (template_date, training) = (self.template_date.clone(), fixed(recipe, self)?);
        Ok(RunKey {
            recipe: Recipe { template_date, training, ..recipe.clone() },
            data: self.data.fingerprint.clone(),
            model: self.base.fingerprint.clone(),
            numerics: NUMERICS,
        })
    }
}

/// Most training pairs whose states give the statistics that heads read by. A choice.
pub const STATES: usize = 16384;

/// In f64 on the CPU, in the order of the pairs: sums over them do not depend on the batches.
fn last_states(policy: &dyn PairPolicy, pairs: &[TokenizedPair], training: &Training) -> Result<States> {
    let mut rows: Vec<[Vec<f64>; 3]> = vec![Default::default(); pairs.len()];
    for members in &micro_batches(&by_length(pairs), pairs, training, policy.pads()) {
        interrupt::check("states of the base model")?;
        let chunk: Vec<&TokenizedPair> = members.iter().map(|&i| &pairs[i]).collect();
        let states = policy.states(&PairBatch::new(&chunk, policy.dtype(), policy.device())?)?;
        let all = [&states.prompt_hidden, &states.chosen_hidden, &states.rejected_hidden];
        for (side, states) in all.into_iter().enumerate() {
            for (&i, row) in members.iter().zip(states.to_dtype(DType::F64)?.to_vec2::<f64>()?) {
                rows[i][side] = row;
            }
        }
    }
    let of = |side: usize| rows.iter().map(move |row| row[side].clone());
    let stack = |rows: Vec<Vec<f64>>| Tensor::new(rows, &Device::Cpu);
    Ok(States { prompt: stack(of(0).collect())?, completion: stack(of(1).chain(of(2)).collect())? })
}

/// The base model as a policy without a latent: π_ref.
pub fn reference_policy(base: &Loaded, precision: Precision, device: &Device) -> Result<Policy> {
    let parameters = Parameters::from_tensors(&*base.tensors()?)?.on(device)?;
    Policy::new(&base.config, &parameters, &Latent::None {}, precision)
}
