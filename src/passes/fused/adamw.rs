//! AdamW's update in one reading of the parameter's numbers.

use crate::Result;
use crate::machine::exp::{square_sum as squares, wide};
use crate::passes::adamw::{Moments, Numbers, Update};
use crate::tensor::slices::{Held, contiguous};
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, Var, bail};
use rayon::prelude::*;
use std::sync::Mutex;

/// Numbers a task works on; also the fixed unit in which sums are formed, so that they do not
/// depend on the number of threads.
const CHUNK: usize = 1 << 15;

/// Moments as plain numbers.
pub(super) struct InSlices {
    first: Vec<f32>,
    second: Vec<f32>,
}

impl InSlices {
    pub fn zeros(parameter: &Var) -> Self {
        let zeros = || vec![0.0; parameter.elem_count()];
        Self { first: zeros(), second: zeros() }
    }
}

impl Moments for InSlices {
    fn update(&mut self, parameter: &Var, gradient: &Tensor, update: &Update) -> Result<()> {
        let moments = Mutex::new((&mut self.first, &mut self.second));
        Ok(parameter.inplace_op2(gradient, &InPlace { update, moments })?)
    }

    fn numbers(&self) -> [Numbers<'_>; 2] {
        [Numbers::Slice(&self.first), Numbers::Slice(&self.second)]
    }

    fn restore(&mut self, _: &Var, stored: [&Tensor; 2]) -> Result<()> {
        (self.first, self.second) = (stored[0].to_vec1()?, stored[1].to_vec1()?);
        Ok(())
    }
}

/// Applied to the parameter's storage in place.
struct InPlace<'a> {
    update: &'a Update,
    moments: Mutex<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
}

impl InplaceOp2 for InPlace<'_> {
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
        let Update { clip, beta1, beta2, step_size, second_scale, epsilon, keep } = *self.update;
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

/// Σ g² of all gradients, in f64 over fixed chunks.
pub(super) fn square_sum(gradients: &[Tensor]) -> Result<f64> {
    let sum = |g: &Tensor| -> Result<f64> {
        let chunks: Vec<f64> = Held::new(g)?.slice().par_chunks(CHUNK).map(squares).collect();
        Ok(chunks.iter().sum())
    };
    gradients.iter().map(sum).sum()
}
