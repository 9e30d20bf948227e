//! Writing a model as a folder that `transformers` reads.

use crate::error::{Error, Result};
use crate::model::config::DecoderConfig;
use crate::model::heads;
use crate::model::parameters::Parameters;
use crate::model::tokenizer::TextTokenizer;
use crate::report::files::{write_atomic, write_tensors};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Writes weights, tokenizer, `generation_config.json` and, last, `config.json`, so that a
/// folder left behind by a crash does not pass for a model. Each file appears complete or not at
/// all. The weights are written as f32, whatever their dtype and device.
///
/// # Errors
/// A tensor is missing or has another shape than `config` says, or a file cannot be written.
pub fn save(
    folder: &Path,
    config: &DecoderConfig,
    weights: &HashMap<String, Tensor>,
    tokenizer: &TextTokenizer,
) -> Result<()> {
    let mut tensors = Vec::with_capacity(weights.len());
    for (name, shape) in config.parameter_shapes() {
        let tensor =
            weights.get(&name).ok_or_else(|| Error::argument("save", &name, "nothing", "a tensor"))?;
        if tensor.dims() != shape {
            let got = format!("{:?}", tensor.dims());
            return Err(Error::argument("save", name, got, format!("shape {shape:?}")));
        }
        tensors.push((name, tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?));
    }
    fs::create_dir_all(folder).map_err(Error::io(folder))?;

    let path = folder.join("model.safetensors");
    let format = HashMap::from([("format".to_string(), "pt".to_string())]);
    write_tensors(&path, tensors, Some(format))?;

    tokenizer.save(folder)?;
    let special = json!({ "bos_token_id": tokenizer.bos_id(), "eos_token_id": tokenizer.eos_ids() });
    write_json(&folder.join("generation_config.json"), &special)?;
    write_json(&folder.join("config.json"), &config_json(config, tokenizer))
}

/// File of LPC's own parameters, beside `model.safetensors`.
pub const HEADS: &str = "lpc.safetensors";

/// Writes a policy: LPC's heads in `lpc.safetensors` if it has any, then the decoder as [`save`].
///
/// # Errors
/// As [`save`].
pub fn save_policy(
    folder: &Path,
    config: &DecoderConfig,
    parameters: &Parameters,
    tokenizer: &TextTokenizer,
) -> Result<()> {
    let (heads, decoder): (HashMap<_, _>, HashMap<_, _>) =
        parameters.tensors().into_iter().partition(|(name, _)| name.starts_with(heads::PREFIX));
    if !heads.is_empty() {
        write_tensors(&folder.join(HEADS), heads, None)?;
    }
    save(folder, config, &decoder, tokenizer)
}

/// `config.json` as `save_pretrained` writes it. A decoder with a sliding window is a Mistral,
/// one without computes what a Llama computes.
fn config_json(config: &DecoderConfig, tokenizer: &TextTokenizer) -> Value {
    let mut json = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": null,
        "max_position_embeddings": config.max_position_embeddings,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": config.tie_word_embeddings,
        "bos_token_id": tokenizer.bos_id(),
        "eos_token_id": tokenizer.eos_ids(),
        "torch_dtype": "float32",
    });
    if let Some(scaling) = &config.rope_scaling {
        json["rope_scaling"] = json!({
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_position_embeddings,
        });
    }
    if let Some(window) = config.sliding_window {
        json["architectures"] = json!(["MistralForCausalLM"]);
        json["model_type"] = "mistral".into();
        json["sliding_window"] = window.into();
    }
    json
}

pub(crate) fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_atomic(path, format!("{value:#}\n").as_bytes())
}
