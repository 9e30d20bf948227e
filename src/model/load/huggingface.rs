//! Hugging Face folders: `config.json`, safetensors (one file or shards), `tokenizer.json`.

mod config;
mod json;
mod tokenizer;

use self::config::read_config;
use self::json::parse as parse_json;
use self::tokenizer::read_tokenizer;
use super::{Loaded, PICKLED, check_vocabulary, describe, sha256};
use crate::error::{Error, Place, Result};
use crate::model::config::DecoderConfig;
use crate::text::tokenizer::TextTokenizer;
use crate::visible::{label, one_line};
use candle_core::safetensors::BufferedSafetensors;
use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

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
    let mut config = read_config(&config_json, &config_place)?;
    let mut weights = read_weights(&mut files, &config)?;
    config.tie_word_embeddings = tie(&mut weights, &config);
    check_complete(&weights, &config, folder)?;
    let tokenizer = read_tokenizer(&mut files, &config_json)?;
    check_vocabulary(&tokenizer, &config, &Place::file(folder.join("tokenizer.json")))?;
    let name = folder.file_name().map_or_else(|| folder.display().to_string(), |n| n.display().to_string());
    Ok(Loaded {
        description: format!("{}: {}", label(&name), describe(&config)),
        fingerprint: files.fingerprint()?,
        licence: read_licence(folder),
        config,
        weights,
        tokenizer,
    })
}

/// Reads a folder's `config.json` alone; whether the head is the embedding may be decided by the
/// weights.
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
    let licence = label(licence.trim().trim_matches(['"', '\'']));
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
    // A file may hold a head whatever the configuration says.
    let untied = DecoderConfig { tie_word_embeddings: false, ..config.clone() };
    let expected: HashMap<String, Vec<usize>> = untied.parameter_shapes().collect();
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
                if name.ends_with("rotary_emb.inv_freq") {
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
    Ok(weights)
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// Whether the head is the embedding, as `transformers` decides it: where the configuration says so
/// and the file does not hold two different ones. If it holds one alone, that is both.
fn tie(weights: &mut HashMap<String, Tensor>, config: &DecoderConfig) -> bool {
    if !config.tie_word_embeddings {
        return false;
    }
    match (weights.get(EMBEDDING), weights.get(HEAD)) {
        (Some(embedding), Some(head)) if !equal(embedding, head) => return false,
        (None, Some(head)) => drop(weights.insert(EMBEDDING.into(), head.clone())),
        _ => {}
    }
    weights.remove(HEAD);
    true
}

/// Of weights of the same shape. A NaN, which equals nothing, makes them differ.
fn equal(a: &Tensor, b: &Tensor) -> bool {
    let values = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>());
    matches!((values(a), values(b)), (Ok(a), Ok(b)) if a == b)
}

fn check_complete(weights: &HashMap<String, Tensor>, config: &DecoderConfig, folder: &Path) -> Result<()> {
    match config.parameter_shapes().find(|(name, _)| !weights.contains_key(name)) {
        Some((name, _)) => Err(Error::input(Place::file(folder).field(name), "a tensor", "nothing")),
        None => Ok(()),
    }
}
