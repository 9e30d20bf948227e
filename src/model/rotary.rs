//! Rotary position embeddings, rotate-half convention, with Llama 3.1's scaling.

use crate::model::config::{DecoderConfig, RopeScaling};
use crate::{Error, Result};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::rotary_emb::rope;
use std::f64::consts::TAU;
use std::sync::{Arc, Mutex, PoisonError};

/// Positions that tables have at least, if the model has as many.
const SHORTEST: usize = 256;

/// cos and sin of positions' angles, as far as a batch has needed them: a model may allow a million
/// positions of which nobody uses more than a few hundred.
#[derive(Debug, Clone)]
pub struct Rotary {
    frequencies: Vec<f64>,
    /// Positions there are.
    limit: usize,
    dtype: DType,
    device: Device,
    tables: Arc<Mutex<Tables>>,
}

/// [positions, head_dim / 2] each.
#[derive(Debug, Clone)]
struct Tables {
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
        let none = Tensor::zeros((0, frequencies.len()), dtype, device)?;
        let tables = Arc::new(Mutex::new(Tables { cos: none.clone(), sin: none }));
        let limit = config.max_position_embeddings;
        Ok(Self { frequencies, limit, dtype, device: device.clone(), tables })
    }

    /// Shapes: positions [B, T] (u32). Errors: a position outside the model's context.
    pub fn at(&self, positions: &Tensor) -> Result<Angles> {
        let (b, t) = positions.dims2()?;
        let flat = positions.flatten_all()?;
        let last = flat.max(0)?.to_scalar::<u32>()? as usize;
        if last >= self.limit {
            let expected = format!("below the context of {}", self.limit);
            return Err(Error::argument("rotary", "position", last, expected));
        }
        let Tables { cos, sin } = self.tables_beyond(last)?;
        let half = self.frequencies.len();
        let rows = |table: &Tensor| table.index_select(&flat, 0)?.reshape((b, 1, t, half));
        Ok(Angles { cos: rows(&cos)?, sin: rows(&sin)? })
    }

    /// Tables that have this position; longer ones are made twice as long as need be, up to the limit.
    fn tables_beyond(&self, last: usize) -> Result<Tables> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if last >= tables.cos.dim(0)? {
            let n = (last + 1).next_power_of_two().max(SHORTEST).min(self.limit);
            // Angles in f64: position · frequency loses digits in f32 from a few thousand positions on.
            let angles = (0..n).flat_map(|p| self.frequencies.iter().map(move |f| p as f64 * f));
            let (sin, cos): (Vec<f64>, Vec<f64>) = angles.map(f64::sin_cos).unzip();
            let table = |v: Vec<f64>| {
                Tensor::from_vec(v, (n, self.frequencies.len()), &self.device)?.to_dtype(self.dtype)
            };
            *tables = Tables { cos: table(cos)?, sin: table(sin)? };
        }
        Ok(tables.clone())
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
