//! AdamW with f32 moments, gradient clipping and the linear schedule.

use crate::config::Training;
use crate::model::heads;
use crate::model::parameters::Parameters;
use crate::tensor::exp::{square_sum as squares, wide};
use crate::tensor::slices::{Held, contiguous};
use crate::{Error, Result};
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, Var, bail};
use rayon::prelude::*;
use safetensors::{Dtype, View};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Numbers a task works on; also the fixed unit in which sums are formed, so that they do not
/// depend on the number of threads.
const CHUNK: usize = 1 << 15;

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

/// AdamW (Loshchilov & Hutter 2019). Decay applies to matrices only.
pub struct AdamW {
    slots: BTreeMap<String, Slot>,
    settings: Training,
    steps_taken: usize,
}

struct Slot {
    var: Var,
    peak_learning_rate: f64,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl AdamW {
    /// Parameters whose learning rate is 0 are frozen: neither moved nor part of the norm.
    pub fn new(parameters: &Parameters, settings: &Training, heads_learning_rate: f64) -> Result<Self> {
        let mut slots = BTreeMap::new();
        for (name, var) in parameters.iter() {
            let is_head = name.starts_with(heads::PREFIX);
            let peak_learning_rate = if is_head { heads_learning_rate } else { settings.learning_rate };
            if peak_learning_rate > 0.0 {
                let n = var.elem_count();
                let slot =
                    Slot { var: var.clone(), peak_learning_rate, first: vec![0.0; n], second: vec![0.0; n] };
                slots.insert(name.clone(), slot);
            }
        }
        Ok(Self { slots, settings: settings.clone(), steps_taken: 0 })
    }

    /// Clips to the global norm, then updates in place. Returns the norm before clipping.
    ///
    /// Errors: a trained parameter without gradient. A norm that is not finite leaves
    /// everything as it was; the caller decides.
    pub fn step(&mut self, gradients: &BTreeMap<String, Tensor>, schedule: f64) -> Result<f64> {
        let gradients = self.slots.iter().map(|(name, slot)| slot.gradient(name, gradients));
        let gradients: Vec<Tensor> = gradients.collect::<Result<_>>()?;
        let square_norm: f64 = gradients.iter().map(square_sum).sum::<Result<f64>>()?;
        let norm = square_norm.sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        let clip = (self.settings.max_grad_norm / (norm + 1e-6)).min(1.0);
        self.steps_taken += 1;
        for (slot, gradient) in self.slots.values_mut().zip(&gradients) {
            let t = &self.settings;
            let decays = slot.var.rank() == 2;
            let rate = slot.peak_learning_rate * schedule;
            let update = Update {
                clip: clip as f32,
                beta1: t.adam_beta1 as f32,
                beta2: t.adam_beta2 as f32,
                step_size: (rate / (1.0 - t.adam_beta1.powi(self.steps_taken as i32))) as f32,
                second_scale: (1.0 - t.adam_beta2.powi(self.steps_taken as i32)).sqrt().recip() as f32,
                epsilon: t.adam_epsilon as f32,
                keep: if decays { (1.0 - rate * t.weight_decay) as f32 } else { 1.0 },
                moments: Mutex::new((&mut slot.first, &mut slot.second)),
            };
            slot.var.inplace_op2(gradient, &update)?;
        }
        Ok(norm)
    }

    /// Moments and step count by name, for a checkpoint, without a copy of them.
    pub fn state(&self) -> BTreeMap<String, StateTensor<'_>> {
        let mut state = BTreeMap::new();
        for (name, slot) in &self.slots {
            for (which, moment) in [("first", &slot.first), ("second", &slot.second)] {
                state.insert(format!("{which}.{name}"), StateTensor::new(Numbers::Moment(moment)));
            }
        }
        let steps = StateTensor::new(Numbers::Count(self.steps_taken as u32));
        state.insert("steps_taken".into(), steps);
        state
    }

    /// Errors: a moment that is missing or has another size.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let find = |name: &str| {
            state.get(name).ok_or_else(|| Error::argument("optimiser state", name, "nothing", "a tensor"))
        };
        for (name, slot) in &mut self.slots {
            for (which, moment) in [("first", &mut slot.first), ("second", &mut slot.second)] {
                let values = find(&format!("{which}.{name}"))?.to_vec1::<f32>()?;
                if values.len() != moment.len() {
                    return Err(Error::argument(
                        "optimiser state",
                        name,
                        values.len(),
                        moment.len().to_string(),
                    ));
                }
                *moment = values;
            }
        }
        self.steps_taken = find("steps_taken")?.to_vec1::<u32>()?[0] as usize;
        Ok(())
    }
}

/// A piece of the optimiser's state as safetensors writes it.
pub struct StateTensor<'a> {
    numbers: Numbers<'a>,
    shape: [usize; 1],
}

enum Numbers<'a> {
    Moment(&'a [f32]),
    Count(u32),
}

impl<'a> StateTensor<'a> {
    fn new(numbers: Numbers<'a>) -> Self {
        let n = match numbers {
            Numbers::Moment(moment) => moment.len(),
            Numbers::Count(_) => 1,
        };
        Self { numbers, shape: [n] }
    }
}

impl View for StateTensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.numbers {
            Numbers::Moment(_) => Dtype::F32,
            Numbers::Count(_) => Dtype::U32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.numbers {
            Numbers::Moment(moment) => moment.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Numbers::Count(count) => count.to_le_bytes().to_vec().into(),
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
            None if heads::NETWORKS.iter().any(|n| name.starts_with(n)) => Ok(self.var.zeros_like()?),
            None => Err(Error::argument("backward", name, "no gradient", "one for each trained parameter")),
        }
    }
}

/// Σ g², in f64 over fixed chunks.
fn square_sum(gradient: &Tensor) -> Result<f64> {
    let chunks: Vec<f64> = Held::new(gradient)?.slice().par_chunks(CHUNK).map(squares).collect();
    Ok(chunks.iter().sum())
}

/// One parameter's update, applied to its storage in place.
struct Update<'a> {
    clip: f32,
    beta1: f32,
    beta2: f32,
    step_size: f32,
    second_scale: f32,
    epsilon: f32,
    keep: f32,
    moments: Mutex<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let Some((start, end)) = parameter_layout.contiguous_offsets() else {
            bail!("adamw: expected a contiguous parameter")
        };
        let CpuStorage::F32(values) = parameter else { bail!("adamw: expected f32 parameters") };
        let gradient = contiguous(gradient, gradient_layout)?;
        let mut moments = self.moments.lock().unwrap_or_else(|e| e.into_inner());
        let (first, second) = &mut *moments;
        values[start..end]
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK))
            .zip(second.par_chunks_mut(CHUNK))
            .for_each(|(((values, gradient), first), second)| {
                wide(|| {
                    for (((w, &g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
                        let g = g * self.clip;
                        *m = self.beta1 * *m + (1.0 - self.beta1) * g;
                        *v = self.beta2 * *v + (1.0 - self.beta2) * g * g;
                        *w = *w * self.keep
                            - self.step_size * *m / (v.sqrt() * self.second_scale + self.epsilon);
                    }
                });
            });
        Ok(())
    }
}
