//! Named trainable tensors, by their Hugging Face names.

use crate::model::config::DecoderConfig;
use crate::{Error, Result, seed};
use candle_core::{DType, Device, Tensor, Var};
use rand::Rng;
use std::collections::BTreeMap;

/// Every trainable tensor of a model, in the order of its names.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    vars: BTreeMap<String, Var>,
    composed: bool,
}

impl Parameters {
    /// Copies of the tensors, so that training never writes into shared storage.
    pub fn from_tensors<'a>(tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>) -> Result<Self> {
        let mut vars = BTreeMap::new();
        for (name, tensor) in tensors {
            vars.insert(name.clone(), Var::from_tensor(&tensor.copy()?)?);
        }
        Ok(Self { vars, composed: false })
    }

    /// A freshly initialised decoder: matrices N(0, 1/inputs), embeddings N(0, 0.02²), norms 1.
    pub fn random_decoder(config: &DecoderConfig, rng: &mut impl Rng) -> Result<Self> {
        let mut parameters = Self::default();
        for (name, shape) in config.parameter_shapes() {
            let (n, std) = match shape.as_slice() {
                [n] => (*n, 0.0),
                [rows, cols] if name.contains("embed_tokens") => (rows * cols, 0.02),
                [rows, cols] => (rows * cols, (*cols as f64).powf(-0.5)),
                _ => unreachable!("decoder parameters have one or two dimensions"),
            };
            let values: Vec<f32> = if shape.len() == 1 {
                vec![1.0; n]
            } else {
                seed::normal(rng, n).into_iter().map(|v| (v * std) as f32).collect()
            };
            parameters.insert(&name, Tensor::from_vec(values, shape, &Device::Cpu)?)?;
        }
        Ok(parameters)
    }

    pub fn insert(&mut self, name: &str, value: Tensor) -> Result<()> {
        self.vars.insert(name.to_string(), Var::from_tensor(&value)?);
        Ok(())
    }

    /// The tensor of this name, tracked by autograd; its shape must be the expected one.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let var = self
            .vars
            .get(name)
            .ok_or_else(|| Error::argument("parameters", name, "nothing", format!("a tensor {shape:?}")))?;
        if var.dims() != shape {
            return Err(Error::argument(
                "parameters",
                name,
                format!("{:?}", var.dims()),
                format!("{shape:?}"),
            ));
        }
        Ok(var.as_tensor().clone())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Var)> {
        self.vars.iter()
    }

    /// Name → tensor, sharing storage, for writing.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.vars.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect()
    }

    pub fn count(&self) -> usize {
        self.vars.values().map(|v| v.elem_count()).sum()
    }

    /// The same values in another dtype or on another device, as new variables.
    pub fn to(&self, dtype: DType, device: &Device) -> Result<Self> {
        let mut vars = BTreeMap::new();
        for (name, var) in &self.vars {
            let tensor = var.as_detached_tensor().to_device(device)?.to_dtype(dtype)?;
            vars.insert(name.clone(), Var::from_tensor(&tensor.copy()?)?);
        }
        Ok(Self { vars, composed: self.composed })
    }

    /// The same values on a device: the variables themselves where they are there.
    pub fn on(self, device: &Device) -> Result<Self> {
        let there = self.vars.values().all(|v| v.device().same_device(device));
        if there { Ok(self) } else { self.to(DType::F32, device) }
    }

    /// The same variables, but [`crate::passes::of`] never chooses `Fused` for them: the passes composed of
    /// candle's operations compute, which run on any device.
    pub fn composed(&self) -> Self {
        Self { composed: true, ..self.clone() }
    }

    /// Whether `Fused` must not compute with them; see [`Parameters::composed`].
    pub fn is_composed(&self) -> bool {
        self.composed
    }
}
