//! The decoder in plain differentiable operations, with candle's gradients: any device and dtype,
//! arbitrary masks and positions. It is the oracle for anything faster.

pub(super) mod cached;

use super::{Backward, Passes};
use crate::Result;
use crate::model::decoder::{Block, Decoder};
use crate::model::gradients::Gradients;
use crate::model::rotary::Angles;
use crate::model::rows::{Padded, Row, TokenRows};
use crate::tensor::numerics::{matmul, softmax};
use candle_core::{D, Tensor};

#[derive(Debug)]
pub struct Autograd;

impl Passes for Autograd {
    fn hidden(&self, decoder: &Decoder, rows: &TokenRows) -> Result<Tensor> {
        Ok(hidden(decoder, rows)?.detach())
    }

    /// The graph keeps everything, with `recompute` too.
    fn forward<'a>(
        &self,
        decoder: &'a Decoder,
        rows: &'a TokenRows,
        _: bool,
    ) -> Result<(Tensor, Box<dyn Backward + 'a>)> {
        let hidden = hidden(decoder, rows)?;
        Ok((hidden.detach(), Box::new(Graph { decoder, hidden })))
    }
}

struct Graph<'a> {
    decoder: &'a Decoder,
    /// [tokens, d]
    hidden: Tensor,
}

impl Backward for Graph<'_> {
    fn backward(self: Box<Self>, d_hidden: &Tensor, gradients: &mut Gradients) -> Result<()> {
        // Candle begins at a number: this one's gradient is `d_hidden`.
        let store = (self.hidden * d_hidden.detach())?.sum_all()?.backward()?;
        gradients.collect(self.decoder.below_the_head(), &store)
    }
}

/// Last hidden states, after the final norm, tracked by autograd. Shapes: → [tokens, d].
///
/// Source: §3.3's h.
pub fn hidden(decoder: &Decoder, rows: &TokenRows) -> Result<Tensor> {
    let padded = rows.padded(decoder.config.sliding_window, decoder.device())?;
    let context = Context::of(decoder, &padded)?;
    let (b, t) = padded.ids.dims2()?;
    let x = decoder.embed_tokens().index_select(&padded.ids.flatten_all()?, 0)?;
    let mut x = x.reshape((b, t, decoder.config.hidden_size))?;
    for block in decoder.blocks() {
        x = Steps { decoder, block, context: &context }.forward(&x, &[])?.0;
    }
    final_norm(decoder, &x.flatten_to(1)?.index_select(&padded.index, 0)?)
}

/// x / rms(x) · weight of the norm after the last block.
pub(super) fn final_norm(decoder: &Decoder, x: &Tensor) -> Result<Tensor> {
    rms_norm(x, decoder.final_norm_weight(), decoder.config.rms_norm_eps)
}

fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(x.broadcast_div(&(mean_square + eps)?.sqrt()?)?.broadcast_mul(weight)?)
}

/// What every block of one pass shares.
pub(super) struct Context {
    pub angles: Angles,
    /// [.., T, S]: 0 where a token may look, −∞ where not.
    pub mask: Tensor,
}

impl Context {
    pub fn of(decoder: &Decoder, padded: &Padded) -> Result<Self> {
        let angles = decoder.rotary().at(&padded.positions)?;
        Ok(Self { angles, mask: padded.mask.to_dtype(decoder.dtype())? })
    }

    /// Of the `new` tokens that follow `past` others, which they see.
    fn behind(decoder: &Decoder, past: usize, new: usize) -> Result<Self> {
        let (n, window) = (past + new, decoder.config.sliding_window);
        let row = Row::causal(&vec![0; n]);
        let positions = Tensor::new(&row.positions[past..], decoder.device())?.unsqueeze(0)?;
        let sees = |i: usize, j: usize| if row.sees(i, j, window) { 0.0 } else { f32::NEG_INFINITY };
        let mask: Vec<f32> = (past..n).flat_map(|i| (0..n).map(move |j| sees(i, j))).collect();
        let mask = Tensor::from_vec(mask, (1, 1, 1, new, n), decoder.device())?;
        Ok(Self { angles: decoder.rotary().at(&positions)?, mask: mask.to_dtype(decoder.dtype())? })
    }
}

/// Keys, rotated, and values of one block's tokens, [B, kv heads, T, head_dim] each.
#[derive(Debug, Clone)]
struct KeyValues {
    k: Tensor,
    v: Tensor,
}

impl KeyValues {
    /// Of all tokens in order. Errors: of none.
    fn joined(parts: &[&Self]) -> Result<Self> {
        let join = |of: fn(&Self) -> &Tensor| -> Result<Tensor> {
            Ok(Tensor::cat(&parts.iter().map(|part| of(part)).collect::<Vec<_>>(), 2)?)
        };
        Ok(Self { k: join(|part| &part.k)?, v: join(|part| &part.v)? })
    }

    /// Without what they were computed from.
    fn detach(&self) -> Self {
        Self { k: self.k.detach(), v: self.v.detach() }
    }
}

/// A block at work.
struct Steps<'a> {
    decoder: &'a Decoder,
    block: &'a Block,
    context: &'a Context,
}

impl Steps<'_> {
    /// Of tokens x [B, T, d] that see each other and, if there are any, those whose keys and values are
    /// `behind` them, in order. → [B, T, d], and their own keys and values.
    fn forward(&self, x: &Tensor, behind: &[&KeyValues]) -> Result<(Tensor, KeyValues)> {
        let [attention_norm, wq, wk, wv, wo, mlp_norm, w_gate, w_up, w_down] = self.block.weights();
        let normed = self.norm(x, attention_norm)?;
        let (mixed, own) = self.attention(&normed, [wq, wk, wv], behind)?;
        let x = (x + self.linear(&mixed, wo)?)?;
        let normed = self.norm(&x, mlp_norm)?;
        let gate = self.linear(&normed, w_gate)?.silu()?;
        let mlp = self.linear(&(gate * self.linear(&normed, w_up)?)?, w_down)?;
        Ok(((x + mlp)?, own))
    }

    fn attention(
        &self,
        x: &Tensor,
        [wq, wk, wv]: [&Tensor; 3],
        behind: &[&KeyValues],
    ) -> Result<(Tensor, KeyValues)> {
        let (b, t, _) = x.dims3()?;
        let (kv, hd) = (self.decoder.config.num_key_value_heads, self.decoder.config.head_dim);
        let heads = |projection: &Tensor| -> Result<Tensor> {
            Ok(self.linear(x, projection)?.reshape((b, t, (), hd))?.transpose(1, 2)?)
        };
        let Context { angles, mask } = self.context;
        let q = angles.rotate(&heads(wq)?)?;
        let k = angles.rotate(&heads(wk)?)?;
        let own = KeyValues { k, v: heads(wv)?.contiguous()? };
        let KeyValues { k, v } = match behind {
            [] => own.clone(),
            behind => KeyValues::joined(&[behind, &[&own]].concat())?,
        };
        // Grouped queries: the heads that share a key head are more rows of one product.
        let (groups, s) = (q.dim(1)? / kv, k.dim(2)?);
        let q = q.reshape((b, kv, groups * t, hd))?;
        let scores = (q.matmul(&k.transpose(2, 3)?)? * (hd as f64).powf(-0.5))?;
        let scores = scores.reshape((b, kv, groups, t, s))?.broadcast_add(mask)?;
        let weights = softmax(&scores)?.reshape((b, kv, groups * t, s))?;
        let mixed = weights.matmul(&v)?.reshape((b, kv * groups, t, hd))?;
        Ok((mixed.transpose(1, 2)?.reshape((b, t, ()))?, own))
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        rms_norm(x, weight, self.decoder.config.rms_norm_eps)
    }

    /// x·Wᵀ for x [B, T, in], W [out, in].
    fn linear(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let (b, t, inputs) = x.dims3()?;
        let product = matmul(&x.reshape((b * t, inputs))?, &weight.t()?, self.decoder.precision())?;
        Ok(product.reshape((b, t, ()))?)
    }
}
