//! f32 on the CPU: the decoder's blocks on slices, forward and backward written by hand. No padding, no
//! autograd graph, buffers of plain numbers. [`super::autograd`] is its oracle.

mod adamw;
mod attention;
mod cached;

use super::adamw::Moments;
use super::cached::Cached;
use super::{Backward, Passes};
use crate::Result;
use crate::config::Precision;
use crate::machine::gemm::{Matrix, Prepared, multiplied, multiply};
use crate::machine::pointwise::{
    Turns, join_heads, rms_norm, rms_norm_backward, rms_scaled, split_heads, swiglu, swiglu_backward,
};
use crate::model::decoder::{Block, Decoder};
use crate::model::gradients::Gradients;
use crate::model::rows::{Sight, TokenRows};
use crate::tensor::code_head::code_logps_fused;
use crate::tensor::lm_head::token_logps_fused;
use crate::tensor::slices::Held;
use attention::{Heads, Mixed};
use candle_core::{Tensor, Var};

#[derive(Debug)]
pub struct Fused;

impl Passes for Fused {
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
        Ok((hidden, Box::new(Pass { decoder, rows, batch, saved, top })))
    }

    fn token_logps(&self, decoder: &Decoder, hidden: &Tensor, tokens: &[u32]) -> Result<Tensor> {
        token_logps_fused(hidden, decoder.lm_head(), tokens, decoder.precision())
    }

    fn code_logps(
        &self,
        decoder: &Decoder,
        hidden: &Tensor,
        codebook: &Tensor,
        tokens: &[u32],
    ) -> Result<Tensor> {
        code_logps_fused(hidden, decoder.lm_head(), codebook, tokens, decoder.precision())
    }

    fn cached<'a>(&self, decoder: &'a Decoder) -> Result<Box<dyn Cached + 'a>> {
        Ok(Box::new(cached::Together::new(decoder)?))
    }

    fn moments(&self, parameter: &Var) -> Result<Box<dyn Moments>> {
        Ok(Box::new(adamw::InSlices::zeros(parameter)))
    }

    fn square_sum(&self, gradients: &[Tensor]) -> Result<f64> {
        adamw::square_sum(gradients)
    }
}

/// One forward pass, with what its backward pass needs.
struct Pass<'a> {
    decoder: &'a Decoder,
    rows: &'a TokenRows,
    batch: Batch,
    saved: Vec<Saved>,
    top: Top,
}

/// What the final norm's backward pass needs.
struct Top {
    /// The last block's output, [tokens, d].
    states: Vec<f32>,
    inverse: Vec<f32>,
}

/// What all blocks of a pass share.
struct Batch {
    heads: Heads,
    turns: Turns,
    sights: Vec<Sight>,
    eps: f64,
    precision: Precision,
}

impl Batch {
    /// Rows of one token each, as the left factor of products with weights.
    fn tokens<'a>(&self, x: &'a [f32]) -> Prepared<'a> {
        self.precision.left(Matrix::new(x, self.heads.tokens, x.len() / self.heads.tokens))
    }
}

/// A block's input, and its inner activations unless they are recomputed.
struct Saved {
    input: Vec<f32>,
    inner: Option<Inner>,
}

struct Inner {
    attention_inverse: Vec<f32>,
    /// Rotated, [heads, tokens, head_dim]; keys and values [kv heads, ..].
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    mixed: Mixed,
    /// After attention, [tokens, d].
    middle: Vec<f32>,
    mlp_inverse: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

impl Backward for Pass<'_> {
    fn backward(self: Box<Self>, d_hidden: &Tensor, gradients: &mut Gradients) -> Result<()> {
        let d_hidden = d_hidden.contiguous()?;
        let (d_hidden, norm) = (Held::new(&d_hidden)?, Held::new(self.decoder.final_norm_weight())?);
        let Top { states, inverse } = self.top;
        let mut upstream = vec![0f32; states.len()];
        let d_norm = gradients.buffer("model.norm.weight", norm.slice().len())?;
        rms_norm_backward(d_hidden.slice(), &states, &inverse, norm.slice(), &mut upstream, d_norm);
        for (block, saved) in self.decoder.blocks().iter().zip(self.saved).rev() {
            let weights = Weights::new(block)?;
            let inner = match saved.inner {
                Some(inner) => inner,
                None => weights.forward(&saved.input, &self.batch).1,
            };
            let mut sink = Sink { gradients, prefix: block.prefix(), batch: &self.batch };
            weights.backward(&saved.input, inner, &mut upstream, &mut sink)?;
        }
        let d = self.decoder.config.hidden_size;
        let len = self.decoder.config.vocab_size * d;
        gradients.add_rows("model.embed_tokens.weight", len, self.rows.ids(), &upstream, d)
    }
}

/// Last hidden states [tokens, d], and what `keep` does not get of a backward pass's needs.
fn run(
    decoder: &Decoder,
    rows: &TokenRows,
    mut keep: impl FnMut(Vec<f32>, Inner),
) -> Result<(Tensor, Batch, Top)> {
    let c = &decoder.config;
    let (cos, sin) = decoder.turns(rows)?;
    let batch = Batch {
        heads: Heads {
            heads: c.num_attention_heads,
            kv_heads: c.num_key_value_heads,
            head_dim: c.head_dim,
            tokens: rows.tokens(),
        },
        turns: Turns { cos, sin },
        sights: rows.sights(c.sliding_window),
        eps: c.rms_norm_eps,
        precision: decoder.precision(),
    };
    let mut x = decoder.embed(rows)?.detach().flatten_all()?.to_vec1::<f32>()?;
    for block in decoder.blocks() {
        let (output, inner) = Weights::new(block)?.forward(&x, &batch);
        keep(std::mem::replace(&mut x, output), inner);
    }
    let (hidden, inverse) = rms_norm(&x, Held::new(decoder.final_norm_weight())?.slice(), c.rms_norm_eps);
    let hidden = Tensor::from_vec(hidden, (rows.tokens(), c.hidden_size), decoder.device())?;
    Ok((hidden, batch, Top { states: x, inverse }))
}

/// A block's weights, borrowed.
struct Weights<'a> {
    attention_norm: Held<'a>,
    q: Held<'a>,
    k: Held<'a>,
    v: Held<'a>,
    o: Held<'a>,
    mlp_norm: Held<'a>,
    gate: Held<'a>,
    up: Held<'a>,
    down: Held<'a>,
}

/// x·Wᵀ for x [tokens, inputs], W [outputs, inputs].
fn linear(x: &Prepared<'_>, weight: &Held<'_>, inputs: usize, batch: &Batch) -> Vec<f32> {
    let outputs = weight.slice().len() / inputs;
    multiplied(x, &batch.precision.right(Matrix::new(weight.slice(), outputs, inputs).t()))
}

/// Where a block's weight gradients go.
struct Sink<'a> {
    gradients: &'a mut Gradients,
    prefix: &'a str,
    batch: &'a Batch,
}

impl Sink<'_> {
    fn buffer(&mut self, name: &str, len: usize) -> Result<&mut [f32]> {
        self.gradients.buffer(&self.parameter(name), len)
    }

    fn parameter(&self, name: &str) -> String {
        format!("{}.{name}.weight", self.prefix)
    }

    /// What flows back through [`linear`] of one `x` with several weights: their gradients go to
    /// the sink, that of x is returned.
    fn linears(&mut self, x: &[f32], outputs: &[(&str, &Held<'_>, &[f32])]) -> Result<Vec<f32>> {
        let mut dx = vec![];
        for (_, weight, d_out) in outputs {
            self.input_gradient(weight, d_out, &mut dx);
        }
        self.weight_gradients(x, outputs)?;
        Ok(dx)
    }

    /// Adds the gradient of [`linear`]'s x to `dx`, or begins it.
    fn input_gradient(&self, weight: &Held<'_>, d_out: &[f32], dx: &mut Vec<f32>) {
        let (tokens, precision) = (self.batch.heads.tokens, self.batch.precision);
        let outputs = d_out.len() / tokens;
        let d_out = precision.left(Matrix::new(d_out, tokens, outputs));
        let weight = weight.slice();
        let weight = precision.right(Matrix::new(weight, outputs, weight.len() / outputs));
        if dx.is_empty() {
            *dx = multiplied(&d_out, &weight);
        } else {
            multiply(&d_out, &weight, dx, true);
        }
    }

    /// The gradients of [`linear`]'s weights.
    fn weight_gradients(&mut self, x: &[f32], outputs: &[(&str, &Held<'_>, &[f32])]) -> Result<()> {
        let (tokens, precision) = (self.batch.heads.tokens, self.batch.precision);
        let inputs = x.len() / tokens;
        let rows = precision.right(Matrix::new(x, tokens, inputs));
        for (name, _, d_out) in outputs {
            let outputs = d_out.len() / tokens;
            let d_weight = (&precision.left(Matrix::new(d_out, tokens, outputs).t()), &rows);
            self.gradients.add_product(&self.parameter(name), outputs * inputs, d_weight)?;
        }
        Ok(())
    }
}

impl<'a> Weights<'a> {
    fn new(block: &'a Block) -> Result<Self> {
        let [attention_norm, q, k, v, o, mlp_norm, gate, up, down] =
            block.weights().each_ref().map(Held::new);
        Ok(Self {
            attention_norm: attention_norm?,
            q: q?,
            k: k?,
            v: v?,
            o: o?,
            mlp_norm: mlp_norm?,
            gate: gate?,
            up: up?,
            down: down?,
        })
    }

    fn forward(&self, x: &[f32], batch: &Batch) -> (Vec<f32>, Inner) {
        let Batch { heads, turns, sights, eps, .. } = batch;
        let (d, hd) = (self.attention_norm.slice().len(), heads.head_dim);
        let (normed, attention_inverse) = rms_norm(x, self.attention_norm.slice(), *eps);
        let normed = batch.tokens(&normed);
        let q = split_heads(&linear(&normed, &self.q, d, batch), heads.heads, hd, Some(turns));
        let k = split_heads(&linear(&normed, &self.k, d, batch), heads.kv_heads, hd, Some(turns));
        let v = split_heads(&linear(&normed, &self.v, d, batch), heads.kv_heads, hd, None);
        let mixed = heads.forward(&q, &k, &v, sights);
        let joined = join_heads(&mixed.out, heads.heads, hd, None);
        let mut middle = linear(&batch.tokens(&joined), &self.o, heads.heads * hd, batch);
        middle.iter_mut().zip(x).for_each(|(m, x)| *m += x);
        let (normed, mlp_inverse) = rms_norm(&middle, self.mlp_norm.slice(), *eps);
        let normed = batch.tokens(&normed);
        let gate = linear(&normed, &self.gate, d, batch);
        let up = linear(&normed, &self.up, d, batch);
        let ff = gate.len() / heads.tokens;
        let mut out = linear(&batch.tokens(&swiglu(&gate, &up)), &self.down, ff, batch);
        out.iter_mut().zip(&middle).for_each(|(o, m)| *o += m);
        (out, Inner { attention_inverse, q, k, v, mixed, middle, mlp_inverse, gate, up })
    }

    /// `upstream` is the gradient of the block's output and becomes that of its input.
    fn backward(&self, x: &[f32], inner: Inner, upstream: &mut [f32], sink: &mut Sink<'_>) -> Result<()> {
        let Batch { heads, turns, sights, .. } = sink.batch;
        let (d, hd) = (self.attention_norm.slice().len(), heads.head_dim);
        let Inner { attention_inverse, q, k, v, mixed, middle, mlp_inverse, mut gate, mut up } = inner;

        // Feed-forward: out = middle + down·swiglu(gate, up), gate and up from the normed middle.
        let mut activated = vec![];
        sink.input_gradient(&self.down, upstream, &mut activated);
        swiglu_backward(&mut activated, &mut gate, &mut up);
        sink.weight_gradients(&activated, &[("mlp.down_proj", &self.down, upstream)])?;
        drop(activated);
        let norm = self.mlp_norm.slice();
        let normed = rms_scaled(&middle, norm, &mlp_inverse);
        let fed = [("mlp.gate_proj", &self.gate, &*gate), ("mlp.up_proj", &self.up, &up)];
        let d_normed = sink.linears(&normed, &fed)?;
        let d_norm = sink.buffer("post_attention_layernorm", d)?;
        rms_norm_backward(&d_normed, &middle, &mlp_inverse, norm, upstream, d_norm);

        // Attention: middle = x + o·mix(q, k, v), all three from the normed input.
        let joined = join_heads(&mixed.out, heads.heads, hd, None);
        let d_joined = sink.linears(&joined, &[("self_attn.o_proj", &self.o, upstream)])?;
        let d_mixed = split_heads(&d_joined, heads.heads, hd, None);
        let (dq, dk, dv) = heads.backward(&d_mixed, &mixed, &q, &k, &v, sights);
        let dq = join_heads(&dq, heads.heads, hd, Some(turns));
        let dk = join_heads(&dk, heads.kv_heads, hd, Some(turns));
        let dv = join_heads(&dv, heads.kv_heads, hd, None);
        let norm = self.attention_norm.slice();
        let normed = rms_scaled(x, norm, &attention_inverse);
        let fed = [
            ("self_attn.q_proj", &self.q, &*dq),
            ("self_attn.k_proj", &self.k, &dk),
            ("self_attn.v_proj", &self.v, &dv),
        ];
        let d_normed = sink.linears(&normed, &fed)?;
        let d_norm = sink.buffer("input_layernorm", d)?;
        rms_norm_backward(&d_normed, x, &attention_inverse, norm, upstream, d_norm);
        Ok(())
    }
}
