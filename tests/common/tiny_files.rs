//! What files of the tiny decoder are tested with: configurations that differ where files differ, GGUF,
//! weights bit for bit.

use crate::tiny;
use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{IndexOp, Tensor};
use lpc::model::config::{DecoderConfig, RopeScaling};
use std::collections::HashMap;
use std::path::Path;

pub fn variants() -> Vec<DecoderConfig> {
    let scaling = RopeScaling {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 32,
    };
    vec![
        tiny::config(),
        DecoderConfig { tie_word_embeddings: true, head_dim: 8, ..tiny::config() },
        DecoderConfig { sliding_window: Some(16), num_key_value_heads: 4, ..tiny::config() },
        DecoderConfig { rope_scaling: Some(scaling), rope_theta: 500_000.0, ..tiny::config() },
    ]
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
        ("tokenizer.ggml.tokens", strings(tiny::vocabulary())),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.merges", strings(tiny::MERGES.map(|(a, b)| format!("{a} {b}")).to_vec())),
        ("tokenizer.ggml.bos_token_id", number(0)),
        ("tokenizer.ggml.eos_token_id", number(1)),
        ("tokenizer.chat_template", Value::String(tiny::TEMPLATE.into())),
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
