//! A Llama or Mistral decoder in plain differentiable operations: hidden states, arbitrary
//! masks and positions, real gradients. It is the oracle for anything faster.

use crate::Result;
use crate::model::config::DecoderConfig;
use crate::model::parameters::Parameters;
use crate::model::rotary::{Angles, Rotary};
use crate::tensor::numerics::softmax;
use candle_core::{D, DType, Device, Tensor};

/// Rows of tokens for one forward pass.
#[derive(Debug, Clone)]
pub struct TokenRows {
    /// [B, T], u32.
    pub ids: Tensor,
    /// [B, T], u32: positions restart where a second completion begins.
    pub positions: Tensor,
    /// [B, 1, 1, T, S], 0 where a token may look and −∞ where not; a row needs one 0.
    pub mask: Tensor,
}

#[derive(Debug, Clone)]
pub struct Decoder {
    pub config: DecoderConfig,
    embed_tokens: Tensor,
    blocks: Vec<Block>,
    norm: RmsNorm,
    lm_head: Tensor,
    rotary: Rotary,
}

/// What every block of one forward pass shares.
#[derive(Debug, Clone)]
pub struct Context {
    angles: Angles,
    mask: Tensor,
}

/// Keys and values of the tokens already seen, one pair a block, each [B, kv heads, S, head_dim].
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    blocks: Vec<Option<(Tensor, Tensor)>>,
}

impl Decoder {
    /// Errors: a parameter that is missing or has another shape, by name.
    pub fn new(config: &DecoderConfig, parameters: &Parameters) -> Result<Self> {
        let c = config;
        let embed_tokens = parameters.get("model.embed_tokens.weight", &[c.vocab_size, c.hidden_size])?;
        let lm_head = if c.tie_word_embeddings {
            embed_tokens.clone()
        } else {
            parameters.get("lm_head.weight", &[c.vocab_size, c.hidden_size])?
        };
        let blocks = (0..c.num_hidden_layers)
            .map(|layer| Block::new(c, parameters, &format!("model.layers.{layer}")))
            .collect::<Result<_>>()?;
        let norm = RmsNorm::new(c, parameters, "model.norm.weight")?;
        let rotary = Rotary::new(c, embed_tokens.dtype(), embed_tokens.device())?;
        Ok(Self { config: c.clone(), embed_tokens, blocks, norm, lm_head, rotary })
    }

    pub fn device(&self) -> &Device {
        self.embed_tokens.device()
    }

    pub fn dtype(&self) -> DType {
        self.embed_tokens.dtype()
    }

    /// [V, d]
    pub fn lm_head(&self) -> &Tensor {
        &self.lm_head
    }

    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Last hidden states, after the final norm. Shapes: rows [B, T] → [B, T, d].
    ///
    /// Source: §3.3's h. A row's values do not depend on the other rows or on padding.
    pub fn hidden(&self, rows: &TokenRows) -> Result<Tensor> {
        let context = self.context(rows)?;
        let mut x = self.embed(&rows.ids)?;
        for block in &self.blocks {
            x = block.forward(&x, &context)?;
        }
        self.final_norm(&x)
    }

    /// [`Self::hidden`] for values only: activations are dropped block by block.
    pub fn hidden_without_graph(&self, rows: &TokenRows) -> Result<Tensor> {
        let context = self.context(rows)?;
        let mut x = self.embed(&rows.ids)?.detach();
        for block in &self.blocks {
            x = block.forward(&x, &context)?.detach();
        }
        Ok(self.final_norm(&x)?.detach())
    }

    /// [`Self::hidden`] of new tokens behind those in the cache, which grows by them.
    pub fn hidden_cached(&self, rows: &TokenRows, cache: &mut KvCache) -> Result<Tensor> {
        let context = self.context(rows)?;
        cache.blocks.resize(self.blocks.len(), None);
        let mut x = self.embed(&rows.ids)?;
        for (block, past) in self.blocks.iter().zip(&mut cache.blocks) {
            x = block.forward_behind(&x, &context, past)?;
        }
        self.final_norm(&x)
    }

    pub fn context(&self, rows: &TokenRows) -> Result<Context> {
        Ok(Context { angles: self.rotary.at(&rows.positions)?, mask: rows.mask.to_dtype(self.dtype())? })
    }

    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        let (b, t) = ids.dims2()?;
        let x = self.embed_tokens.index_select(&ids.flatten_all()?, 0)?;
        Ok(x.reshape((b, t, self.config.hidden_size))?)
    }

    pub fn final_norm(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.forward(x)
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
}

impl Block {
    fn new(c: &DecoderConfig, parameters: &Parameters, prefix: &str) -> Result<Self> {
        let (d, ff) = (c.hidden_size, c.intermediate_size);
        let (q, kv) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
        let matrix = |name: &str, rows, cols| parameters.get(&format!("{prefix}.{name}.weight"), &[rows, cols]);
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
        })
    }

    /// Shapes: x [B, T, d] → [B, T, d].
    pub fn forward(&self, x: &Tensor, context: &Context) -> Result<Tensor> {
        self.forward_behind(x, context, &mut None)
    }

    fn forward_behind(&self, x: &Tensor, context: &Context, past: &mut Option<(Tensor, Tensor)>) -> Result<Tensor> {
        let x = (x + self.attention(&self.attention_norm.forward(x)?, context, past)?)?;
        let mlp = self.mlp(&self.mlp_norm.forward(&x)?)?;
        Ok((x + mlp)?)
    }

    fn attention(&self, x: &Tensor, context: &Context, past: &mut Option<(Tensor, Tensor)>) -> Result<Tensor> {
        let (b, t, _) = x.dims3()?;
        let heads = |projection: &Tensor| -> Result<Tensor> {
            Ok(linear(x, projection)?.reshape((b, t, (), self.head_dim))?.transpose(1, 2)?)
        };
        let q = context.angles.rotate(&heads(&self.q_proj)?)?;
        let mut k = context.angles.rotate(&heads(&self.k_proj)?)?;
        let mut v = heads(&self.v_proj)?.contiguous()?;
        if let Some((past_k, past_v)) = past.take() {
            k = Tensor::cat(&[&past_k, &k], 2)?;
            v = Tensor::cat(&[&past_v, &v], 2)?;
        }
        // Grouped queries: the heads that share a key head are more rows of one product.
        let (kv, hd, s) = (self.kv_heads, self.head_dim, k.dim(2)?);
        let groups = q.dim(1)? / kv;
        let q = q.reshape((b, kv, groups * t, hd))?;
        let scores = (q.matmul(&k.transpose(2, 3)?)? * (hd as f64).powf(-0.5))?;
        let scores = scores.reshape((b, kv, groups, t, s))?.broadcast_add(&context.mask)?;
        let weights = softmax(&scores)?.reshape((b, kv, groups * t, s))?;
        let mixed = weights.matmul(&v)?.reshape((b, kv * groups, t, hd))?;
        *past = Some((k, v));
        linear(&mixed.transpose(1, 2)?.reshape((b, t, ()))?, &self.o_proj)
    }

    fn mlp(&self, x: &Tensor) -> Result<Tensor> {
        let gate = linear(x, &self.gate_proj)?.silu()?;
        linear(&(gate * linear(x, &self.up_proj)?)?, &self.down_proj)
    }
}

/// x·Wᵀ for x [B, T, in], W [out, in].
fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (b, t, inputs) = x.dims3()?;
    Ok(x.reshape((b * t, inputs))?.matmul(&weight.t()?)?.reshape((b, t, ()))?)
}
