//! The decoder's shape, as a Hugging Face `config.json` states it.

use serde::{Deserialize, Serialize};

/// Llama and Mistral decoders: pre-norm blocks of grouped-query attention with rotary
/// positions and a SwiGLU feed-forward, RMS norms, no biases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecoderConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    pub rope_scaling: Option<RopeScaling>,
    pub max_position_embeddings: usize,
    /// Mistral: a token attends to this many positions, itself included.
    pub sliding_window: Option<usize>,
    /// The LM head is the embedding matrix.
    pub tie_word_embeddings: bool,
}

/// Llama 3.1's frequency-dependent rotary scaling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RopeScaling {
    pub factor: f64,
    pub low_freq_factor: f64,
    pub high_freq_factor: f64,
    pub original_max_position_embeddings: usize,
}

impl DecoderConfig {
    /// Hugging Face name and shape of every parameter; linear weights are [outputs, inputs].
    pub fn parameter_shapes(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        let &DecoderConfig { vocab_size, hidden_size: d, intermediate_size: ff, head_dim, .. } = self;
        let (q, kv) = (self.num_attention_heads * head_dim, self.num_key_value_heads * head_dim);
        let blocks = (0..self.num_hidden_layers).flat_map(move |layer| {
            [
                ("input_layernorm", vec![d]),
                ("self_attn.q_proj", vec![q, d]),
                ("self_attn.k_proj", vec![kv, d]),
                ("self_attn.v_proj", vec![kv, d]),
                ("self_attn.o_proj", vec![d, q]),
                ("post_attention_layernorm", vec![d]),
                ("mlp.gate_proj", vec![ff, d]),
                ("mlp.up_proj", vec![ff, d]),
                ("mlp.down_proj", vec![d, ff]),
            ]
            .map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape))
        });
        let head = (!self.tie_word_embeddings).then(|| ("lm_head.weight".to_string(), vec![vocab_size, d]));
        std::iter::once(("model.embed_tokens.weight".to_string(), vec![vocab_size, d]))
            .chain(blocks)
            .chain(std::iter::once(("model.norm.weight".to_string(), vec![d])))
            .chain(head)
    }
}
