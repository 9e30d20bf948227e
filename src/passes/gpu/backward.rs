//! Backward: each block forward once more, then back through its feed-forward part and its attention.

use super::Gpu;
use super::forward::{RowHeads, attention, gates, weights_of};
use super::pack::Pack;
use super::weights::BlockPlaces;
use super::workspace::STRETCHES;
use crate::Result;
use crate::machine::device::kernels::{
    add_columns, attention_scores, gather_backward, join_heads, regroup, rms_norm_backward, rms_norm_weight,
    swiglu_backward, to_bf16,
};
use crate::machine::device::{Operand, View};
use half::bf16;
use std::ops::Range;

/// From the gradient of the final states to those of every weight below the head.
pub(super) fn run(gpu: &Gpu, pack: &Pack) -> Result<()> {
    let (c, w) = (&gpu.config, &gpu.work);
    let (layers, states) = (c.num_hidden_layers, pack.tokens() * c.hidden_size);
    let dx = w.dx.at(..states);
    dx.clear()?;
    let norm = gpu.weights.layout.place("model.norm.weight");
    norm_backward(gpu, pack, w.d_hidden.at(..states), w.inputs[layers].at(..states), 2, &norm)?;
    for layer in (0..layers).rev() {
        let block = gpu.weights.layout.block(layer);
        w.inputs[layer].at(..states).copy_to(w.x.at(..states))?;
        attention(gpu, pack, &block)?;
        w.x.at(..states).copy_to(w.middle.at(..states))?;
        gates(gpu, pack, &block)?;
        feed_forward_backward(gpu, pack, &block)?;
        attention_backward(gpu, pack, &block, layer)?;
    }
    let table = gpu.weights.layout.place("model.embed_tokens.weight");
    gather_backward(dx, pack.by_token(), gpu.weights.gradient(&table), c.hidden_size)
}

/// Adds to dx what flows back through a norm of `x`, and to its weight's gradient.
fn norm_backward(
    gpu: &Gpu,
    pack: &Pack,
    d_normed: View<'_, f32>,
    x: View<'_, f32>,
    which: usize,
    weight: &Range<usize>,
) -> Result<()> {
    let (w, t, d) = (&gpu.work, pack.tokens(), gpu.config.hidden_size);
    let inverse = w.inverse[which].at(..t);
    let partial = w.partial.at(..STRETCHES.min(t) * d);
    rms_norm_weight(d_normed, x, inverse, partial, d)?;
    add_columns(partial, gpu.weights.gradient(weight))?;
    rms_norm_backward(d_normed, x, inverse, gpu.weights.at(weight), w.dx.at(..t * d))
}

/// A weight [outputs, inputs] that made `outputs` numbers of `inputs`: adds its gradient, and writes the inputs'
/// if there is room for it.
struct Linear<'a> {
    gpu: &'a Gpu,
    tokens: usize,
    weight: &'a Range<usize>,
}

impl Linear<'_> {
    /// `upstream` [tokens, outputs], `x` [tokens, inputs].
    fn weight_gradient(&self, upstream: View<'_, bf16>, x: View<'_, bf16>) -> Result<()> {
        let (outputs, inputs) = (upstream.len() / self.tokens, x.len() / self.tokens);
        let upstream = Operand::new(upstream, self.tokens, outputs).t();
        let x = Operand::new(x, self.tokens, inputs);
        self.gpu.device.multiply(upstream, x, self.gpu.weights.gradient(self.weight), true)
    }

    fn weight(&self, outputs: usize) -> Operand<'_> {
        Operand::new(self.gpu.weights.at(self.weight), outputs, self.weight.len() / outputs)
    }
}

/// dx has the gradient of the block's output; what flows back to the middle is added to it.
fn feed_forward_backward(gpu: &Gpu, pack: &Pack, block: &BlockPlaces) -> Result<()> {
    let (c, w, tokens) = (&gpu.config, &gpu.work, pack.tokens());
    let (d, ff) = (c.hidden_size, c.intermediate_size);
    let (upstream, gate_up) = (w.upstream.at(..tokens * d), w.gate_up.at(..tokens * 2 * ff));
    let (activated, d_normed) = (w.activated.at(..tokens * ff), w.d_normed.at(..tokens * d));
    to_bf16(w.dx.at(..tokens * d), upstream)?;
    let down = Linear { gpu, tokens, weight: &block.down };
    gpu.device.multiply(Operand::new(upstream, tokens, d), down.weight(d), activated, false)?;
    // The gradient of what was activated becomes what was activated, gates become their gradients.
    swiglu_backward(gate_up, activated, ff)?;
    down.weight_gradient(upstream, activated)?;
    let fed = Linear { gpu, tokens, weight: &block.gate_up };
    fed.weight_gradient(gate_up, w.normed[1].at(..tokens * d))?;
    gpu.device.multiply(Operand::new(gate_up, tokens, 2 * ff), fed.weight(2 * ff), d_normed, false)?;
    norm_backward(gpu, pack, d_normed, w.middle.at(..tokens * d), 1, &block.mlp_norm)
}

/// dx has the gradient of the middle; what flows back to the block's input is added to it.
fn attention_backward(gpu: &Gpu, pack: &Pack, block: &BlockPlaces, layer: usize) -> Result<()> {
    let (w, s, tokens, d) = (&gpu.work, pack.shape, pack.tokens(), gpu.config.hidden_size);
    let (queries, keys) = (s.queries(), s.keys());
    let (upstream, mixed, d_mixed) =
        (w.upstream.at(..tokens * d), w.mixed.at(..queries), w.d_mixed.at(..queries));
    to_bf16(w.dx.at(..tokens * d), upstream)?;
    let o = Linear { gpu, tokens, weight: &block.o };
    o.weight_gradient(upstream, mixed)?;
    gpu.device.multiply(Operand::new(upstream, tokens, d), o.weight(d), d_mixed, false)?;
    let d_apart = w.mixed_apart.at(..queries);
    regroup(d_mixed, d_apart, s, true)?;
    for row in &pack.rows {
        weights_of(gpu, pack, row)?;
        row_backward(gpu, pack, row)?;
    }
    let d_heads = [0, 1, 2].map(|i| w.d_heads[i].at(..if i == 0 { queries } else { keys }));
    let d_qkv = w.qkv.at(..queries + 2 * keys);
    join_heads(d_heads, d_qkv, pack.turns(), s)?;
    let (all, d_normed) = (d_qkv.len() / tokens, w.d_normed.at(..tokens * d));
    let qkv = Linear { gpu, tokens, weight: &block.qkv };
    qkv.weight_gradient(d_qkv, w.normed[0].at(..tokens * d))?;
    gpu.device.multiply(Operand::new(d_qkv, tokens, all), qkv.weight(all), d_normed, false)?;
    norm_backward(gpu, pack, d_normed, w.inputs[layer].at(..tokens * d), 0, &block.attention_norm)
}

/// Gradients of a row's queries, keys and values, from that of what was mixed and from its weights.
fn row_backward(gpu: &Gpu, pack: &Pack, row: &Range<usize>) -> Result<()> {
    let (w, s, heads) = (&gpu.work, pack.shape, RowHeads::of(pack, row));
    let (kv_heads, queries, keys) = (s.kv_heads as usize, s.queries(), s.keys());
    let n = kv_heads * heads.scores();
    let (weights, d_weights, d_scores) = (w.weights.at(..n), w.scores.at(..n), w.d_scores.at(..n));
    let d_mixed = heads.queries(w.mixed_apart.at(..queries));
    let values = heads.keys(w.heads[2].at(..keys));
    let each = |a, b, out| gpu.device.multiply_each(kv_heads, a, b, out, false);
    each(heads.of_scores(weights).t(), d_mixed, heads.keys_out(w.d_heads[2].at(..keys)))?;
    gpu.device.multiply_each(kv_heads, d_mixed, values.t(), heads.scores_out(d_weights), false)?;
    let scale = (s.head_dim as f64).powf(-0.5) as f32;
    attention_scores(weights, d_weights, d_scores, heads.tokens, scale)?;
    let (q, k) = (heads.queries(w.heads[0].at(..queries)), heads.keys(w.heads[1].at(..keys)));
    each(heads.of_scores(d_scores), k, heads.queries_out(w.d_heads[0].at(..queries)))?;
    each(heads.of_scores(d_scores).t(), q, heads.keys_out(w.d_heads[1].at(..keys)))
}
