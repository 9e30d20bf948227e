//! A tiny random decoder with a byte-level tokenizer, as a folder and as a GGUF file.

use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, IndexOp, Tensor};
use lpc::model::config::{DecoderConfig, RopeScaling};
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

/// Configurations that differ where files differ.
pub fn variants() -> Vec<DecoderConfig> {
    let scaling = RopeScaling {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 32,
    };
    vec![
        config(),
        DecoderConfig { tie_word_embeddings: true, head_dim: 8, ..config() },
        DecoderConfig { sliding_window: Some(16), num_key_value_heads: 4, ..config() },
        DecoderConfig { rope_scaling: Some(scaling), rope_theta: 500_000.0, ..config() },
    ]
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

const MERGES: [(&str, &str); 2] = [("a", "b"), ("Ġ", "ab")];

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

/// As the published converter stores query and key rows: interleaved pairs for rotation,
/// row 2i of a head from row i, row 2i+1 from row i + head_dim/2.
fn interleave(weight: &Tensor, heads: usize) -> Tensor {
    let half = weight.dim(0).unwrap() / heads / 2;
    let rows: Vec<Tensor> = (0..heads)
        .flat_map(|head| (0..half).flat_map(move |i| [i, i + half]).map(move |row| head * 2 * half + row))
        .map(|row| weight.i(row).unwrap())
        .collect();
    Tensor::stack(&rows, 0).unwrap()
}

pub fn metadata(config: &DecoderConfig) -> Vec<(&'static str, Value)> {
    let number = |n: usize| Value::U32(n as u32);
    let strings = |v: Vec<String>| Value::Array(v.into_iter().map(Value::String).collect());
    let kinds = (0..config.vocab_size).map(|id| Value::I32(if id < 2 { 3 } else { 1 })).collect();
    vec![
        ("general.architecture", Value::String("llama".into())),
        ("general.name", Value::String("tiny".into())),
        ("general.alignment", Value::U32(32)),
        ("llama.block_count", number(config.num_hidden_layers)),
        ("llama.context_length", number(config.max_position_embeddings)),
        ("llama.embedding_length", number(config.hidden_size)),
        ("llama.feed_forward_length", number(config.intermediate_size)),
        ("llama.attention.head_count", number(config.num_attention_heads)),
        ("llama.attention.head_count_kv", number(config.num_key_value_heads)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(config.rms_norm_eps as f32)),
        ("llama.rope.freq_base", Value::F32(config.rope_theta as f32)),
        ("llama.rope.dimension_count", number(config.head_dim)),
        ("tokenizer.ggml.model", Value::String("gpt2".into())),
        ("tokenizer.ggml.pre", Value::String("gpt-2".into())),
        ("tokenizer.ggml.tokens", strings(vocabulary())),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.merges", strings(MERGES.map(|(a, b)| format!("{a} {b}")).to_vec())),
        ("tokenizer.ggml.bos_token_id", number(0)),
        ("tokenizer.ggml.eos_token_id", number(1)),
        ("tokenizer.chat_template", Value::String(TEMPLATE.into())),
    ]
}

pub fn gguf_name(name: &str) -> String {
    let names = [
        ("model.layers.", "blk."),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    names.iter().fold(name.to_string(), |name, (from, to)| name.replace(from, to))
}

pub fn write_gguf(
    path: &Path,
    config: &DecoderConfig,
    weights: &HashMap<String, Tensor>,
    metadata: &[(&str, Value)],
    matrices: GgmlDType,
) {
    let tensors: Vec<(String, QTensor)> = config
        .parameter_shapes()
        .map(|(name, shape)| {
            let tensor = match &weights[&name] {
                q if name.contains("q_proj") => interleave(q, config.num_attention_heads),
                k if name.contains("k_proj") => interleave(k, config.num_key_value_heads),
                other => other.clone(),
            };
            let dtype = if shape.len() == 1 { GgmlDType::F32 } else { matrices };
            (gguf_name(&name), QTensor::quantize(&tensor, dtype).unwrap())
        })
        .collect();
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    write(&mut file, &metadata, &tensors).unwrap();
}

pub fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// An error's message, which must be one line.
pub fn message<T>(result: lpc::Result<T>) -> String {
    let message = result.err().expect("an error").to_string();
    assert!(!message.contains('\n'), "more than one line: {message}");
    message
}
