//! Forward: a block's two halves, each added to the stream of states in place.

use super::Gpu;
use super::pack::Pack;
use super::weights::BlockPlaces;
use crate::Result;
use crate::machine::device::kernels::{
    attention_weights, gather, regroup, rms_norm, score_stride, split_heads, swiglu,
};
use crate::machine::device::{Numbers, Operand, Out, View};
use half::bf16;
use std::ops::Range;

/// Every block, then the final norm.
pub(super) fn run(gpu: &Gpu, pack: &Pack) -> Result<()> {
    let (c, w) = (&gpu.config, &gpu.work);
    let (t, states) = (pack.tokens(), pack.tokens() * c.hidden_size);
    let x = w.x.at(..states);
    let table = gpu.weights.at(&gpu.weights.layout.place("model.embed_tokens.weight"));
    gather(Numbers::Bf16(table), pack.ids.all(), Numbers::F32(x))?;
    for layer in 0..c.num_hidden_layers {
        x.copy_to(w.inputs[layer].at(..states))?;
        let block = gpu.weights.layout.block(layer);
        attention(gpu, pack, &block)?;
        feed_forward(gpu, pack, &block)?;
    }
    x.copy_to(w.inputs[c.num_hidden_layers].at(..states))?;
    let norm = gpu.weights.at(&gpu.weights.layout.place("model.norm.weight"));
    let hidden = Numbers::F32(w.hidden.at(..states));
    rms_norm(x, norm, c.rms_norm_eps, hidden, w.inverse[2].at(..t))
}

/// x += o·mix(q, k, v), all three from the normed x.
pub(super) fn attention(gpu: &Gpu, pack: &Pack, block: &BlockPlaces) -> Result<()> {
    let (c, w, s) = (&gpu.config, &gpu.work, pack.shape);
    let (t, d) = (pack.tokens(), c.hidden_size);
    let (x, normed) = (w.x.at(..t * d), w.normed[0].at(..t * d));
    let norm = gpu.weights.at(&block.attention_norm);
    rms_norm(x, norm, c.rms_norm_eps, Numbers::Bf16(normed), w.inverse[0].at(..t))?;
    let all = block.qkv.len() / d;
    let qkv = w.qkv.at(..t * all);
    let weight = Operand::new(gpu.weights.at(&block.qkv), all, d);
    gpu.device.multiply(Operand::new(normed, t, d), weight.t(), qkv, false)?;
    let [q, k, v] = [0, 1, 2].map(|i| w.heads[i].at(..if i == 0 { s.queries() } else { s.keys() }));
    split_heads(qkv, [q, k, v], pack.turns(), s)?;
    for row in &pack.rows {
        weights_of(gpu, pack, row)?;
        mix(gpu, pack, row)?;
    }
    let mixed = w.mixed.at(..s.queries());
    regroup(w.mixed_apart.at(..s.queries()), mixed, s, false)?;
    let width = s.queries() / t;
    let weight = Operand::new(gpu.weights.at(&block.o), d, width);
    gpu.device.multiply(Operand::new(mixed, t, width), weight.t(), x, true)
}

/// Where a row's queries, or with a group of 1 its keys, lie: each key head's as a matrix.
pub(super) struct RowHeads {
    pub tokens: usize,
    pub group: usize,
    pub head_dim: usize,
    start: usize,
    all: usize,
}

impl RowHeads {
    pub fn of(pack: &Pack, row: &Range<usize>) -> Self {
        Self {
            tokens: row.len(),
            group: pack.shape.group as usize,
            head_dim: pack.shape.head_dim as usize,
            start: row.start,
            all: pack.tokens(),
        }
    }

    /// Numbers of scores of a key head.
    pub fn scores(&self) -> usize {
        self.group * self.tokens * score_stride(self.tokens)
    }

    /// Each key head's scores, or weights: a row for each query.
    pub fn of_scores<'a>(&self, numbers: View<'a, bf16>) -> Operand<'a> {
        let stride = score_stride(self.tokens);
        Operand::each(numbers, self.group * self.tokens, self.tokens, self.scores()).strided(stride)
    }

    /// Where each key head's scores go.
    pub fn scores_out<'a>(&self, numbers: View<'a, f32>) -> Out<'a> {
        Out::each(Numbers::F32(numbers), self.scores()).strided(score_stride(self.tokens))
    }

    pub fn queries<'a>(&self, numbers: View<'a, bf16>) -> Operand<'a> {
        self.of_group(numbers, self.group)
    }

    pub fn keys<'a>(&self, numbers: View<'a, bf16>) -> Operand<'a> {
        self.of_group(numbers, 1)
    }

    pub fn queries_out<'a>(&self, numbers: View<'a, bf16>) -> Out<'a> {
        self.out(numbers, self.group)
    }

    pub fn keys_out<'a>(&self, numbers: View<'a, bf16>) -> Out<'a> {
        self.out(numbers, 1)
    }

    fn out<'a>(&self, numbers: View<'a, bf16>, group: usize) -> Out<'a> {
        let width = group * self.head_dim;
        Out::each(Numbers::Bf16(numbers.at(self.start * width..)), self.all * width)
    }

    fn of_group<'a>(&self, numbers: View<'a, bf16>, group: usize) -> Operand<'a> {
        let width = group * self.head_dim;
        Operand::each(numbers.at(self.start * width..), self.tokens * group, self.head_dim, self.all * width)
    }
}

/// A row's attention weights, in the workspace.
pub(super) fn weights_of(gpu: &Gpu, pack: &Pack, row: &Range<usize>) -> Result<()> {
    let (w, s, heads) = (&gpu.work, pack.shape, RowHeads::of(pack, row));
    let n = s.kv_heads as usize * heads.scores();
    let (q, k) = (w.heads[0].at(..s.queries()), w.heads[1].at(..s.keys()));
    let scores = w.scores.at(..n);
    let kv_heads = s.kv_heads as usize;
    gpu.device.multiply_each(
        kv_heads,
        heads.queries(q),
        heads.keys(k).t(),
        heads.scores_out(scores),
        false,
    )?;
    let scale = (s.head_dim as f64).powf(-0.5) as f32;
    attention_weights(scores, w.weights.at(..n), pack.sights(row), s, scale)
}

/// What a row's queries get: its weights applied to the values.
fn mix(gpu: &Gpu, pack: &Pack, row: &Range<usize>) -> Result<()> {
    let (w, s, heads) = (&gpu.work, pack.shape, RowHeads::of(pack, row));
    let kv_heads = s.kv_heads as usize;
    let n = kv_heads * heads.scores();
    let weights = heads.of_scores(w.weights.at(..n));
    let values = heads.keys(w.heads[2].at(..s.keys()));
    let out = heads.queries_out(w.mixed_apart.at(..s.queries()));
    gpu.device.multiply_each(kv_heads, weights, values, out, false)
}

/// x += down·swiglu(gate, up), both from the normed x.
pub(super) fn feed_forward(gpu: &Gpu, pack: &Pack, block: &BlockPlaces) -> Result<()> {
    let (c, w) = (&gpu.config, &gpu.work);
    let (t, d, ff) = (pack.tokens(), c.hidden_size, c.intermediate_size);
    let x = w.x.at(..t * d);
    gates(gpu, pack, block)?;
    let activated = w.activated.at(..t * ff);
    swiglu(w.gate_up.at(..t * 2 * ff), activated, ff)?;
    let weight = Operand::new(gpu.weights.at(&block.down), d, ff);
    gpu.device.multiply(Operand::new(activated, t, ff), weight.t(), x, true)
}

/// gate and up from the normed x, in the workspace.
pub(super) fn gates(gpu: &Gpu, pack: &Pack, block: &BlockPlaces) -> Result<()> {
    let (c, w) = (&gpu.config, &gpu.work);
    let (t, d, ff) = (pack.tokens(), c.hidden_size, c.intermediate_size);
    let normed = w.normed[1].at(..t * d);
    let norm = gpu.weights.at(&block.mlp_norm);
    rms_norm(w.x.at(..t * d), norm, c.rms_norm_eps, Numbers::Bf16(normed), w.inverse[1].at(..t))?;
    let weight = Operand::new(gpu.weights.at(&block.gate_up), 2 * ff, d);
    let gate_up = Numbers::Bf16(w.gate_up.at(..t * 2 * ff));
    gpu.device.multiply(Operand::new(normed, t, d), weight.t(), gate_up, false)
}
