//! What a pass writes between its first and its last number, allocated once a run.

use crate::Result;
use crate::machine::device::kernels::score_stride;
use crate::machine::device::{Device, Memory};
use crate::model::config::DecoderConfig;
use half::bf16;
use std::sync::Arc;

/// The largest pack and the longest row that there is room for, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub tokens: usize,
    pub row: usize,
    /// Scores of the head at a time, f32 numbers and half as many bytes for their gradients.
    pub scores: usize,
}

impl Room {
    /// 256 MiB of the head's scores.
    pub const SCORES: usize = 1 << 26;
}

/// Stretches of rows that norms' gradients are summed over apart.
pub(super) const STRETCHES: usize = 64;

pub(super) struct Workspace {
    /// The stream of states, [tokens, d], and its gradient.
    pub x: Memory<f32>,
    pub dx: Memory<f32>,
    /// What each block was given, and what the final norm was.
    pub inputs: Vec<Memory<f32>>,
    /// A block's states between its two halves.
    pub middle: Memory<f32>,
    /// States after the final norm.
    pub hidden: Memory<f32>,
    pub d_hidden: Memory<f32>,
    /// f32 gradients of normed states.
    pub d_normed: Memory<f32>,
    /// Normed states of attention and of the feed-forward part.
    pub normed: [Memory<bf16>; 2],
    /// 1 / rms of each row, for those and for the final norm.
    pub inverse: [Memory<f32>; 3],
    /// A gradient of states, rounded.
    pub upstream: Memory<bf16>,
    pub qkv: Memory<bf16>,
    /// Heads apart, and their gradients.
    pub heads: [Memory<bf16>; 3],
    pub d_heads: [Memory<bf16>; 3],
    /// What attention mixed, heads apart and together.
    pub mixed_apart: Memory<bf16>,
    pub mixed: Memory<bf16>,
    pub d_mixed: Memory<bf16>,
    /// Of one row at a time.
    pub scores: Memory<f32>,
    pub weights: Memory<bf16>,
    pub d_scores: Memory<bf16>,
    pub gate_up: Memory<bf16>,
    pub activated: Memory<bf16>,
    pub partial: Memory<f32>,
}

impl Workspace {
    pub fn new(device: &Arc<Device>, c: &DecoderConfig, room: Room) -> Result<Self> {
        let (t, d, ff) = (room.tokens, c.hidden_size, c.intermediate_size);
        let (q, kv) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
        let of_row = c.num_attention_heads * room.row * score_stride(room.row);
        let wide = |n: usize| Memory::<f32>::zeros(device, "activations", n);
        let half = |n: usize| Memory::<bf16>::zeros(device, "activations", n);
        Ok(Self {
            x: wide(t * d)?,
            dx: wide(t * d)?,
            inputs: (0..=c.num_hidden_layers)
                .map(|_| Memory::zeros(device, "blocks' inputs", t * d))
                .collect::<Result<_>>()?,
            middle: wide(t * d)?,
            hidden: wide(t * d)?,
            d_hidden: wide(t * d)?,
            d_normed: wide(t * d)?,
            normed: [half(t * d)?, half(t * d)?],
            inverse: [wide(t)?, wide(t)?, wide(t)?],
            upstream: half(t * d)?,
            qkv: half(t * (q + 2 * kv))?,
            heads: [half(t * q)?, half(t * kv)?, half(t * kv)?],
            d_heads: [half(t * q)?, half(t * kv)?, half(t * kv)?],
            mixed_apart: half(t * q)?,
            mixed: half(t * q)?,
            d_mixed: half(t * q)?,
            scores: wide(of_row)?,
            weights: half(of_row)?,
            d_scores: half(of_row)?,
            gate_up: half(t * 2 * ff)?,
            activated: half(t * ff)?,
            partial: wide(STRETCHES * d)?,
        })
    }
}
