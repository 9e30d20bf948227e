//! A Llama or Mistral decoder: its parameters and its shape. [`crate::passes`] computes with them.

use crate::Result;
use crate::config::Precision;
use crate::model::config::DecoderConfig;
use crate::model::parameters::Parameters;
use crate::model::rotary::Rotary;
use crate::model::rows::TokenRows;
use candle_core::{DType, Device, Tensor};

#[derive(Debug, Clone)]
pub struct Decoder {
    pub config: DecoderConfig,
    embed_tokens: Tensor,
    blocks: Vec<Block>,
    norm: Tensor,
    lm_head: Tensor,
    rotary: Rotary,
    precision: Precision,
}

/// The weights of one pre-norm transformer block.
#[derive(Debug, Clone)]
pub struct Block {
    prefix: String,
    weights: [Tensor; 9],
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
            .map(|layer| Block::new(c, parameters, format!("model.layers.{layer}")))
            .collect::<Result<_>>()?;
        let norm = parameters.get("model.norm.weight", &[c.hidden_size])?;
        let rotary = Rotary::new(c, embed_tokens.dtype(), embed_tokens.device())?;
        Ok(Self { config: c.clone(), embed_tokens, blocks, norm, lm_head, rotary, precision })
    }

    pub fn device(&self) -> &Device {
        self.embed_tokens.device()
    }

    pub fn dtype(&self) -> DType {
        self.embed_tokens.dtype()
    }

    /// Of the factors of its products.
    pub fn precision(&self) -> Precision {
        self.precision
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

    /// [d]
    pub fn final_norm_weight(&self) -> &Tensor {
        &self.norm
    }

    pub fn rotary(&self) -> &Rotary {
        &self.rotary
    }

    /// Every parameter that the hidden states depend on, by name.
    pub fn below_the_head(&self) -> impl Iterator<Item = (String, &Tensor)> {
        let outer = [("model.embed_tokens.weight", &self.embed_tokens), ("model.norm.weight", &self.norm)];
        let outer = outer.into_iter().map(|(name, weight)| (name.to_string(), weight));
        outer.chain(self.blocks.iter().flat_map(Block::named))
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
}

impl Block {
    /// Names of [`Self::weights`], in their order.
    const NAMES: [&str; 9] = [
        "input_layernorm",
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "post_attention_layernorm",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ];

    fn new(c: &DecoderConfig, parameters: &Parameters, prefix: String) -> Result<Self> {
        let (d, ff) = (c.hidden_size, c.intermediate_size);
        let (q, kv) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
        let get = |weight: usize, shape: &[usize]| {
            parameters.get(&format!("{prefix}.{}.weight", Self::NAMES[weight]), shape)
        };
        let weights = [
            get(0, &[d])?,
            get(1, &[q, d])?,
            get(2, &[kv, d])?,
            get(3, &[kv, d])?,
            get(4, &[d, q])?,
            get(5, &[d])?,
            get(6, &[ff, d])?,
            get(7, &[ff, d])?,
            get(8, &[d, ff])?,
        ];
        Ok(Self { prefix, weights })
    }

    /// What its parameters' names begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// In the order attention norm, q, k, v, o, feed-forward norm, gate, up, down.
    pub fn weights(&self) -> &[Tensor; 9] {
        &self.weights
    }

    fn named(&self) -> impl Iterator<Item = (String, &Tensor)> {
        let name = |name: &str| format!("{}.{name}.weight", self.prefix);
        Self::NAMES.into_iter().map(name).zip(&self.weights)
    }
}
