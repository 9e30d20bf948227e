//! A base model with everything its runs share: tokenised pairs and the reference's answers.

use crate::Result;
use crate::config::{Latent, ModelSource, Precision, Recipe, Training, Truncation};
use crate::experiment::base;
use crate::experiment::dataset::{PairData, TextPairs};
use crate::experiment::reference::Reference;
use crate::experiment::template_date;
use crate::experiment::trainable::fixed;
use crate::model::load::Loaded;
use crate::model::parameters::Parameters;
use crate::passes::policy::Policy;
use crate::progress::Progress;
use crate::run::numerics::NUMERICS;
use crate::run::store::RunKey;
use candle_core::Device;
use std::path::Path;

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
        Ok(Self { base, data, reference, device: place.device.clone(), template_date })
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

/// The base model as a policy without a latent: π_ref.
pub fn reference_policy(base: &Loaded, precision: Precision, device: &Device) -> Result<Policy> {
    let parameters = Parameters::from_tensors(&*base.tensors()?)?.on(device)?;
    Policy::new(&base.config, &parameters, &Latent::None {}, precision)
}
