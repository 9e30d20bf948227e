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
