//! AdamW with f32 moments, gradient clipping and the linear schedule.

use crate::config::Training;
use crate::model::heads;
use crate::model::parameters::Parameters;
use crate::tensor::exp::{square_sum as squares, wide};
use crate::tensor::kernels::Kernels;
use crate::tensor::slices::{Held, contiguous};
use crate::{Error, Result};
use candle_core::{CpuStorage, D, DType, InplaceOp2, Layout, Tensor, Var, bail};
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
    kernels: Kernels,
    settings: Training,
    steps_taken: usize,
}

struct Slot {
    var: Var,
    peak_learning_rate: f64,
    moments: Moments,
}

/// Means of the gradients and of their squares, in f32, where the update wants them.
enum Moments {
    Composed { first: Tensor, second: Tensor },
    Fused { first: Vec<f32>, second: Vec<f32> },
}

impl Moments {
    fn zeros(kernels: Kernels, like: &Tensor) -> Result<Self> {
        Ok(match kernels {
            Kernels::Composed => {
                let zeros = || Tensor::zeros(like.shape(), DType::F32, like.device());
                Self::Composed { first: zeros()?, second: zeros()? }
            }
            Kernels::Fused => {
                let zeros = || vec![0.0; like.elem_count()];
                Self::Fused { first: zeros(), second: zeros() }
            }
        })
    }
}

impl AdamW {
    /// Parameters whose learning rate is 0 are frozen: neither moved nor part of the norm.
    pub fn new(parameters: &Parameters, settings: &Training, heads_learning_rate: f64) -> Result<Self> {
        let (mut slots, kernels) = (BTreeMap::new(), parameters.kernels());
        for (name, var) in parameters.iter() {
            let is_head = name.starts_with(heads::PREFIX);
            let peak_learning_rate = if is_head { heads_learning_rate } else { settings.learning_rate };
            if peak_learning_rate > 0.0 {
                let moments = Moments::zeros(kernels, var)?;
                slots.insert(name.clone(), Slot { var: var.clone(), peak_learning_rate, moments });
            }
        }
        Ok(Self { slots, kernels, settings: settings.clone(), steps_taken: 0 })
    }

    /// Clips to the global norm, then updates in place. Returns the norm before clipping.
    ///
    /// Errors: a trained parameter without gradient. A norm that is not finite leaves
    /// everything as it was; the caller decides.
    pub fn step(&mut self, gradients: &BTreeMap<String, Tensor>, schedule: f64) -> Result<f64> {
        let gradients = self.slots.iter().map(|(name, slot)| slot.gradient(name, gradients));
        let gradients: Vec<Tensor> = gradients.collect::<Result<_>>()?;
        let norm = square_sum(self.kernels, &gradients)?.sqrt();
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
            };
            match &mut slot.moments {
                Moments::Composed { first, second } => update.composed(&slot.var, gradient, first, second)?,
                Moments::Fused { first, second } => {
                    let fused = FusedUpdate { update, moments: Mutex::new((first, second)) };
                    slot.var.inplace_op2(gradient, &fused)?;
                }
            }
        }
        Ok(norm)
    }

    /// Moments and step count by name, for a checkpoint, without a copy of them.
    pub fn state(&self) -> BTreeMap<String, StateTensor<'_>> {
        let mut state = BTreeMap::new();
        for (name, slot) in &self.slots {
            let (first, second) = match &slot.moments {
                Moments::Composed { first, second } => (Numbers::Tensor(first), Numbers::Tensor(second)),
                Moments::Fused { first, second } => (Numbers::Slice(first), Numbers::Slice(second)),
            };
            state.insert(format!("first.{name}"), StateTensor::new(first));
            state.insert(format!("second.{name}"), StateTensor::new(second));
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
            let moment = |which: &str| {
                let (stored, n) = (find(&format!("{which}.{name}"))?, slot.var.elem_count());
                match stored.elem_count() == n {
                    true => Ok(stored),
                    false => {
                        Err(Error::argument("optimiser state", name, stored.elem_count(), n.to_string()))
                    }
                }
            };
            let stored = (moment("first")?, moment("second")?);
            match &mut slot.moments {
                Moments::Composed { first, second } => {
                    let place = |t: &Tensor| t.to_device(slot.var.device())?.reshape(slot.var.shape());
                    (*first, *second) = (place(stored.0)?, place(stored.1)?);
                }
                Moments::Fused { first, second } => {
                    (*first, *second) = (stored.0.to_vec1()?, stored.1.to_vec1()?);
                }
            }
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
    numbers: Numbers<'a>,
    shape: [usize; 1],
}

enum Numbers<'a> {
    Slice(&'a [f32]),
    Tensor(&'a Tensor),
    Count(u32),
}

impl<'a> StateTensor<'a> {
    fn new(numbers: Numbers<'a>) -> Self {
        let n = match numbers {
            Numbers::Slice(moment) => moment.len(),
            Numbers::Tensor(moment) => moment.elem_count(),
            Numbers::Count(_) => 1,
        };
        Self { numbers, shape: [n] }
    }
}

impl View for StateTensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.numbers {
            Numbers::Slice(_) | Numbers::Tensor(_) => Dtype::F32,
            Numbers::Count(_) => Dtype::U32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.numbers {
            Numbers::Slice(moment) => moment.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Numbers::Tensor(moment) => View::data(moment),
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

/// Σ g² of all gradients, in f64 over fixed chunks, or over rows that are summed in f32.
fn square_sum(kernels: Kernels, gradients: &[Tensor]) -> Result<f64> {
    match kernels {
        Kernels::Composed => {
            let rows = |g: &Tensor| g.sqr()?.sum(D::Minus1)?.to_dtype(DType::F64)?.sum_all();
            let sums = gradients.iter().map(rows).collect::<candle_core::Result<Vec<_>>>()?;
            match sums.as_slice() {
                [] => Ok(0.0),
                // A device answers once.
                sums => Ok(Tensor::stack(sums, 0)?.sum_all()?.to_scalar()?),
            }
        }
        Kernels::Fused => {
            let sum = |g: &Tensor| -> Result<f64> {
                let chunks: Vec<f64> = Held::new(g)?.slice().par_chunks(CHUNK).map(squares).collect();
                Ok(chunks.iter().sum())
            };
            gradients.iter().map(sum).sum()
        }
    }
}

/// One parameter's update.
struct Update {
    clip: f32,
    beta1: f32,
    beta2: f32,
    step_size: f32,
    second_scale: f32,
    epsilon: f32,
    keep: f32,
}

impl Update {
    fn composed(&self, var: &Var, gradient: &Tensor, first: &mut Tensor, second: &mut Tensor) -> Result<()> {
        let mean =
            |old: &Tensor, new: &Tensor, beta: f32| (old * f64::from(beta))? + (new * f64::from(1.0 - beta))?;
        let gradient = (gradient * f64::from(self.clip))?;
        *first = mean(first, &gradient, self.beta1)?;
        *second = mean(second, &gradient.sqr()?, self.beta2)?;
        let scale = ((second.sqrt()? * f64::from(self.second_scale))? + f64::from(self.epsilon))?;
        let step = ((&*first * f64::from(self.step_size))? / scale)?;
        Ok(var.set(&((var.as_detached_tensor() * f64::from(self.keep))? - step)?)?)
    }
}

/// Applied to the parameter's storage in place.
struct FusedUpdate<'a> {
    update: Update,
    moments: Mutex<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
}

impl InplaceOp2 for FusedUpdate<'_> {
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
        let Update { clip, beta1, beta2, step_size, second_scale, epsilon, keep } = self.update;
        values[start..end]
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK))
            .zip(second.par_chunks_mut(CHUNK))
            .for_each(|(((values, gradient), first), second)| {
                wide!({
                    for (((w, &g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
                        let g = g * clip;
                        *m = beta1 * *m + (1.0 - beta1) * g;
                        *v = beta2 * *v + (1.0 - beta2) * g * g;
                        *w = *w * keep - step_size * *m / (v.sqrt() * second_scale + epsilon);
                    }
                });
            });
        Ok(())
    }
}
