//! Draws that depend on names alone: not on the batching, the order of pairs or the machine.

use crate::{Result, seed};
use candle_core::{Device, Tensor};
use rand_chacha::ChaCha12Rng;

/// What a latent draws for each pair.
#[derive(Debug, Clone, Copy)]
pub struct Noise {
    /// The first part of the streams' names in training.
    pub stream: &'static str,
    /// Draws a pair.
    pub width: usize,
    /// As many independent draws as asked for.
    pub draws: fn(&mut ChaCha12Rng, usize) -> Vec<f64>,
}

impl Noise {
    pub(super) fn gumbel(width: usize) -> Self {
        Self { stream: "gumbel", width, draws: seed::gumbel }
    }

    pub(super) fn normal(width: usize) -> Self {
        Self { stream: "gaussian", width, draws: seed::normal }
    }
}

/// One row of draws for each named stream. Shapes: → [streams, width].
pub fn noise_rows(
    seed: u64,
    streams: impl Iterator<Item = String>,
    noise: Noise,
    device: &Device,
) -> Result<Tensor> {
    let rows = streams.map(|name| (noise.draws)(&mut seed::stream(seed, &name), noise.width));
    let values: Vec<f32> = rows.flatten().map(|g| g as f32).collect();
    let rows = values.len() / noise.width;
    Ok(Tensor::from_vec(values, (rows, noise.width), device)?)
}
