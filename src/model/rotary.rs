//! Rotary position embeddings, rotate-half convention, with Llama 3.1's scaling.

use crate::model::config::{DecoderConfig, RopeScaling};
use crate::{Error, Result};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::rotary_emb::rope;
use std::f64::consts::TAU;

/// cos and sin of every position's angles, [positions, head_dim / 2] each.
#[derive(Debug, Clone)]
pub struct Rotary {
    cos: Tensor,
    sin: Tensor,
}

/// The rows of a [`Rotary`] that a batch's positions select, [B, 1, T, head_dim / 2] each.
#[derive(Debug, Clone)]
pub struct Angles {
    cos: Tensor,
    sin: Tensor,
}

impl Rotary {
    pub fn new(config: &DecoderConfig, dtype: DType, device: &Device) -> Result<Self> {
        let frequencies = frequencies(config);
        let (n, half) = (config.max_position_embeddings, frequencies.len());
        // Angles in f64: position · frequency loses digits in f32 from a few thousand positions on.
        let angles = (0..n).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let (sin, cos): (Vec<f64>, Vec<f64>) = angles.map(f64::sin_cos).unzip();
        let table = |v: Vec<f64>| Tensor::from_vec(v, (n, half), device)?.to_dtype(dtype);
        Ok(Self { cos: table(cos)?, sin: table(sin)? })
    }

    /// Shapes: positions [B, T] (u32). Errors: a position outside the model's context.
    pub fn at(&self, positions: &Tensor) -> Result<Angles> {
        let (b, t) = positions.dims2()?;
        let flat = positions.flatten_all()?;
        let (limit, half) = self.cos.dims2()?;
        let last = flat.max(0)?.to_scalar::<u32>()? as usize;
        if last >= limit {
            return Err(Error::argument("rotary", "position", last, format!("below the context of {limit}")));
        }
        let rows = |table: &Tensor| table.index_select(&flat, 0)?.reshape((b, 1, t, half));
        Ok(Angles { cos: rows(&self.cos)?, sin: rows(&self.sin)? })
    }
}

impl Angles {
    /// Cosines and sines as numbers.
    pub fn values(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        let values = |t: &Tensor| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1();
        Ok((values(&self.cos)?, values(&self.sin)?))
    }

    /// The same rotations backwards.
    pub fn inverse(&self) -> Result<Self> {
        Ok(Self { cos: self.cos.clone(), sin: self.sin.neg()? })
    }

    /// [`Self::rotate`] in one operation, without autograd.
    pub fn turn(&self, x: &Tensor) -> Result<Tensor> {
        Ok(rope(&x.contiguous()?, &self.cos.squeeze(1)?, &self.sin.squeeze(1)?)?)
    }

    /// Rotates each head's vectors: x [B, heads, T, head_dim] → the same shape.
    pub fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        let half = x.dim(D::Minus1)? / 2;
        let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
        let first = (a.broadcast_mul(&self.cos)? - b.broadcast_mul(&self.sin)?)?;
        let second = (b.broadcast_mul(&self.cos)? + a.broadcast_mul(&self.sin)?)?;
        Ok(Tensor::cat(&[first, second], D::Minus1)?)
    }
}

fn frequencies(config: &DecoderConfig) -> Vec<f64> {
    let d = config.head_dim as f64;
    let base = (0..config.head_dim / 2).map(|i| config.rope_theta.powf(-2.0 * i as f64 / d));
    match &config.rope_scaling {
        None => base.collect(),
        Some(scaling) => base.map(|f| scaled(f, scaling)).collect(),
    }
}

/// Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, between them a blend.
fn scaled(frequency: f64, s: &RopeScaling) -> f64 {
    let turns = s.original_max_position_embeddings as f64 * frequency / TAU;
    let blend = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    let keep = blend.clamp(0.0, 1.0);
    frequency * (keep + (1.0 - keep) / s.factor)
}
