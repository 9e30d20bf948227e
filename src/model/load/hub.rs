//! Models by their id on the Hugging Face hub: downloaded once into its cache, then read as a folder.

use super::{Loaded, huggingface};
use crate::error::{Error, Place, Result};
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use std::path::{Path, PathBuf};

/// What a folder needs besides its weights; a model without one of them is complained about
/// when the folder is read.
const SMALL_FILES: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
];

/// Loads `id` at `revision` (a commit, tag or branch), from the cache alone when the hub cannot
/// be reached. `HF_ENDPOINT` and `HF_HOME` say where hub and cache are, `HF_TOKEN` opens
/// gated models.
///
/// # Errors
/// The hub has no such model or revision, cannot be reached, or the folder is not a decoder.
pub fn load(id: &str, revision: &str) -> Result<Loaded> {
    let refuse = |argument: &str, got: &str, expected: &str| {
        Err(Error::argument("load", format!("model.{argument}"), got, expected))
    };
    let plain = |s: &str| {
        s.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        })
    };
    if !plain(id) || id.split('/').count() > 2 {
        return refuse("id", id, "a hub id such as `organisation/name`");
    }
    if !plain(revision) {
        return refuse("revision", revision, "a commit, a tag or a branch");
    }
    let folder = download(id, revision)?;
    let mut loaded = huggingface::load(&folder)?;
    loaded.description = format!("{id}@{revision}: {}", super::describe(&loaded.config));
    Ok(loaded)
}

/// The hub that the environment names.
pub(crate) fn api() -> std::result::Result<Api, ApiError> {
    let mut builder = ApiBuilder::from_env();
    if let Ok(token) = std::env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    builder.build()
}

fn download(id: &str, revision: &str) -> Result<PathBuf> {
    let repo = Repo::with_revision(id.into(), RepoType::Model, revision.into());
    let place = Place::file(format!("{id}@{revision}"));
    let failed = |what: &str, e: ApiError| {
        Error::input(place.clone(), format!("{what} from the hub"), super::one_line(e))
    };
    let api = api().map_err(|e| failed("an answer", e))?.repo(repo.clone());
    let files: Vec<String> = match api.info() {
        Ok(info) => info.siblings.into_iter().map(|s| s.rfilename).collect(),
        Err(e) => {
            let Some(config) = Cache::from_env().repo(repo).get("config.json") else {
                return Err(failed("the list of files", e));
            };
            tracing::warn!("{id}@{revision}: the hub cannot be reached, reading the cache");
            return parent(&config);
        }
    };
    let has = |name: &str| files.iter().any(|f| f == name);
    let get = |api: &ApiRepo, name: &str| api.get(name).map_err(|e| failed(name, e));
    if !has("config.json") {
        return Err(Error::input(
            place.clone(),
            "a model with config.json",
            format!("{} files without", files.len()),
        ));
    }
    for name in SMALL_FILES.into_iter().filter(|name| has(name)) {
        get(&api, name)?;
    }
    if has(huggingface::WEIGHTS) {
        get(&api, huggingface::WEIGHTS)?;
    } else if has(huggingface::INDEX) {
        for shard in huggingface::read_index(&get(&api, huggingface::INDEX)?)? {
            get(&api, &shard)?;
        }
    }
    parent(&get(&api, "config.json")?)
}

fn parent(file: &Path) -> Result<PathBuf> {
    let missing = || Error::argument("load", "cache", file.display(), "a file in a folder");
    file.parent().map(Path::to_path_buf).ok_or_else(missing)
}
