//! Hugging Face folders: `config.json`, safetensors (one file or shards), `tokenizer.json`.

use super::{Loaded, PICKLED, check_config, check_vocabulary, describe, one_line, sha256};
use crate::error::{Error, Place, Result};
use crate::model::config::{DecoderConfig, RopeScaling};
use crate::model::tokenizer::TextTokenizer;
use candle_core::safetensors::BufferedSafetensors;
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use tokenizers::Tokenizer;

pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// The model card, whose first lines state a licence.
pub(crate) const CARD: &str = "README.md";

/// Reads a folder in the layout of `save_pretrained`.
///
/// # Errors
/// A file is missing or damaged, or the model is not a Llama or Mistral decoder without biases.
pub fn load(folder: &Path) -> Result<Loaded> {
    let mut files = Files { folder, hashes: BTreeMap::new() };
    let config_place = Place::file(folder.join("config.json"));
    let config_json = parse_json(&files.need("config.json")?, &config_place)?;
    let config = read_config(&config_json, &config_place)?;
    let weights = read_weights(&mut files, &config)?;
    let tokenizer = read_tokenizer(&mut files, &config_json)?;
    check_vocabulary(&tokenizer, &config, &Place::file(folder.join("tokenizer.json")))?;
    let name = folder.file_name().map_or_else(|| folder.display().to_string(), |n| n.display().to_string());
    Ok(Loaded {
        description: format!("{name}: {}", describe(&config)),
        fingerprint: files.fingerprint()?,
        licence: read_licence(folder),
        config,
        weights,
        tokenizer,
    })
}

/// Reads a folder's `config.json` alone.
///
/// # Errors
/// The file is missing or damaged, or describes another kind of model.
pub fn load_config(folder: &Path) -> Result<DecoderConfig> {
    let mut files = Files { folder, hashes: BTreeMap::new() };
    let place = Place::file(folder.join("config.json"));
    read_config(&parse_json(&files.need("config.json")?, &place)?, &place)
}

/// Reads a folder's tokenizer alone.
///
/// # Errors
/// A file is missing or damaged.
pub fn load_tokenizer(folder: &Path) -> Result<TextTokenizer> {
    let mut files = Files { folder, hashes: BTreeMap::new() };
    let config = files.json("config.json")?.unwrap_or_default();
    read_tokenizer(&mut files, &config)
}

/// `license:` of the card's front matter.
fn read_licence(folder: &Path) -> Option<String> {
    let card = fs::read(folder.join(CARD)).ok()?;
    let card = String::from_utf8_lossy(&card);
    let mut lines = card.lines().map(str::trim_end);
    lines.next().filter(|&line| line == "---")?;
    let licence = lines.take_while(|&line| line != "---").find_map(|line| line.strip_prefix("license:"))?;
    let licence = one_line(licence.trim().trim_matches(['"', '\'']));
    (!licence.is_empty()).then_some(licence)
}

/// A file of the hub's cache is a link to content that is named by its SHA-256, where the hub knew
/// that. Returns what was expected and what is there, if they differ.
pub(super) fn other_content(
    path: &Path,
    sha256: impl FnOnce() -> Result<String>,
) -> Result<Option<(String, String)>> {
    let Some(stated) = fs::read_link(path).ok().and_then(|to| Some(to.file_name()?.to_str()?.to_owned()))
    else {
        return Ok(None);
    };
    if stated.len() != 64 || !stated.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let sha256 = sha256()?;
    Ok((stated != sha256).then(|| (format!("content of SHA-256 {stated}"), sha256)))
}

/// The folder's files, hashed as they are read.
struct Files<'a> {
    folder: &'a Path,
    hashes: BTreeMap<String, String>,
}

impl Files<'_> {
    fn has(&self, name: &str) -> bool {
        self.folder.join(name).is_file()
    }

    fn need(&mut self, name: &str) -> Result<Vec<u8>> {
        if !self.has(name) {
            let got = if self.folder.is_dir() { "no such file in the folder" } else { "no such folder" };
            return Err(Error::input(Place::file(self.folder), name, got));
        }
        let path = self.folder.join(name);
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let hash = sha256(&bytes[..]).map_err(Error::io(&path))?;
        if let Some((expected, got)) = other_content(&path, || Ok(hash.clone()))? {
            return Err(Error::input(Place::file(path), expected, format!("{got} (delete the file)")));
        }
        self.hashes.insert(name.into(), hash);
        Ok(bytes)
    }

    fn json(&mut self, name: &str) -> Result<Option<Map<String, Value>>> {
        if !self.has(name) {
            return Ok(None);
        }
        parse_json(&self.need(name)?, &Place::file(self.folder.join(name))).map(Some)
    }

    fn fingerprint(&self) -> Result<String> {
        let lines: String = self.hashes.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect();
        sha256(lines.as_bytes()).map_err(Error::io(self.folder))
    }
}

fn parse_json(bytes: &[u8], place: &Place) -> Result<Map<String, Value>> {
    serde_json::from_slice(bytes).map_err(|e| Error::input(place.clone(), "a JSON object", one_line(e)))
}

/// The keys of `config.json` that decide what the decoder computes; the others do not matter here.
#[derive(Deserialize)]
struct ConfigJson {
    architectures: Option<Vec<String>>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    rms_norm_eps: Option<f64>,
    max_position_embeddings: Option<usize>,
    #[serde(default)]
    tie_word_embeddings: bool,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    partial_rotary_factor: Option<f64>,
    quantization_config: Option<Value>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    rope_parameters: Option<Rope>,
}

/// `rope_scaling`, or `rope_parameters` as newer releases write it.
#[derive(Deserialize, Clone)]
struct Rope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
}

fn read_config(json: &Map<String, Value>, place: &Place) -> Result<DecoderConfig> {
    let refuse = |field: &str, expected: &str, got: String| {
        Err(Error::input(place.clone().field(field), expected, one_line(got)))
    };
    // Absent keys mean what the architecture's class in `transformers` says; the two differ.
    let mistral = match json.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str) {
        Some("LlamaForCausalLM") => false,
        Some("MistralForCausalLM") => true,
        other => {
            let got = other.unwrap_or("nothing").to_string();
            return refuse("architectures", "LlamaForCausalLM or MistralForCausalLM", got);
        }
    };
    let c: ConfigJson = serde_json::from_value(Value::Object(json.clone()))
        .map_err(|e| Error::input(place.clone(), "a decoder's configuration", one_line(e)))?;
    if c.architectures.is_some_and(|a| a.len() > 1) {
        return refuse("architectures", "one architecture", "several".into());
    }
    for (field, bias) in [("attention_bias", c.attention_bias), ("mlp_bias", c.mlp_bias)] {
        if bias == Some(true) {
            return refuse(field, "false (biases are not supported)", "true".into());
        }
    }
    if let Some(act) = c.hidden_act.filter(|act| act != "silu") {
        return refuse("hidden_act", "silu", act);
    }
    if let Some(factor) = c.partial_rotary_factor.filter(|&f| f != 1.0) {
        return refuse("partial_rotary_factor", "1 (every dimension rotates)", factor.to_string());
    }
    if c.quantization_config.is_some() {
        return refuse("quantization_config", "weights in f32, bf16 or f16", "quantised weights".into());
    }
    let rope = c.rope_parameters.or(c.rope_scaling);
    let sliding_window = match json.get("sliding_window") {
        _ if !mistral => None,
        None => Some(4096),
        Some(Value::Null) => None,
        Some(window) => match window.as_u64().and_then(|w| usize::try_from(w).ok()) {
            Some(window) => Some(window),
            None => return refuse("sliding_window", "a number of positions", window.to_string()),
        },
    };
    let rope_theta = rope.as_ref().and_then(|r| r.rope_theta).or(c.rope_theta).unwrap_or(10_000.0);
    let config = DecoderConfig {
        vocab_size: c.vocab_size,
        hidden_size: c.hidden_size,
        intermediate_size: c.intermediate_size,
        num_hidden_layers: c.num_hidden_layers,
        num_attention_heads: c.num_attention_heads,
        num_key_value_heads: c.num_key_value_heads.unwrap_or(if mistral { 8 } else { c.num_attention_heads }),
        head_dim: c.head_dim.unwrap_or(c.hidden_size / c.num_attention_heads.max(1)),
        rms_norm_eps: c.rms_norm_eps.unwrap_or(1e-6),
        rope_theta,
        rope_scaling: rope.map_or(Ok(None), |r| read_rope(&r, place))?,
        max_position_embeddings: c.max_position_embeddings.unwrap_or(if mistral { 131_072 } else { 2048 }),
        sliding_window,
        tie_word_embeddings: c.tie_word_embeddings,
    };
    check_config(&config, place)?;
    Ok(config)
}

fn read_rope(rope: &Rope, place: &Place) -> Result<Option<RopeScaling>> {
    match rope.rope_type.as_deref() {
        None | Some("default") => return Ok(None),
        Some("llama3") => {}
        Some(other) => {
            let place = place.clone().field("rope_scaling.rope_type");
            return Err(Error::input(place, "llama3 or default", one_line(other)));
        }
    }
    let need = |field: &str, value: Option<f64>| match value {
        Some(v) if v.is_finite() && v > 0.0 => Ok(v),
        other => {
            let got = other.map_or("nothing".into(), |v| v.to_string());
            Err(Error::input(
                place.clone().field(format!("rope_scaling.{field}")),
                "a finite number > 0",
                got,
            ))
        }
    };
    let original = rope.original_max_position_embeddings;
    need("original_max_position_embeddings", original.map(|n| n as f64))?;
    let (low, high) =
        (need("low_freq_factor", rope.low_freq_factor)?, need("high_freq_factor", rope.high_freq_factor)?);
    if low >= high {
        let place = place.clone().field("rope_scaling.low_freq_factor");
        return Err(Error::input(place, format!("less than high_freq_factor = {high}"), low));
    }
    Ok(Some(RopeScaling {
        factor: need("factor", rope.factor)?,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: original.unwrap_or_default(),
    }))
}

/// The shards an index names: plain file names only, since it is a stranger who wrote it.
pub(super) fn read_index(path: &Path) -> Result<Vec<String>> {
    let place = Place::file(path);
    let index = parse_json(&fs::read(path).map_err(Error::io(path))?, &place)?;
    let place = place.field("weight_map");
    let map = index.get("weight_map").and_then(Value::as_object).filter(|map| !map.is_empty());
    let map = map.ok_or_else(|| Error::input(place.clone(), "tensor names with their files", "nothing"))?;
    let mut shards = BTreeSet::new();
    for shard in map.values() {
        match shard.as_str().filter(|name| is_plain_shard(name)) {
            Some(name) => shards.insert(name.to_string()),
            None => {
                return Err(Error::input(
                    place,
                    "names of safetensors files in this folder",
                    one_line(shard),
                ));
            }
        };
    }
    Ok(shards.into_iter().collect())
}

fn is_plain_shard(name: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    name.ends_with(".safetensors") && !name.starts_with('.') && !name.contains(odd)
}

fn read_weights(files: &mut Files<'_>, config: &DecoderConfig) -> Result<HashMap<String, Tensor>> {
    let shards = if files.has(WEIGHTS) {
        vec![WEIGHTS.to_string()]
    } else if files.has(INDEX) {
        files.need(INDEX)?;
        read_index(&files.folder.join(INDEX))?
    } else if files.has("pytorch_model.bin") || files.has("pytorch_model.bin.index.json") {
        return Err(Error::input(Place::file(files.folder), WEIGHTS, PICKLED));
    } else {
        return files.need(WEIGHTS).map(|_| HashMap::new());
    };
    let expected: HashMap<String, Vec<usize>> = config.parameter_shapes().collect();
    let mut weights = HashMap::new();
    for shard in shards {
        let place = Place::file(files.folder.join(&shard));
        let bytes = files.need(&shard)?;
        let broken = |e: candle_core::Error| Error::input(place.clone(), "a safetensors file", one_line(e));
        let buffer = BufferedSafetensors::new(bytes).map_err(broken)?;
        let mut views = buffer.tensors();
        views.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (name, view) in views {
            let place = place.clone().field(one_line(&name));
            let Some(shape) = expected.get(&name) else {
                let derived = name.ends_with("rotary_emb.inv_freq") || name == "lm_head.weight";
                if derived {
                    continue;
                }
                let expected = "the tensors of a Llama or Mistral decoder without biases";
                return Err(Error::input(place, expected, "another tensor"));
            };
            if view.shape() != shape {
                return Err(Error::input(place, format!("shape {shape:?}"), format!("{:?}", view.shape())));
            }
            use safetensors::Dtype::{BF16, F16, F32};
            if !matches!(view.dtype(), F32 | BF16 | F16) {
                return Err(Error::input(place, "f32, bf16 or f16", format!("{:?}", view.dtype())));
            }
            let tensor =
                buffer.load(&name, &Device::Cpu).and_then(|t| t.to_dtype(DType::F32)).map_err(broken)?;
            if weights.insert(name, tensor).is_some() {
                return Err(Error::input(place, "each tensor once", "it a second time"));
            }
        }
    }
    match config.parameter_shapes().find(|(name, _)| !weights.contains_key(name)) {
        Some((name, _)) => Err(Error::input(Place::file(files.folder).field(name), "a tensor", "nothing")),
        None => Ok(weights),
    }
}

fn read_tokenizer(files: &mut Files<'_>, config: &Map<String, Value>) -> Result<TextTokenizer> {
    let place = Place::file(files.folder.join("tokenizer.json"));
    let tokenizer = Tokenizer::from_bytes(files.need("tokenizer.json")?)
        .map_err(|e| Error::input(place.clone(), "a tokenizer", one_line(e)))?;
    let settings = files.json("tokenizer_config.json")?.unwrap_or_default();
    let generation = files.json("generation_config.json")?.unwrap_or_default();

    // The tokenizer's own end token first: for a chat model it is the one that ends a turn.
    let named = |key: &str| {
        let token = settings.get(key).map(|t| t.get("content").unwrap_or(t)).and_then(Value::as_str);
        token.and_then(|t| tokenizer.token_to_id(t))
    };
    let numbered = |key: &'static str| [&generation, config].map(|json| ids(json.get(key))).concat();
    let mut eos = Vec::new();
    for id in named("eos_token").into_iter().chain(numbered("eos_token_id")) {
        if !eos.contains(&id) {
            eos.push(id);
        }
    }
    let bos = named("bos_token").or_else(|| numbered("bos_token_id").first().copied());
    let template = if files.has("chat_template.jinja") {
        Some(String::from_utf8_lossy(&files.need("chat_template.jinja")?).into_owned())
    } else {
        settings.get("chat_template").and_then(default_template)
    };
    TextTokenizer::new(tokenizer, eos, bos, template)
        .map_err(|e| Error::input(Place::file(files.folder), "a usable tokenizer", e))
}

/// One id, several, or none.
fn ids(value: Option<&Value>) -> Vec<u32> {
    let one = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(several)) => several.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// A template, or the one called `default` among several.
fn default_template(value: &Value) -> Option<String> {
    let text = |v: &Value| v.as_str().map(str::to_string);
    match value {
        Value::Array(several) => several
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|entry| entry.get("template").and_then(text)),
        value => text(value),
    }
}
