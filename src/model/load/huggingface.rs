//! Hugging Face folders: `config.json`, safetensors (one file or shards), `tokenizer.json`.

mod config;
mod json;
mod tokenizer;
mod weights;

pub use self::weights::WeightFiles;

use self::config::read_config;
use self::json::parse as parse_json;
use self::tokenizer::read_tokenizer;
use super::{Loaded, Weights, check_vocabulary, describe, sha256};
use crate::error::{Error, Place, Result};
use crate::model::config::DecoderConfig;
use crate::text::tokenizer::TextTokenizer;
use crate::visible::{label, one_line};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
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
    let opened = open(folder)?;
    Ok(Loaded { weights: Weights::Tensors(opened.tensors()?.into_owned()), ..opened })
}

/// [`load`], but the weights stay in their files.
///
/// # Errors
/// As [`load`].
pub fn open(folder: &Path) -> Result<Loaded> {
    read(folder, |files, config| Ok(Weights::Files(WeightFiles::find(files, config)?)))
}

/// A folder whose weights are not there, or are not looked at: they are drawn, for measurements.
///
/// # Errors
/// As [`load`], as far as other files are concerned.
pub fn draw(folder: &Path, seed: u32) -> Result<Loaded> {
    let mut loaded = read(folder, |_, _| Ok(Weights::Drawn { seed }))?;
    let of = format!("{} and weights of seed {seed}", loaded.fingerprint);
    loaded.fingerprint = sha256(of.as_bytes()).map_err(Error::io(folder))?;
    loaded.description += ", weights drawn at random";
    Ok(loaded)
}

fn read(
    folder: &Path,
    weights: impl FnOnce(&mut Files<'_>, &mut DecoderConfig) -> Result<Weights>,
) -> Result<Loaded> {
    let mut files = Files { folder, hashes: BTreeMap::new() };
    let config_place = Place::file(folder.join("config.json"));
    let config_json = parse_json(&files.need("config.json")?, &config_place)?;
    let mut config = read_config(&config_json, &config_place)?;
    let weights = weights(&mut files, &mut config)?;
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
        self.hash(name, &path, hash)?;
        Ok(bytes)
    }

    /// Hashes a file that is too large to be read at once.
    fn pass(&mut self, name: &str) -> Result<()> {
        if !self.has(name) {
            return self.need(name).map(|_| ());
        }
        let path = self.folder.join(name);
        let hash = fs::File::open(&path).and_then(sha256).map_err(Error::io(&path))?;
        self.hash(name, &path, hash)
    }

    fn hash(&mut self, name: &str, path: &Path, hash: String) -> Result<()> {
        if let Some((expected, got)) = other_content(path, || Ok(hash.clone()))? {
            return Err(Error::input(Place::file(path), expected, format!("{got} (delete the file)")));
        }
        self.hashes.insert(name.into(), hash);
        Ok(())
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
