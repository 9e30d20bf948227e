//! The decoder for values alone: tokens behind caches of keys and values that others may share, many
//! sequences a pass, no autograd, f32 on the CPU. [`crate::model::decoder`] is its oracle, and where
//! kernels are composed it computes, one sequence after the other.

mod attention;
pub(crate) mod linear;

use crate::error::{Error, Result};
use crate::model::decoder::{Decoder, KeyValues};
use crate::model::rows::{Row, TokenRows};
use crate::tensor::exp::{exp, sum};
use crate::tensor::kernels::Kernels;
use crate::tensor::slices::Held;
use attention::{Shape, Step};
use candle_core::Tensor;
use linear::{linear, linears};
use rayon::prelude::*;

/// A decoder that is only read.
pub struct Inference<'a> {
    decoder: &'a Decoder,
    weights: Option<Weights<'a>>,
}

/// What fused kernels read, borrowed.
struct Weights<'a> {
    blocks: Vec<[Held<'a>; 9]>,
    lm_head: Held<'a>,
}

/// Keys and values of tokens already seen. It grows; what stands before it may be in other caches.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    /// A block's key heads, one block after the other.
    heads: Vec<Head>,
    /// The same of composed kernels, a block each.
    blocks: Vec<KeyValues>,
    tokens: usize,
}

/// [tokens, head_dim] each.
#[derive(Debug, Clone, Default)]
struct Head {
    k: Vec<f32>,
    v: Vec<f32>,
}

impl KvCache {
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// New tokens of one sequence: they see everything `behind` them, in order, then `cache`, then
/// each other; `cache` grows by them.
pub struct Extension<'c> {
    pub behind: Vec<&'c KvCache>,
    pub cache: &'c mut KvCache,
    pub tokens: &'c [u32],
}

impl Extension<'_> {
    fn past(&self) -> usize {
        self.caches().map(KvCache::tokens).sum()
    }

    fn caches(&self) -> impl Iterator<Item = &KvCache> {
        self.behind.iter().copied().chain([&*self.cache])
    }
}

impl<'a> Inference<'a> {
    pub fn new(decoder: &'a Decoder) -> Result<Self> {
        if decoder.kernels() == Kernels::Composed {
            return Ok(Self { decoder, weights: None });
        }
        let hold = |weights: [&'a Tensor; 9]| -> Result<[Held<'a>; 9]> {
            let held = weights.into_iter().map(Held::new).collect::<Result<Vec<_>, _>>()?;
            <[Held<'a>; 9]>::try_from(held)
                .map_err(|_| Error::argument("inference", "weights", 0, "nine a block"))
        };
        let blocks = decoder.blocks().iter().map(|b| hold(b.weights())).collect::<Result<_>>()?;
        let weights = Some(Weights { blocks, lm_head: Held::new(decoder.lm_head())? });
        Ok(Self { decoder, weights })
    }

    /// Last hidden states of all new tokens, after the final norm, sequence after sequence.
    /// Shapes: n tokens in all → [n, d].
    ///
    /// Errors: a token outside the vocabulary, a position outside the context.
    /// Numerics: a sequence's states do not depend on the sequences beside it but for rounding.
    pub fn extend(&self, extensions: &mut [Extension<'_>]) -> Result<Tensor> {
        let vocabulary = self.decoder.config.vocab_size;
        let mut tokens = extensions.iter().flat_map(|e| e.tokens);
        if let Some(id) = tokens.find(|&&id| id as usize >= vocabulary) {
            return Err(Error::argument("inference", "token", id, format!("below {vocabulary}")));
        }
        let states = match &self.weights {
            Some(weights) => self.fused(weights, extensions)?,
            None => self.composed(extensions)?,
        };
        extensions.iter_mut().for_each(|e| e.cache.tokens += e.tokens.len());
        Ok(states)
    }

    fn composed(&self, extensions: &mut [Extension<'_>]) -> Result<Tensor> {
        let mut states = vec![];
        for e in extensions {
            let context = self.decoder.context_behind(e.past(), e.tokens.len())?;
            let row = TokenRows::new(vec![Row::causal(e.tokens)]);
            let mut x = self.decoder.embed(&row)?.detach().unsqueeze(0)?;
            for (layer, block) in self.decoder.blocks().iter().enumerate() {
                let behind: Vec<&KeyValues> = e.caches().filter_map(|c| c.blocks.get(layer)).collect();
                let (y, own) = block.forward_behind(&x, &context, &behind)?;
                let own = own.detach();
                match e.cache.blocks.get_mut(layer) {
                    Some(cached) => *cached = KeyValues::joined(&[cached, &own])?,
                    None => e.cache.blocks.push(own),
                }
                x = y.detach();
            }
            states.push(self.decoder.final_norm(&x.squeeze(0)?)?.detach());
        }
        Ok(Tensor::cat(&states, 0)?)
    }

    fn fused(&self, weights: &Weights<'_>, extensions: &mut [Extension<'_>]) -> Result<Tensor> {
        let c = &self.decoder.config;
        let rows = extensions.iter().map(|e| {
            let mut row = Row::default();
            row.push(e.tokens, e.past(), 0);
            row
        });
        let rows = TokenRows::new(rows.collect());
        let n = rows.tokens();
        let (cos, sin) = self.decoder.turns(&rows)?;
        let mut x = self.decoder.embed(&rows)?.detach().flatten_all()?.to_vec1::<f32>()?;
        let shape =
            Shape { heads: c.num_attention_heads, kv_heads: c.num_key_value_heads, head_dim: c.head_dim };
        for e in extensions.iter_mut() {
            e.cache.heads.resize(weights.blocks.len() * c.num_key_value_heads, Head::default());
        }
        let (q_size, kv_size) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        // Every block uses the same memory: fresh pages would cost a third of the time.
        let [mut normed, mut q, mut k, mut v, mut gate, mut up, mut out] = [const { vec![] }; 7];
        for (layer, block) in weights.blocks.iter().enumerate() {
            let [attention_norm, wq, wk, wv, wo, mlp_norm, wgate, wup, wdown] =
                block.each_ref().map(Held::slice);
            rms_norm(&x, attention_norm, c.rms_norm_eps, &mut normed);
            let weights = [(wq, q_size), (wk, kv_size), (wv, kv_size)];
            linears(&normed, n, weights, [&mut q, &mut k, &mut v]);
            rotate(&mut q, &cos, &sin, shape.head_dim);
            rotate(&mut k, &cos, &sin, shape.head_dim);
            let step = Step { shape, layer, window: c.sliding_window };
            linear(&step.attend(&q, &k, &v, extensions), n, wo, c.hidden_size, &mut out);
            add(&mut x, &out);
            rms_norm(&x, mlp_norm, c.rms_norm_eps, &mut normed);
            let ff = c.intermediate_size;
            linears(&normed, n, [(wgate, ff), (wup, ff)], [&mut gate, &mut up]);
            swiglu(&mut gate, &up);
            linear(&gate, n, wdown, c.hidden_size, &mut out);
            add(&mut x, &out);
        }
        let x = Tensor::from_vec(x, (n, c.hidden_size), self.decoder.device())?;
        Ok(self.decoder.final_norm(&x)?.detach())
    }

    /// Positions the decoder has.
    pub fn context(&self) -> usize {
        self.decoder.config.max_position_embeddings
    }

    /// Unnormalised scores of the next token. Shapes: states [n, d] → scores [n, V], whose memory is
    /// used again.
    pub fn logits(&self, states: &[f32], scores: &mut Vec<f32>) -> Result<()> {
        let (c, head) = (&self.decoder.config, self.decoder.lm_head());
        let n = states.len() / c.hidden_size;
        match &self.weights {
            Some(weights) => linear(states, n, weights.lm_head.slice(), c.vocab_size, scores),
            None => {
                let states = Tensor::from_slice(states, (n, c.hidden_size), head.device())?;
                *scores = states.matmul(&head.detach().t()?)?.flatten_all()?.to_vec1()?;
            }
        }
        Ok(())
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn rms_norm(x: &[f32], weight: &[f32], eps: f64, out: &mut Vec<f32>) {
    let d = weight.len();
    out.clear();
    out.extend(x.iter().map(|x| x * x));
    for (row, x) in out.chunks_mut(d).zip(x.chunks(d)) {
        let inverse = (sum(row) / d as f64 + eps).sqrt().recip() as f32;
        row.iter_mut().zip(x).zip(weight).for_each(|((out, x), w)| *out = x * inverse * w);
    }
}

/// Turns every head's vector by its token's angles, rotate-half convention. cos and sin:
/// [tokens, head_dim / 2]; x: [tokens, heads, head_dim].
fn rotate(x: &mut [f32], cos: &[f32], sin: &[f32], head_dim: usize) {
    let half = head_dim / 2;
    let width = x.len() / (cos.len() / half);
    for ((token, cos), sin) in x.chunks_mut(width).zip(cos.chunks(half)).zip(sin.chunks(half)) {
        for head in token.chunks_mut(head_dim) {
            let (first, second) = head.split_at_mut(half);
            for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
    }
}

/// gate becomes silu(gate)·up.
fn swiglu(gate: &mut [f32], up: &[f32]) {
    gate.par_chunks_mut(4096).zip(up.par_chunks(4096)).for_each(|(gate, up)| {
        gate.iter_mut().zip(up).for_each(|(g, u)| *g = *g / (1.0 + exp(-*g)) * u);
    });
}
