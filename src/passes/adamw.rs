//! AdamW on one parameter: what an update is, and how candle's operations make it on any device.

use crate::Result;
use crate::machine::device::kernels::Step;
use candle_core::{D, DType, Tensor, Var};
use safetensors::View;
use std::borrow::Cow;

/// One step's update of a parameter w with gradient g:
/// m ← β₁m + (1 − β₁)·clip·g, v ← β₂v + (1 − β₂)·(clip·g)²,
/// w ← keep·w − step_size·m / (second_scale·√v + ε).
#[derive(Debug, Clone, Copy)]
pub struct Update {
    pub clip: f32,
    pub beta1: f32,
    pub beta2: f32,
    /// Learning rate over 1 − β₁ᵗ.
    pub step_size: f32,
    /// 1 / √(1 − β₂ᵗ).
    pub second_scale: f32,
    pub epsilon: f32,
    /// 1 less the weight decay.
    pub keep: f32,
}

impl From<Update> for Step {
    fn from(update: Update) -> Self {
        let Update { clip, beta1, beta2, step_size, second_scale, epsilon, keep } = update;
        Self { clip, beta1, beta2, step_size, second_scale, epsilon, keep }
    }
}

/// Means of a parameter's gradients and of their squares, in f32, where the update wants them.
pub trait Moments {
    /// Moves the parameter in place, and the moments.
    fn update(&mut self, parameter: &Var, gradient: &Tensor, update: &Update) -> Result<()>;

    /// First and second, for a checkpoint, without a copy of them.
    fn numbers(&self) -> [Numbers<'_>; 2];

    /// Replaces both by stored ones of as many numbers.
    fn restore(&mut self, parameter: &Var, stored: [&Tensor; 2]) -> Result<()>;
}

/// f32 numbers that a checkpoint writes.
pub enum Numbers<'a> {
    Slice(&'a [f32]),
    Tensor(&'a Tensor),
}

impl<'a> Numbers<'a> {
    pub fn count(&self) -> usize {
        match self {
            Self::Slice(numbers) => numbers.len(),
            Self::Tensor(tensor) => tensor.elem_count(),
        }
    }

    pub fn bytes(&self) -> Cow<'a, [u8]> {
        match *self {
            Self::Slice(numbers) => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::Tensor(tensor) => View::data(tensor),
        }
    }
}

/// Moments as tensors beside the parameter.
pub(super) struct InTensors {
    first: Tensor,
    second: Tensor,
}

impl InTensors {
    pub fn zeros(parameter: &Var) -> Result<Self> {
        let zeros = || Tensor::zeros(parameter.shape(), DType::F32, parameter.device());
        Ok(Self { first: zeros()?, second: zeros()? })
    }
}

impl Moments for InTensors {
    fn update(&mut self, parameter: &Var, gradient: &Tensor, update: &Update) -> Result<()> {
        let mean =
            |old: &Tensor, new: &Tensor, beta: f32| (old * f64::from(beta))? + (new * f64::from(1.0 - beta))?;
        let Self { first, second } = self;
        let gradient = (gradient * f64::from(update.clip))?;
        *first = mean(first, &gradient, update.beta1)?;
        *second = mean(second, &gradient.sqr()?, update.beta2)?;
        let scale = ((second.sqrt()? * f64::from(update.second_scale))? + f64::from(update.epsilon))?;
        let step = ((&*first * f64::from(update.step_size))? / scale)?;
        Ok(parameter.set(&((parameter.as_detached_tensor() * f64::from(update.keep))? - step)?)?)
    }

    fn numbers(&self) -> [Numbers<'_>; 2] {
        [Numbers::Tensor(&self.first), Numbers::Tensor(&self.second)]
    }

    fn restore(&mut self, parameter: &Var, stored: [&Tensor; 2]) -> Result<()> {
        let place = |t: &Tensor| t.to_device(parameter.device())?.reshape(parameter.shape());
        (self.first, self.second) = (place(stored[0])?, place(stored[1])?);
        Ok(())
    }
}

/// Σ g² of all gradients, in f64 over rows that are summed in f32.
pub(super) fn square_sum(gradients: &[Tensor]) -> Result<f64> {
    let rows = |g: &Tensor| g.sqr()?.sum(D::Minus1)?.to_dtype(DType::F64)?.sum_all();
    let sums = gradients.iter().map(rows).collect::<candle_core::Result<Vec<_>>>()?;
    match sums.as_slice() {
        [] => Ok(0.0),
        // A device answers once.
        sums => Ok(Tensor::stack(sums, 0)?.sum_all()?.to_scalar()?),
    }
}
