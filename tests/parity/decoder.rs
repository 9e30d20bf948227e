//! Our decoder against candle-transformers' Llama and Mistral on the same weights.

use crate::decoders::{decoder_config, parameters};
use crate::difference::max_abs_diff;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, mistral};
use lpc::config::Precision;
use lpc::model::config::DecoderConfig;
use lpc::model::decoder::Decoder;
use lpc::model::parameters::Parameters;
use lpc::model::rows::{Row, TokenRows};
use lpc::passes::autograd::hidden;
use proptest::prelude::*;

/// f64 against f32 rotary tables and f32 constants in candle-transformers, logits of order 1. Measured
/// where norms of a few nearly vanishing numbers magnify it most: we stray 6e-6 from our f64, the
/// peer 1.9e-5.
const PEER_TOLERANCE: f64 = 5e-5;

fn logits(decoder: &Decoder, tokens: &[u32]) -> Tensor {
    let hidden = hidden(decoder, &TokenRows::new(vec![Row::causal(tokens)])).unwrap();
    hidden.matmul(&decoder.lm_head().t().unwrap()).unwrap()
}

fn var_builder(parameters: &Parameters, dtype: DType) -> VarBuilder<'static> {
    VarBuilder::from_tensors(parameters.tensors().into_iter().collect(), dtype, &Device::Cpu)
}

fn llama(config: &DecoderConfig, parameters: &Parameters, dtype: DType) -> (llama::Llama, llama::Cache) {
    let scaling = config.rope_scaling.as_ref().map(|s| llama::Llama3RopeConfig {
        factor: s.factor as f32,
        low_freq_factor: s.low_freq_factor as f32,
        high_freq_factor: s.high_freq_factor as f32,
        original_max_position_embeddings: s.original_max_position_embeddings,
        rope_type: llama::Llama3RopeType::Llama3,
    });
    let peer = llama::Config {
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        vocab_size: config.vocab_size,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: config.num_attention_heads,
        num_key_value_heads: config.num_key_value_heads,
        use_flash_attn: false,
        rms_norm_eps: config.rms_norm_eps,
        rope_theta: config.rope_theta as f32,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: scaling,
        max_position_embeddings: config.max_position_embeddings,
        tie_word_embeddings: config.tie_word_embeddings,
    };
    let model = llama::Llama::load(var_builder(parameters, dtype), &peer).unwrap();
    (model, llama::Cache::new(false, dtype, &peer, &Device::Cpu).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn logits_equal_candle_transformers_llama(config in decoder_config(), seed: u64, length in 1usize..24) {
        let parameters = parameters(&config, 0, seed, DType::F32);
        let tokens: Vec<u32> = (0..length).map(|i| (i as u32 * 7 + seed as u32 % 5) % config.vocab_size as u32).collect();
        let ours = logits(&Decoder::new(&config, &parameters, Precision::F32).unwrap(), &tokens);
        let (peer, mut cache) = llama(&config, &parameters, DType::F32);
        for t in 1..=length {
            let prefix = Tensor::new(&tokens[..t], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            let theirs = peer.forward(&prefix, 0, &mut cache).unwrap().squeeze(0).unwrap();
            let diff = max_abs_diff(&ours.get(t - 1).unwrap(), &theirs);
            prop_assert!(diff < PEER_TOLERANCE, "position {t}: max abs difference {diff:e}");
        }
    }

    #[test]
    fn logits_equal_candle_transformers_mistral(
        config in decoder_config(), seed: u64, length in 1usize..24, window in 1usize..12,
    ) {
        let config = DecoderConfig { rope_scaling: None, tie_word_embeddings: false, ..config };
        let parameters = parameters(&config, 0, seed, DType::F32);
        let tokens: Vec<u32> = (0..length).map(|i| (i as u32 * 5 + seed as u32 % 3) % config.vocab_size as u32).collect();
        let peer = mistral::Config {
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            head_dim: Some(config.head_dim),
            num_key_value_heads: config.num_key_value_heads,
            hidden_act: candle_nn::Activation::Silu,
            max_position_embeddings: config.max_position_embeddings,
            rms_norm_eps: config.rms_norm_eps,
            rope_theta: config.rope_theta,
            sliding_window: Some(window),
            use_flash_attn: false,
        };
        let mut peer = mistral::Model::new(&peer, var_builder(&parameters, DType::F32)).unwrap();
        // candle-transformers lets a token see `window` positions before it, transformers
        // counts the token itself; we follow transformers.
        let config = DecoderConfig { sliding_window: Some(window + 1), ..config };
        let ours = logits(&Decoder::new(&config, &parameters, Precision::F32).unwrap(), &tokens);
        for t in 1..=length {
            peer.clear_kv_cache();
            let prefix = Tensor::new(&tokens[..t], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            let theirs = peer.forward(&prefix, 0).unwrap().flatten_all().unwrap();
            let diff = max_abs_diff(&ours.get(t - 1).unwrap(), &theirs);
            prop_assert!(diff < PEER_TOLERANCE, "position {t}: max abs difference {diff:e}");
        }
    }
}

/// The number the README and closing notes quote, at a less tiny size.
#[test]
fn logits_at_a_realistic_depth() {
    let config = DecoderConfig {
        vocab_size: 512,
        hidden_size: 96,
        intermediate_size: 256,
        num_hidden_layers: 8,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        head_dim: 16,
        rms_norm_eps: 1e-5,
        rope_theta: 100_000.0,
        rope_scaling: None,
        max_position_embeddings: 256,
        sliding_window: None,
        tie_word_embeddings: true,
    };
    let parameters = parameters(&config, 0, 5, DType::F32);
    let tokens: Vec<u32> = (0..128).map(|i| i * 37 % 512).collect();
    let ours = logits(&Decoder::new(&config, &parameters, Precision::F32).unwrap(), &tokens);
    let (peer, mut cache) = llama(&config, &parameters, DType::F32);
    let ids = Tensor::new(tokens.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let theirs = peer.forward(&ids, 0, &mut cache).unwrap().squeeze(0).unwrap();
    let diff = max_abs_diff(&ours.get(127).unwrap(), &theirs);
    println!("max abs logit difference to candle-transformers' Llama, 8 layers, 128 tokens: {diff:e}");
    assert!(diff < PEER_TOLERANCE);
}
