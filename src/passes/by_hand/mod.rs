//! The decoder in candle's operations with a backward pass by hand: for any device, in f32. On a GPU,
//! launching kernels takes most of the time. Autograd launches five times as many, because it starts each
//! part of a gradient from zeros and then adds it. [`super::autograd`] is its oracle.

use super::autograd::Context;
use super::{Backward, Passes};
use crate::Result;
use crate::config::Precision;
use crate::model::decoder::{Block, Decoder};
use crate::model::gradients::Gradients;
use crate::model::rotary::Angles;
use crate::model::rows::TokenRows;
use crate::tensor::numerics::matmul;
use candle_core::{D, Tensor};
use candle_nn::ops::{rms_norm, sigmoid, softmax_last_dim};

#[derive(Debug)]
pub struct ByHand;

impl Passes for ByHand {
    fn hidden(&self, decoder: &Decoder, rows: &TokenRows) -> Result<Tensor> {
        Ok(run(decoder, rows, |_, _| {})?.0)
    }

    fn forward<'a>(
        &self,
        decoder: &'a Decoder,
        rows: &'a TokenRows,
        recompute: bool,
    ) -> Result<(Tensor, Box<dyn Backward + 'a>)> {
        let mut saved = Vec::with_capacity(decoder.blocks().len());
        let (hidden, batch, top) = run(decoder, rows, |input, inner| {
            saved.push(Saved { input, inner: (!recompute).then_some(inner) });
        })?;
        Ok((hidden, Box::new(Pass { decoder, batch, saved, top })))
    }
}

/// One forward pass, with what its backward pass needs.
struct Pass<'a> {
    decoder: &'a Decoder,
    batch: Batch,
    saved: Vec<Saved>,
    /// The last block's output, [B·T, d].
    top: Tensor,
}

/// What all blocks of a pass share.
struct Batch {
    rows: usize,
    /// [B·T], u32
    ids: Tensor,
    context: Context,
    back: Angles,
    /// Where each token stands in [B·T], and what stands at each place: a token, or the one after the last.
    index: Tensor,
    places: Tensor,
}

/// A block's input, and its inner activations unless they are recomputed.
struct Saved {
    input: Tensor,
    inner: Option<Inner>,
}

struct Inner {
    /// Rotated, [B, heads, T, head_dim]; keys and values [B, kv heads, ..].
    q: Tensor,
    k: Tensor,
    v: Tensor,
    /// Softmax of the scores, [B, kv heads, group · T, T].
    weights: Tensor,
    /// [B·T, heads · head_dim]
    joined: Tensor,
    /// After attention, [B·T, d].
    middle: Tensor,
    gate: Tensor,
    up: Tensor,
}

impl Backward for Pass<'_> {
    fn backward(self: Box<Self>, d_hidden: &Tensor, gradients: &mut Gradients) -> Result<()> {
        let Self { decoder, batch, saved, top } = *self;
        let nothing = Tensor::zeros((1, d_hidden.dim(1)?), d_hidden.dtype(), d_hidden.device())?;
        let d_hidden = Tensor::cat(&[&d_hidden.detach(), &nothing], 0)?.index_select(&batch.places, 0)?;
        let norm = decoder.final_norm_weight().detach();
        let (mut upstream, d_norm) = norm_backward(&d_hidden, &top, &norm, decoder.config.rms_norm_eps)?;
        gradients.add("model.norm.weight", &d_norm)?;
        for (block, saved) in decoder.blocks().iter().zip(saved).rev() {
            let steps = Steps::new(decoder, block, &batch);
            let inner = match saved.inner {
                Some(inner) => inner,
                None => steps.forward(&saved.input)?.1,
            };
            upstream = steps.backward(&saved.input, inner, upstream, gradients)?;
        }
        gradients.add_at("model.embed_tokens.weight", decoder.embed_tokens(), &batch.ids, &upstream)
    }
}

/// Last hidden states [tokens, d], and what `keep` does not get of a backward pass's needs.
fn run(
    decoder: &Decoder,
    rows: &TokenRows,
    mut keep: impl FnMut(Tensor, Inner),
) -> Result<(Tensor, Batch, Tensor)> {
    let padded = rows.padded(decoder.config.sliding_window, decoder.device())?;
    let context = Context::of(decoder, &padded)?;
    let (b, t) = padded.ids.dims2()?;
    let mut places = vec![rows.tokens() as u32; b * t];
    for (r, (start, row)) in rows.iter().enumerate() {
        (0..row.ids.len()).for_each(|i| places[r * t + i] = (start + i) as u32);
    }
    let batch = Batch {
        rows: b,
        ids: padded.ids.flatten_all()?,
        back: context.angles.inverse()?,
        context,
        index: padded.index,
        places: Tensor::new(places, decoder.device())?,
    };
    let mut x = decoder.embed_tokens().detach().index_select(&batch.ids, 0)?;
    for block in decoder.blocks() {
        let (output, inner) = Steps::new(decoder, block, &batch).forward(&x)?;
        keep(std::mem::replace(&mut x, output), inner);
    }
    let norm = decoder.final_norm_weight().detach();
    let hidden = rms_norm(&x, &norm, decoder.config.rms_norm_eps as f32)?.index_select(&batch.index, 0)?;
    Ok((hidden, batch, x))
}

/// Gradients of x and of the weight from that of x / rms(x) · weight, over rows [n, d].
fn norm_backward(d_out: &Tensor, x: &Tensor, weight: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let inverse = (x.sqr()?.mean_keepdim(1)? + eps)?.sqrt()?.recip()?;
    let unit = x.broadcast_mul(&inverse)?;
    let d_weight = Tensor::ones((1, x.dim(0)?), x.dtype(), x.device())?.matmul(&(d_out * &unit)?)?;
    let d_unit = d_out.broadcast_mul(weight)?;
    // d rms⁻¹/dx brings the projection on x.
    let along = (&d_unit * &unit)?.mean_keepdim(1)?;
    let dx = (d_unit - unit.broadcast_mul(&along)?)?.broadcast_mul(&inverse)?;
    Ok((dx, d_weight.squeeze(0)?))
}

/// A block at work on a batch.
struct Steps<'a> {
    block: &'a Block,
    batch: &'a Batch,
    /// Attention norm, q, k, v, o, feed-forward norm, gate, up, down.
    weights: [Tensor; 9],
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    eps: f64,
    precision: Precision,
}

impl<'a> Steps<'a> {
    fn new(decoder: &Decoder, block: &'a Block, batch: &'a Batch) -> Self {
        let c = &decoder.config;
        Self {
            block,
            batch,
            weights: block.weights().each_ref().map(|weight| weight.detach()),
            heads: c.num_attention_heads,
            kv_heads: c.num_key_value_heads,
            head_dim: c.head_dim,
            eps: c.rms_norm_eps,
            precision: decoder.precision(),
        }
    }

    /// x·Wᵀ for x [n, inputs], W [outputs, inputs].
    fn linear(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        matmul(x, &weight.t()?, self.precision)
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        Ok(rms_norm(x, weight, self.eps as f32)?)
    }

    /// [B·T, heads · head_dim] → [B, heads, T, head_dim].
    fn split(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.reshape((self.batch.rows, (), x.dim(1)? / self.head_dim, self.head_dim))?
            .transpose(1, 2)?
            .contiguous()?)
    }

    /// The inverse of [`Self::split`].
    fn join(&self, x: &Tensor) -> Result<Tensor> {
        let (b, heads, t, hd) = x.dims4()?;
        Ok(x.transpose(1, 2)?.reshape((b * t, heads * hd))?)
    }

    /// The heads that share a key head, as more rows of one product: [B, kv heads, group · T, head_dim].
    fn grouped(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.reshape((self.batch.rows, self.kv_heads, (), self.head_dim))?)
    }

    fn ungrouped(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.reshape((self.batch.rows, self.heads, (), self.head_dim))?)
    }

    fn scale(&self) -> f64 {
        (self.head_dim as f64).powf(-0.5)
    }

    fn forward(&self, x: &Tensor) -> Result<(Tensor, Inner)> {
        let [attention_norm, wq, wk, wv, wo, mlp_norm, w_gate, w_up, w_down] = &self.weights;
        let Context { angles, mask } = &self.batch.context;
        let normed = self.norm(x, attention_norm)?;
        let q = angles.turn(&self.split(&self.linear(&normed, wq)?)?)?;
        let k = angles.turn(&self.split(&self.linear(&normed, wk)?)?)?;
        let v = self.split(&self.linear(&normed, wv)?)?;
        let scores = (self.grouped(&q)?.matmul(&k.t()?)? * self.scale())?;
        let (b, kv, rows, t) = scores.dims4()?;
        let scores = scores.reshape((b, kv, rows / t, t, t))?.broadcast_add(mask)?;
        let weights = softmax_last_dim(&scores)?.reshape((b, kv, rows, t))?;
        let joined = self.join(&self.ungrouped(&weights.matmul(&v)?)?)?;
        let middle = (x + self.linear(&joined, wo)?)?;
        let normed = self.norm(&middle, mlp_norm)?;
        let (gate, up) = (self.linear(&normed, w_gate)?, self.linear(&normed, w_up)?);
        let out = (&middle + self.linear(&(gate.silu()? * &up)?, w_down)?)?;
        Ok((out, Inner { q, k, v, weights, joined, middle, gate, up }))
    }

    /// From the gradient of the block's output that of its input.
    fn backward(
        &self,
        x: &Tensor,
        inner: Inner,
        upstream: Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let [attention_norm, wq, wk, wv, wo, mlp_norm, w_gate, w_up, w_down] = &self.weights;
        let Inner { q, k, v, weights, joined, middle, gate, up } = inner;
        let precision = self.precision;
        // Of x·Wᵀ: that of x, and W's to its sum.
        let mut linear = |name: &str, d_out: &Tensor, x: &Tensor, weight: &Tensor| -> Result<Tensor> {
            gradients.add(&self.name(name), &matmul(&d_out.t()?, x, precision)?)?;
            matmul(d_out, weight, precision)
        };

        // Feed-forward: out = middle + down·swiglu(gate, up), gate and up from the normed middle.
        let s = sigmoid(&gate)?;
        let silu = (&gate * &s)?;
        let d_activated = linear("mlp.down_proj", &upstream, &(&silu * &up)?, w_down)?;
        let d_up = (&d_activated * &silu)?;
        let slope = (&s + (silu * s.affine(-1.0, 1.0)?)?)?;
        let d_gate = ((d_activated * up)? * slope)?;
        let normed = self.norm(&middle, mlp_norm)?;
        let d_normed = linear("mlp.gate_proj", &d_gate, &normed, w_gate)?;
        let d_normed = (d_normed + linear("mlp.up_proj", &d_up, &normed, w_up)?)?;
        let (d_middle, d_mlp_norm) = norm_backward(&d_normed, &middle, mlp_norm, self.eps)?;
        let upstream = (upstream + d_middle)?;

        // Attention: middle = x + o·mix(q, k, v), all three from the normed input.
        let d_joined = linear("self_attn.o_proj", &upstream, &joined, wo)?;
        let d_mixed = self.grouped(&self.split(&d_joined)?)?;
        let dv = weights.t()?.matmul(&d_mixed)?;
        let dp = d_mixed.matmul(&v.t()?)?;
        // Softmax: ds = p (dp − Σ p dp).
        let inner = (&weights * &dp)?.sum_keepdim(D::Minus1)?;
        let ds = ((weights * dp.broadcast_sub(&inner)?)? * self.scale())?;
        let dq = self.ungrouped(&ds.matmul(&k)?)?;
        let dk = ds.t()?.matmul(&self.grouped(&q)?)?;
        let (dq, dk) = (self.batch.back.turn(&dq)?, self.batch.back.turn(&dk)?);
        let normed = self.norm(x, attention_norm)?;
        let d_normed = linear("self_attn.q_proj", &self.join(&dq)?, &normed, wq)?;
        let d_normed = (d_normed + linear("self_attn.k_proj", &self.join(&dk)?, &normed, wk)?)?;
        let d_normed = (d_normed + linear("self_attn.v_proj", &self.join(&dv)?, &normed, wv)?)?;
        let (dx, d_attention_norm) = norm_backward(&d_normed, x, attention_norm, self.eps)?;
        gradients.add(&self.name("input_layernorm"), &d_attention_norm)?;
        gradients.add(&self.name("post_attention_layernorm"), &d_mlp_norm)?;
        Ok((upstream + dx)?)
    }

    fn name(&self, weight: &str) -> String {
        format!("{}.{weight}.weight", self.block.prefix())
    }
}
