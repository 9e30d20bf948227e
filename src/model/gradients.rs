//! Gradients by parameter name, accumulated over micro-batches.

use crate::machine::gemm::{Prepared, multiplied, multiply};
use crate::model::parameters::Parameters;
use crate::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Tensor, bail};
use std::collections::BTreeMap;

/// Sums of gradients: tensors from autograd, plain numbers from the fused blocks.
#[derive(Debug, Default)]
pub struct Gradients {
    sums: BTreeMap<String, Sum>,
}

#[derive(Debug)]
enum Sum {
    Tensor(Tensor),
    Buffer(Vec<f32>),
}

fn add_rows(sum: &mut [f32], at: impl Iterator<Item = u32>, rows: &[f32], d: usize) {
    for (at, row) in at.zip(rows.chunks(d)) {
        sum[at as usize * d..][..d].iter_mut().zip(row).for_each(|(a, b)| *a += b);
    }
}

struct AddRows<'a> {
    at: &'a [u32],
    rows: &'a [f32],
    d: usize,
}

impl InplaceOp1 for AddRows<'_> {
    fn name(&self) -> &'static str {
        "add-rows"
    }

    fn cpu_fwd(&self, sum: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        match (sum, layout.contiguous_offsets()) {
            (CpuStorage::F32(sum), Some((start, end))) => {
                add_rows(&mut sum[start..end], self.at.iter().copied(), self.rows, self.d);
                Ok(())
            }
            _ => bail!("add-rows: expected contiguous f32 numbers"),
        }
    }
}

impl Gradients {
    /// Adds what autograd found for the named parameters.
    pub fn collect<'a>(
        &mut self,
        parameters: impl Iterator<Item = (impl AsRef<str>, &'a Tensor)>,
        store: &GradStore,
    ) -> Result<()> {
        for (name, parameter) in parameters {
            if let Some(gradient) = store.get(parameter) {
                self.add(name.as_ref(), gradient)?;
            }
        }
        Ok(())
    }

    /// Adds to the sum for `name`.
    pub fn add(&mut self, name: &str, gradient: &Tensor) -> Result<()> {
        let sum = match self.sums.remove(name) {
            None => Sum::Tensor(gradient.detach()),
            Some(Sum::Tensor(sum)) => Sum::Tensor((sum + gradient)?.detach()),
            Some(Sum::Buffer(mut sum)) => {
                let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
                sum.iter_mut().zip(gradient).for_each(|(a, b)| *a += b);
                Sum::Buffer(sum)
            }
        };
        self.sums.insert(name.to_string(), sum);
        Ok(())
    }

    /// Adds a product of `len` numbers to the sum for `name`, or begins it with them.
    pub fn add_product(
        &mut self,
        name: &str,
        len: usize,
        (left, right): (&Prepared<'_>, &Prepared<'_>),
    ) -> Result<()> {
        if self.sums.contains_key(name) {
            multiply(left, right, self.buffer(name, len)?, true);
        } else {
            self.sums.insert(name.to_string(), Sum::Buffer(multiplied(left, right)));
        }
        Ok(())
    }

    /// Adds row i of `rows` [n, d] to row `at[i]` of the sum for `name`, which has the shape of `like`.
    pub fn add_at(&mut self, name: &str, like: &Tensor, at: &Tensor, rows: &Tensor) -> Result<()> {
        let sum = match self.sums.remove(name) {
            Some(Sum::Tensor(sum)) => sum,
            Some(Sum::Buffer(sum)) => Tensor::from_vec(sum, like.shape(), like.device())?,
            None => like.zeros_like()?,
        };
        self.sums.insert(name.to_string(), Sum::Tensor(sum.index_add(at, rows, 0)?));
        Ok(())
    }

    /// Adds row i of `rows` [n, d] to row `at[i]` of the sum for `name` [len / d, d].
    pub fn add_rows(
        &mut self,
        name: &str,
        len: usize,
        at: impl Iterator<Item = u32>,
        rows: &[f32],
        d: usize,
    ) -> Result<()> {
        if let Some(Sum::Tensor(sum)) = self.sums.get(name) {
            // In place: the gradient of a tied head is as large as the vocabulary.
            let at: Vec<u32> = at.collect();
            return Ok(sum.inplace_op1(&AddRows { at: &at, rows, d })?);
        }
        add_rows(self.buffer(name, len)?, at, rows, d);
        Ok(())
    }

    /// The sum for `name` as numbers to add to, zeros at first.
    pub fn buffer(&mut self, name: &str, len: usize) -> Result<&mut [f32]> {
        let sum = match self.sums.remove(name) {
            None => vec![0f32; len],
            Some(Sum::Buffer(sum)) => sum,
            Some(Sum::Tensor(sum)) => sum.flatten_all()?.to_vec1::<f32>()?,
        };
        if sum.len() != len {
            return Err(Error::argument("gradients", name, sum.len(), len.to_string()));
        }
        match self.sums.entry(name.to_string()).or_insert(Sum::Buffer(sum)) {
            Sum::Buffer(sum) => Ok(sum),
            Sum::Tensor(_) => Err(Error::argument("gradients", name, "a tensor", "a buffer")),
        }
    }

    /// Every gradient as a tensor of its parameter's shape.
    pub fn into_tensors(self, parameters: &Parameters) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = BTreeMap::new();
        let mut sums = self.sums;
        for (name, var) in parameters.iter() {
            let tensor = match sums.remove(name) {
                None => continue,
                Some(Sum::Tensor(sum)) => sum,
                Some(Sum::Buffer(sum)) => Tensor::from_vec(sum, var.shape(), &Device::Cpu)?,
            };
            tensors.insert(name.clone(), tensor);
        }
        Ok(tensors)
    }
}
