//! AdamW with f32 moments, gradient clipping and the linear schedule.

use crate::config::Training;
use crate::latent;
use crate::model::parameters::Parameters;
use crate::passes::adamw::{Moments, Numbers, Update};
use crate::passes::gpu::Flat;
use crate::passes::{self, Passes};
use crate::{Error, Result};
use candle_core::{Tensor, Var};
use safetensors::{Dtype, View};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Learning-rate factor: 0 → 1 over the warm-up, then linearly to 0 after the last step.
///
/// Source: §4.1. The first step's factor is 0, as in transformers' linear schedule.
///
/// ```
/// use lpc::train::optim::linear_schedule;
/// let factors: Vec<f64> = (0..5).map(|step| linear_schedule(step, 5, 0.4)).collect();
/// assert_eq!(factors, [0.0, 0.5, 1.0, 2.0 / 3.0, 1.0 / 3.0]);
/// ```
pub fn linear_schedule(step: usize, steps: usize, warmup_ratio: f64) -> f64 {
    let warmup = (steps as f64 * warmup_ratio).ceil() as usize;
    if step < warmup {
        step as f64 / warmup as f64
    } else {
        (steps - step.min(steps)) as f64 / (steps - warmup).max(1) as f64
    }
}

/// The furthest that AdamW without decay can move one weight in a run, whatever the gradients: Σ_t rate_t · c_t.
///
/// Source: ours; `paper/derivations.md`, section 9. By Cauchy and Schwarz the t-th update is at most rate_t · c_t with
/// c_t = (1 − β₁)/(1 − β₁ᵗ) · √((1 − β₂ᵗ)/(1 − β₂) · Σ_{j<t} (β₁²/β₂)ʲ), met where every gradient is β₂/β₁ times the last.
///
/// Units: those of the weight. Numerics: a sum of positive terms.
///
/// ```
/// use lpc::plan::{Scale, matrix::Matrix};
/// let paper = Matrix::built_in(Scale::Paper)?.training;
/// let reach = lpc::train::optim::furthest(&paper, 5e-7, 969);
/// assert!((2.4e-4..2.9e-4).contains(&reach)); // Σ rate is 2.4e-4, c_t at most 1.165
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn furthest(training: &Training, peak_rate: f64, steps: usize) -> f64 {
    let Training { adam_beta1: beta1, adam_beta2: beta2, warmup_ratio, .. } = *training;
    let (mut powers, mut power) = (0.0, 1.0);
    let mut update = |step: usize| {
        powers += power;
        power *= beta1 * beta1 / beta2;
        let t = step as i32 + 1;
        let second = (1.0 - beta2.powi(t)) / (1.0 - beta2);
        let most = (1.0 - beta1) / (1.0 - beta1.powi(t)) * (second * powers).sqrt();
        peak_rate * linear_schedule(step, steps, warmup_ratio) * most
    };
    (0..steps).map(&mut update).sum()
}

/// AdamW (Loshchilov & Hutter 2019). Decay applies to matrices only.
pub struct AdamW {
    slots: BTreeMap<String, Slot>,
    /// A decoder in flat memory.
    flat: Option<Flat>,
    passes: &'static dyn Passes,
    settings: Training,
    steps_taken: usize,
}

struct Slot {
    var: Var,
    peak_learning_rate: f64,
    moments: Box<dyn Moments>,
}

impl AdamW {
    /// Parameters whose learning rate is 0 are frozen: neither moved nor part of the norm. So are the statistics that
    /// the heads read by.
    pub fn new(parameters: &Parameters, settings: &Training, heads_learning_rate: f64) -> Result<Self> {
        let (mut slots, passes) = (BTreeMap::new(), passes::of(parameters));
        for (name, var) in parameters.iter() {
            let is_head = name.starts_with(latent::PREFIX);
            let peak_learning_rate = if is_head { heads_learning_rate } else { settings.learning_rate };
            if peak_learning_rate > 0.0 && !name.starts_with(latent::FIXED) {
                let moments = passes.moments(var)?;
                slots.insert(name.clone(), Slot { var: var.clone(), peak_learning_rate, moments });
            }
        }
        Ok(Self { slots, flat: None, passes, settings: settings.clone(), steps_taken: 0 })
    }

    /// Of a decoder in flat memory too, beside the heads.
    pub fn with(self, flat: Option<&Flat>) -> Self {
        Self { flat: flat.cloned(), ..self }
    }

    /// Whether the decoder in flat memory is trained.
    fn trained(&self) -> Option<&Flat> {
        self.flat.as_ref().filter(|_| self.settings.learning_rate > 0.0)
    }

    /// Clips to the global norm, then updates in place. Returns the norm before clipping.
    ///
    /// Errors: a trained parameter without gradient. A norm that is not finite leaves
    /// everything as it was; the caller decides.
    pub fn step(&mut self, gradients: &BTreeMap<String, Tensor>, schedule: f64) -> Result<f64> {
        let gradients = self.slots.iter().map(|(name, slot)| slot.gradient(name, gradients));
        let gradients: Vec<Tensor> = gradients.collect::<Result<_>>()?;
        let of_decoder = self.trained().map_or(Ok(0.0), |flat| flat.lock().weights.square_sum())?;
        let norm = (self.passes.square_sum(&gradients)? + of_decoder).sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        let clip = (self.settings.max_grad_norm / (norm + 1e-6)).min(1.0);
        self.steps_taken += 1;
        let (t, steps_taken) = (&self.settings, self.steps_taken as i32);
        let update = |rate: f64, decays: bool| Update {
            clip: clip as f32,
            beta1: t.adam_beta1 as f32,
            beta2: t.adam_beta2 as f32,
            step_size: (rate / (1.0 - t.adam_beta1.powi(steps_taken))) as f32,
            second_scale: (1.0 - t.adam_beta2.powi(steps_taken)).sqrt().recip() as f32,
            epsilon: t.adam_epsilon as f32,
            keep: if decays { (1.0 - rate * t.weight_decay) as f32 } else { 1.0 },
        };
        for (slot, gradient) in self.slots.values_mut().zip(&gradients) {
            let update = update(slot.peak_learning_rate * schedule, slot.var.rank() == 2);
            slot.moments.update(&slot.var, gradient, &update)?;
        }
        if let Some(flat) = &self.flat {
            let (rate, weights) = (t.learning_rate * schedule, &mut flat.lock().weights);
            match t.learning_rate > 0.0 {
                true => weights.update(&update(rate, true).into(), self.steps_taken as u32)?,
                false => weights.clear_gradients()?,
            }
        }
        Ok(norm)
    }

    /// The decoder that no tensor of [`Self::state`] holds.
    pub fn flat(&self) -> Option<&Flat> {
        self.flat.as_ref()
    }

    /// Moments and step count by name, for a checkpoint, without a copy of them.
    pub fn state(&self) -> BTreeMap<String, StateTensor<'_>> {
        let mut state = BTreeMap::new();
        for (name, slot) in &self.slots {
            let [first, second] = slot.moments.numbers().map(StateTensor::moment);
            state.insert(format!("first.{name}"), first);
            state.insert(format!("second.{name}"), second);
        }
        let steps = Piece::StepsTaken(self.steps_taken as u32);
        state.insert("steps_taken".into(), StateTensor { piece: steps, shape: [1] });
        state
    }

    /// Errors: a moment that is missing or has another size.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let find = |name: &str| {
            state.get(name).ok_or_else(|| Error::argument("optimiser state", name, "nothing", "a tensor"))
        };
        for (name, slot) in &mut self.slots {
            let moment = |which: &str| {
                let (stored, n) = (find(&format!("{which}.{name}"))?, slot.var.elem_count());
                match stored.elem_count() == n {
                    true => Ok(stored),
                    false => {
                        Err(Error::argument("optimiser state", name, stored.elem_count(), n.to_string()))
                    }
                }
            };
            slot.moments.restore(&slot.var, [moment("first")?, moment("second")?])?;
        }
        self.steps_taken = match find("steps_taken")?.flatten_all()?.to_vec1::<u32>()?.as_slice() {
            [steps] => *steps as usize,
            other => return Err(Error::argument("optimiser state", "steps_taken", other.len(), "1 number")),
        };
        Ok(())
    }
}

/// A piece of the optimiser's state as safetensors writes it.
pub struct StateTensor<'a> {
    piece: Piece<'a>,
    shape: [usize; 1],
}

enum Piece<'a> {
    Moment(Numbers<'a>),
    StepsTaken(u32),
}

impl<'a> StateTensor<'a> {
    fn moment(numbers: Numbers<'a>) -> Self {
        Self { shape: [numbers.count()], piece: Piece::Moment(numbers) }
    }
}

impl View for StateTensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.piece {
            Piece::Moment(_) => Dtype::F32,
            Piece::StepsTaken(_) => Dtype::U32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match &self.piece {
            Piece::Moment(numbers) => numbers.bytes(),
            Piece::StepsTaken(steps) => steps.to_le_bytes().to_vec().into(),
        }
    }

    fn data_len(&self) -> usize {
        4 * self.shape[0]
    }
}

impl Slot {
    /// Candle ends a path at a factor of 0: with λ = 0, a head may have no gradient at α = 0 or 1,
    /// where it is 0. A decoder parameter without one is a fault.
    fn gradient(&self, name: &str, gradients: &BTreeMap<String, Tensor>) -> Result<Tensor> {
        match gradients.get(name) {
            Some(gradient) => Ok(gradient.contiguous()?),
            None if latent::NETWORKS.iter().any(|n| name.starts_with(n)) => Ok(self.var.zeros_like()?),
            None => Err(Error::argument("backward", name, "no gradient", "one for each trained parameter")),
        }
    }
}
