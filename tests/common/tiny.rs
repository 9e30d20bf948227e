//! A tiny random decoder with a byte-level tokenizer.

use candle_core::{Device, Tensor};
use lpc::model::config::DecoderConfig;
use lpc::text::tokenizer::TextTokenizer;
use std::collections::HashMap;
use std::path::Path;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

pub const TEMPLATE: &str = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>{% endfor %}\
                            {% if add_generation_prompt %}<s>assistant\n{% endif %}";

pub fn config() -> DecoderConfig {
    DecoderConfig {
        vocab_size: vocabulary().len(),
        hidden_size: 64,
        intermediate_size: 96,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 16,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        max_position_embeddings: 128,
        sliding_window: None,
        tie_word_embeddings: false,
    }
}

pub fn weights(config: &DecoderConfig, seed: u64) -> HashMap<String, Tensor> {
    let mut rng = lpc::seed::stream(seed, "tiny weights");
    config
        .parameter_shapes()
        .map(|(name, shape)| {
            let draws = lpc::seed::normal(&mut rng, shape.iter().product());
            let (centre, scale) = if shape.len() == 1 { (1.0, 0.1) } else { (0.0, 0.3) };
            let values: Vec<f32> = draws.iter().map(|z| (centre + scale * z) as f32).collect();
            (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
        })
        .collect()
}

/// Two special tokens, the byte alphabet, and the words `ab` and `Ġab`.
pub fn vocabulary() -> Vec<String> {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let special = ["<s>", "</s>"].map(String::from);
    let words = ["ab", "Ġab"].map(String::from);
    special.into_iter().chain(alphabet.into_iter().map(String::from)).chain(words).collect()
}

pub const MERGES: [(&str, &str); 2] = [("a", "b"), ("Ġ", "ab")];

pub fn tokenizer(template: Option<&str>) -> TextTokenizer {
    let vocabulary: tokenizers::models::bpe::Vocab = vocabulary().into_iter().zip(0..).collect();
    let merges = MERGES.map(|(a, b)| (a.to_string(), b.to_string())).to_vec();
    let bpe = BPE::builder().vocab_and_merges(vocabulary, merges).build().unwrap();
    let mut tokenizer = Tokenizer::new(bpe);
    let byte_level = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(byte_level)).with_decoder(Some(byte_level));
    tokenizer.add_special_tokens(["<s>", "</s>"].map(|t| AddedToken::from(t, true))).unwrap();
    TextTokenizer::new(tokenizer, vec![1], Some(0), template.map(str::to_string)).unwrap()
}

/// As a folder, with the weights of seed 1.
pub fn save(folder: &Path, config: &DecoderConfig, template: Option<&str>) {
    lpc::model::save::save(folder, config, &weights(config, 1), &tokenizer(template)).unwrap();
}
