//! Gradients by parameter name, accumulated over micro-batches.

use crate::model::parameters::Parameters;
use crate::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
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

impl Gradients {
    /// Adds what autograd found for the named parameters.
    pub fn collect(&mut self, parameters: &Parameters, store: &GradStore) -> Result<()> {
        for (name, var) in parameters.iter() {
            if let Some(gradient) = store.get(var.as_tensor()) {
                self.add(name, gradient)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, gradient: &Tensor) -> Result<()> {
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
