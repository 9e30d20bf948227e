//! A Llama or Mistral decoder in plain differentiable operations: hidden states, arbitrary
//! masks and positions, real gradients. It is the oracle for anything faster.

use crate::Result;
use crate::config::Precision;
use crate::model::config::DecoderConfig;
use crate::model::parameters::Parameters;
use crate::model::rotary::{Angles, Rotary};
use crate::model::rows::{Padded, Row, TokenRows};
use crate::model::{by_hand, fused};
use crate::tensor::kernels::Kernels;
use crate::tensor::lm_head::{token_logps_composed, token_logps_fused};
use crate::tensor::numerics::{matmul, softmax};
use candle_core::{D, DType, Device, Tensor};

#[derive(Debug, Clone)]
pub struct Decoder {
    pub config: DecoderConfig,
    embed_tokens: Tensor,
    blocks: Vec<Block>,
    norm: RmsNorm,
    lm_head: Tensor,
    rotary: Rotary,
    precision: Precision,
    kernels: Kernels,
}

/// What every block of one plain forward pass shares.
#[derive(Debug, Clone)]
pub struct Context {
    pub(super) angles: Angles,
    /// [.., T, S]: 0 where a token may look, −∞ where not.
    pub(super) mask: Tensor,
}

/// Keys, rotated, and values of one block's tokens, [B, kv heads, T, head_dim] each.
#[derive(Debug, Clone)]
pub struct KeyValues {
    k: Tensor,
    v: Tensor,
}

impl KeyValues {
    /// Of all tokens in order. Errors: of none.
    pub fn joined(parts: &[&Self]) -> Result<Self> {
        let join = |of: fn(&Self) -> &Tensor| -> Result<Tensor> {
            Ok(Tensor::cat(&parts.iter().map(|part| of(part)).collect::<Vec<_>>(), 2)?)
        };
        Ok(Self { k: join(|part| &part.k)?, v: join(|part| &part.v)? })
    }

    /// Without what they were computed from.
    pub fn detach(&self) -> Self {
        Self { k: self.k.detach(), v: self.v.detach() }
    }
}

impl Decoder {
    /// Errors: a parameter that is missing or has another shape, by name.
    pub fn new(config: &DecoderConfig, parameters: &Parameters, precision: Precision) -> Result<Self> {
        let c = config;
        let embed_tokens = parameters.get("model.embed_tokens.weight", &[c.vocab_size, c.hidden_size])?;
        let lm_head = if c.tie_word_embeddings {
            embed_tokens.clone()
        } else {
            parameters.get("lm_head.weight", &[c.vocab_size, c.hidden_size])?
        };
        let blocks = (0..c.num_hidden_layers)
            .map(|layer| Block::new(c, parameters, format!("model.layers.{layer}"), precision))
            .collect::<Result<_>>()?;
        let norm = RmsNorm::new(c, parameters, "model.norm.weight")?;
        let rotary = Rotary::new(c, embed_tokens.dtype(), embed_tokens.device())?;
        let kernels = parameters.kernels();
        Ok(Self { config: c.clone(), embed_tokens, blocks, norm, lm_head, rotary, precision, kernels })
    }

    pub fn device(&self) -> &Device {
        self.embed_tokens.device()
    }

    pub fn dtype(&self) -> DType {
        self.embed_tokens.dtype()
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// [V, d]
    pub fn embed_tokens(&self) -> &Tensor {
        &self.embed_tokens
    }

    /// [V, d]
    pub fn lm_head(&self) -> &Tensor {
        &self.lm_head
    }

    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Last hidden states, after the final norm. Shapes: → [tokens, d].
    ///
    /// Source: §3.3's h. A row's values do not depend on the other rows.
    pub fn hidden(&self, rows: &TokenRows) -> Result<Tensor> {
        let padded = rows.padded(self.config.sliding_window, self.device())?;
        let context = self.context(&padded)?;
        let mut x = self.embed_padded(&padded)?;
        for block in &self.blocks {
            x = block.forward(&x, &context)?;
        }
        self.final_norm(&x.flatten_to(1)?.index_select(&padded.index, 0)?)
    }

    /// log π of the token that follows each state [N, d], [N]: [`crate::tensor::logprob::token_logps`]
    /// by this decoder's kernels.
    pub fn token_logps(&self, hidden: &Tensor, tokens: &[u32]) -> Result<Tensor> {
        let logps = match self.kernels {
            Kernels::Composed => token_logps_composed,
            Kernels::Fused => token_logps_fused,
        };
        logps(hidden, &self.lm_head, tokens, self.precision)
    }

    /// [`Self::hidden`] for values only, by this decoder's kernels.
    pub fn hidden_values(&self, rows: &TokenRows) -> Result<Tensor> {
        match (self.kernels, self.dtype()) {
            (Kernels::Fused, _) => fused::hidden(self, rows),
            (Kernels::Composed, DType::F32) => by_hand::hidden(self, rows),
            (Kernels::Composed, _) => Ok(self.hidden(rows)?.detach()),
        }
    }

    pub fn context(&self, padded: &Padded) -> Result<Context> {
        Ok(Context { angles: self.rotary.at(&padded.positions)?, mask: padded.mask.to_dtype(self.dtype())? })
    }

    /// Of the `new` tokens that follow `past` others, which they see.
    pub fn context_behind(&self, past: usize, new: usize) -> Result<Context> {
        let (n, window) = (past + new, self.config.sliding_window);
        let row = Row::causal(&vec![0; n]);
        let positions = Tensor::new(&row.positions[past..], self.device())?.unsqueeze(0)?;
        let sees = |i: usize, j: usize| if row.sees(i, j, window) { 0.0 } else { f32::NEG_INFINITY };
        let mask: Vec<f32> = (past..n).flat_map(|i| (0..n).map(move |j| sees(i, j))).collect();
        let mask = Tensor::from_vec(mask, (1, 1, 1, new, n), self.device())?;
        Ok(Context { angles: self.rotary.at(&positions)?, mask: mask.to_dtype(self.dtype())? })
    }

    /// Embeddings of a padded batch, [B, T, d].
    pub fn embed_padded(&self, padded: &Padded) -> Result<Tensor> {
        let (b, t) = padded.ids.dims2()?;
        let x = self.embed_tokens.index_select(&padded.ids.flatten_all()?, 0)?;
        Ok(x.reshape((b, t, self.config.hidden_size))?)
    }

    /// Embeddings, [tokens, d].
    pub fn embed(&self, rows: &TokenRows) -> Result<Tensor> {
        let ids = Tensor::from_iter(rows.ids(), self.device())?;
        Ok(self.embed_tokens.index_select(&ids, 0)?)
    }

    /// Cosines and sines of every token's angles, [tokens · head_dim / 2] each.
    pub fn turns(&self, rows: &TokenRows) -> Result<(Vec<f32>, Vec<f32>)> {
        let positions = Tensor::from_iter(rows.positions(), self.device())?.unsqueeze(0)?;
        self.rotary.at(&positions)?.values()
    }

    pub fn final_norm(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.forward(x)
    }

    /// [d]
    pub fn final_norm_weight(&self) -> &Tensor {
        &self.norm.weight
    }
}

#[derive(Debug, Clone)]
struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    fn new(config: &DecoderConfig, parameters: &Parameters, name: &str) -> Result<Self> {
        Ok(Self { weight: parameters.get(name, &[config.hidden_size])?, eps: config.rms_norm_eps })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
        Ok(x.broadcast_div(&(mean_square + self.eps)?.sqrt()?)?.broadcast_mul(&self.weight)?)
    }
}

/// One pre-norm transformer block.
#[derive(Debug, Clone)]
pub struct Block {
    prefix: String,
    attention_norm: RmsNorm,
    q_proj: Tensor,
    k_proj: Tensor,
    v_proj: Tensor,
    o_proj: Tensor,
    mlp_norm: RmsNorm,
    gate_proj: Tensor,
    up_proj: Tensor,
    down_proj: Tensor,
    kv_heads: usize,
    head_dim: usize,
    precision: Precision,
}

impl Block {
    fn new(c: &DecoderConfig, parameters: &Parameters, prefix: String, precision: Precision) -> Result<Self> {
        let (d, ff) = (c.hidden_size, c.intermediate_size);
        let (q, kv) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
        let matrix =
            |name: &str, rows, cols| parameters.get(&format!("{prefix}.{name}.weight"), &[rows, cols]);
        let norm = |name: &str| RmsNorm::new(c, parameters, &format!("{prefix}.{name}.weight"));
        Ok(Self {
            attention_norm: norm("input_layernorm")?,
            q_proj: matrix("self_attn.q_proj", q, d)?,
            k_proj: matrix("self_attn.k_proj", kv, d)?,
            v_proj: matrix("self_attn.v_proj", kv, d)?,
            o_proj: matrix("self_attn.o_proj", d, q)?,
            mlp_norm: norm("post_attention_layernorm")?,
            gate_proj: matrix("mlp.gate_proj", ff, d)?,
            up_proj: matrix("mlp.up_proj", ff, d)?,
            down_proj: matrix("mlp.down_proj", d, ff)?,
            kv_heads: c.num_key_value_heads,
            head_dim: c.head_dim,
            precision,
            prefix,
        })
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What its parameters' names begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// In the order attention norm, q, k, v, o, feed-forward norm, gate, up, down.
    pub(crate) fn weights(&self) -> [&Tensor; 9] {
        [
            &self.attention_norm.weight,
            &self.q_proj,
            &self.k_proj,
            &self.v_proj,
            &self.o_proj,
            &self.mlp_norm.weight,
            &self.gate_proj,
            &self.up_proj,
            &self.down_proj,
        ]
    }

    /// Shapes: x [B, T, d] → [B, T, d].
    pub fn forward(&self, x: &Tensor, context: &Context) -> Result<Tensor> {
        Ok(self.forward_behind(x, context, &[])?.0)
    }

    /// [`Self::forward`] of tokens that see others too, by what is left of those, in order; and what
    /// is left of themselves.
    pub fn forward_behind(
        &self,
        x: &Tensor,
        context: &Context,
        behind: &[&KeyValues],
    ) -> Result<(Tensor, KeyValues)> {
        let (mixed, own) = self.attention(&self.attention_norm.forward(x)?, context, behind)?;
        let x = (x + mixed)?;
        let mlp = self.mlp(&self.mlp_norm.forward(&x)?)?;
        Ok(((x + mlp)?, own))
    }

    fn attention(&self, x: &Tensor, context: &Context, behind: &[&KeyValues]) -> Result<(Tensor, KeyValues)> {
        let (b, t, _) = x.dims3()?;
        let heads = |projection: &Tensor| -> Result<Tensor> {
            Ok(self.linear(x, projection)?.reshape((b, t, (), self.head_dim))?.transpose(1, 2)?)
        };
        let q = context.angles.rotate(&heads(&self.q_proj)?)?;
        let k = context.angles.rotate(&heads(&self.k_proj)?)?;
        let own = KeyValues { k, v: heads(&self.v_proj)?.contiguous()? };
        let KeyValues { k, v } = match behind {
            [] => own.clone(),
            behind => KeyValues::joined(&[behind, &[&own]].concat())?,
        };
        // Grouped queries: the heads that share a key head are more rows of one product.
        let (kv, hd, s) = (self.kv_heads, self.head_dim, k.dim(2)?);
        let groups = q.dim(1)? / kv;
        let q = q.reshape((b, kv, groups * t, hd))?;
        let scores = (q.matmul(&k.transpose(2, 3)?)? * (hd as f64).powf(-0.5))?;
        let scores = scores.reshape((b, kv, groups, t, s))?.broadcast_add(&context.mask)?;
        let weights = softmax(&scores)?.reshape((b, kv, groups * t, s))?;
        let mixed = weights.matmul(&v)?.reshape((b, kv * groups, t, hd))?;
        Ok((self.linear(&mixed.transpose(1, 2)?.reshape((b, t, ()))?, &self.o_proj)?, own))
    }

    fn mlp(&self, x: &Tensor) -> Result<Tensor> {
        let gate = self.linear(x, &self.gate_proj)?.silu()?;
        self.linear(&(gate * self.linear(x, &self.up_proj)?)?, &self.down_proj)
    }

    /// x·Wᵀ for x [B, T, in], W [out, in].
    fn linear(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let (b, t, inputs) = x.dims3()?;
        let product = matmul(&x.reshape((b * t, inputs))?, &weight.t()?, self.precision)?;
        Ok(product.reshape((b, t, ()))?)
    }
}
