//! Writing a model as a folder that `transformers` reads.

use crate::error::{Error, Result};
use crate::files::{write_json, write_tensors};
use crate::model::config::DecoderConfig;
use crate::model::load::huggingface::{INDEX, WEIGHTS};
use crate::text::tokenizer::TextTokenizer;
use candle_core::{DType, Device, Tensor};
use safetensors::View;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Bytes of one file of weights, as `save_pretrained` has it.
const SHARD: usize = 5_000_000_000;

/// [`save_tensors`] of candle's: as f32, whatever their dtype and device.
///
/// # Errors
/// A tensor is missing, or as [`save_tensors`].
pub fn save(
    folder: &Path,
    config: &DecoderConfig,
    weights: &HashMap<String, Tensor>,
    tokenizer: &TextTokenizer,
) -> Result<()> {
    save_tensors(folder, config, Source::of(config, weights)?, tokenizer)
}

/// Where a decoder's weights come from while they are written.
pub struct Source<'a, V> {
    /// By name, in the order of the configuration.
    pub tensors: Vec<(String, V)>,
    /// Whether they could be read, asked when all are written.
    pub read: &'a dyn Fn() -> Result<()>,
}

impl Source<'_, Tensor> {
    /// Candle's, as f32 on the CPU.
    ///
    /// # Errors
    /// A tensor is missing.
    pub fn of(config: &DecoderConfig, weights: &HashMap<String, Tensor>) -> Result<Self> {
        let mut tensors = Vec::with_capacity(weights.len());
        for (name, _) in config.parameter_shapes() {
            let tensor =
                weights.get(&name).ok_or_else(|| Error::argument("save", &name, "nothing", "a tensor"))?;
            tensors.push((name, tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?));
        }
        Ok(Self { tensors, read: &|| Ok(()) })
    }
}

/// Writes weights, tokenizer, `generation_config.json` and, last, `config.json`, so that a
/// folder left behind by a crash does not pass for a model. Each file appears complete or not at
/// all.
///
/// # Errors
/// A tensor has another shape than `config` says or cannot be read, or a file cannot be written.
pub fn save_tensors(
    folder: &Path,
    config: &DecoderConfig,
    source: Source<'_, impl View>,
    tokenizer: &TextTokenizer,
) -> Result<()> {
    for ((name, tensor), (_, shape)) in source.tensors.iter().zip(config.parameter_shapes()) {
        if tensor.shape() != shape {
            let got = format!("{:?}", tensor.shape());
            return Err(Error::argument("save", name, got, format!("shape {shape:?}")));
        }
    }
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    save_weights(folder, source.tensors, SHARD)?;
    (source.read)()?;
    tokenizer.save(folder)?;
    let special = json!({ "bos_token_id": tokenizer.bos_id(), "eos_token_id": tokenizer.eos_ids() });
    write_json(&folder.join("generation_config.json"), &special)?;
    write_json(&folder.join("config.json"), &config_json(config, tokenizer))
}

/// Writes `model.safetensors`, or, where that would have more than `shard` bytes of tensors, several
/// files with `model.safetensors.index.json`. A tensor is never divided. Weights that an earlier call
/// left in other files are removed, since a reader could take them for these.
///
/// # Errors
/// A file cannot be written.
pub fn save_weights<V: View>(folder: &Path, tensors: Vec<(String, V)>, shard: usize) -> Result<()> {
    let total: usize = tensors.iter().map(|(_, t)| t.data_len()).sum();
    let mut shards: Vec<Vec<(String, V)>> = vec![];
    let mut filled = 0;
    for (name, tensor) in tensors {
        filled += tensor.data_len();
        match shards.last_mut().filter(|_| filled <= shard) {
            Some(last) => last.push((name, tensor)),
            None => {
                filled = tensor.data_len();
                shards.push(vec![(name, tensor)]);
            }
        }
    }
    let count = shards.len();
    let mut weight_map = Map::new();
    let mut written = vec![];
    for (i, tensors) in shards.into_iter().enumerate() {
        let file = match count {
            1 => WEIGHTS.to_string(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
        };
        weight_map.extend(tensors.iter().map(|(name, _)| (name.clone(), Value::from(file.as_str()))));
        let format = HashMap::from([("format".to_string(), "pt".to_string())]);
        write_tensors(&folder.join(&file), tensors, Some(format))?;
        written.push(file);
    }
    if count > 1 {
        let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
        write_json(&folder.join(INDEX), &index)?;
        written.push(INDEX.into());
    }
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let shard = name.starts_with("model-") && name.ends_with(".safetensors");
        if (shard || name == WEIGHTS || name == INDEX) && !written.contains(&name) {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
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
