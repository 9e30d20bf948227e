//! Random decoders of a size that a test can afford.

use candle_core::{DType, Device, Tensor};
use lpc::config::Latent;
use lpc::latent::init_heads;
use lpc::model::config::{DecoderConfig, RopeScaling};
use lpc::model::parameters::Parameters;
use lpc::seed;
use proptest::prelude::*;

/// Decoder shapes over the whole range: grouped and plain heads, windows, rope scaling, tying.
pub fn decoder_config() -> impl Strategy<Value = DecoderConfig> {
    let scaling = prop::option::of((2.0..10.0f64).prop_map(|factor| RopeScaling {
        factor,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 16,
    }));
    let heads = prop::sample::select(vec![(1, 1), (2, 1), (4, 2), (3, 3)]);
    (heads, prop::sample::select(vec![2usize, 4, 8]), 1..4usize, 5..40usize, scaling, any::<bool>()).prop_map(
        |((heads, kv), head_dim, layers, vocab, rope_scaling, tied)| DecoderConfig {
            vocab_size: vocab,
            hidden_size: heads * head_dim,
            intermediate_size: 2 * heads * head_dim + 1,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: kv,
            head_dim,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling,
            max_position_embeddings: 64,
            sliding_window: None,
            tie_word_embeddings: tied,
        },
    )
}

/// [`parameters_of`] a policy with LPC's heads, or of a plain one for no codes.
pub fn parameters(config: &DecoderConfig, codes: usize, seed: u64, dtype: DType) -> Parameters {
    let latent = match codes {
        0 => Latent::None {},
        codes => Latent::Marginal {
            codes,
            codebook_std: 1.0,
            heads_learning_rate: None,
            heads_input: Default::default(),
        },
    };
    parameters_of(config, &latent, seed, dtype)
}

/// A decoder with norm weights away from 1, and the latent's heads.
pub fn parameters_of(config: &DecoderConfig, latent: &Latent, seed: u64, dtype: DType) -> Parameters {
    let mut rng = seed::stream(seed, "parameters");
    let mut parameters = Parameters::random_decoder(config, &mut rng).unwrap();
    init_heads(&mut parameters, config.hidden_size, latent, &mut rng).unwrap();
    for (name, var) in parameters.iter() {
        let n = var.elem_count();
        let noise: Vec<f32> = seed::normal(&mut rng, n).iter().map(|v| 0.3 * *v as f32).collect();
        let noise = Tensor::from_vec(noise, var.shape(), &Device::Cpu).unwrap();
        if name.ends_with("norm.weight") || name.contains("lpc.") || name.contains("embed") {
            var.set(&(var.as_tensor() + noise).unwrap()).unwrap();
        }
    }
    parameters.to(dtype, &Device::Cpu).unwrap()
}
