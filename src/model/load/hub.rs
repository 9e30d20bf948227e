//! Models by their id on the Hugging Face hub: downloaded once into its cache, then read as a folder.

use super::{Loaded, PICKLED, huggingface, is_pickled, sha256};
use crate::error::{Error, Place, Result};
use crate::model::tokenizer::TextTokenizer;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use std::fs;
use std::path::{Path, PathBuf};

/// What a folder needs besides its weights; a model without one of them is complained about
/// when the folder is read.
const SMALL_FILES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    huggingface::CARD,
];
/// A download that breaks off goes on from there, this many times.
const RETRIES: usize = 5;

/// Loads `id` at `revision` (a commit, tag or branch), from the cache alone when the hub cannot
/// be reached or `HF_HUB_OFFLINE` is set. `HF_ENDPOINT` and `HF_HOME` say where hub and cache are;
/// `HF_TOKEN`, or else the token that the hub's own tools keep there, opens gated models. The
/// description names the commit.
///
/// # Errors
/// The hub has no such model or revision, cannot be reached, or sent something else than it
/// announced; or the folder is not a decoder.
pub fn load(id: &str, revision: &str) -> Result<Loaded> {
    let (folder, commit) = snapshot(id, revision, true)?;
    let mut loaded = huggingface::load(&folder)?;
    let commit = if commit == revision { String::new() } else { format!(" (commit {commit})") };
    loaded.description = format!("{id}@{revision}{commit}: {}", super::describe(&loaded.config));
    Ok(loaded)
}

/// The tokenizer alone; weights are not downloaded.
pub fn load_tokenizer(id: &str, revision: &str) -> Result<TextTokenizer> {
    huggingface::load_tokenizer(&snapshot(id, revision, false)?.0)
}

/// The hub that the environment names.
pub(crate) fn api() -> std::result::Result<Api, ApiError> {
    let mut builder = ApiBuilder::from_env().with_retries(RETRIES);
    if let Ok(token) = std::env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    builder.build()
}

fn is_offline() -> bool {
    let set = std::env::var("HF_HUB_OFFLINE").unwrap_or_default().to_ascii_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&set.as_str())
}

/// A name that cannot lead out of a folder.
fn is_plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
}

/// The model's files in the cache, and the commit they are of.
fn snapshot(id: &str, revision: &str, weights: bool) -> Result<(PathBuf, String)> {
    let refuse = |argument: &str, got: &str, expected: &str| {
        Err(Error::argument("load", format!("model.{argument}"), got, expected))
    };
    if !id.split('/').all(is_plain) || id.split('/').count() > 2 {
        return refuse("id", id, "a hub id such as `organisation/name`");
    }
    if !revision.split('/').all(is_plain) {
        return refuse("revision", revision, "a commit, a tag or a branch");
    }
    let at = |revision: &str| Repo::with_revision(id.into(), RepoType::Model, revision.into());
    let place = Place::file(format!("{id}@{revision}"));
    let refuse = |expected: &str, got: String| Err(Error::input(place.clone(), expected, got));
    let failed = |what: &str, e: ApiError| {
        Error::input(place.clone(), format!("{what} from the hub"), super::one_line(e))
    };
    let cache = Cache::from_env();
    let cached =
        || cache.repo(at(revision)).get("config.json").map(|config| snapshot_of(&config)).transpose();
    if is_offline() {
        return match cached()? {
            Some(snapshot) => Ok(snapshot),
            None => refuse("the model in the hub's cache, as HF_HUB_OFFLINE is set", "nothing".into()),
        };
    }
    let api = api().map_err(|e| failed("an answer", e))?;
    let info = match (api.repo(at(revision)).info(), cached()?) {
        (Ok(info), _) => info,
        (Err(e), None) => return Err(failed("the list of files", e)),
        (Err(_), Some(snapshot)) => {
            tracing::warn!("{id}@{revision}: the hub cannot be reached, reading the cache");
            return Ok(snapshot);
        }
    };
    if !is_plain(&info.sha) {
        return refuse("a commit from the hub", super::one_line(info.sha));
    }
    // One commit for every file, whatever happens to the branch meanwhile.
    let hub = Hub { api, cache: &cache, repo: at(&info.sha), commit: Some(&info.sha), place: &place };
    let has = |name: &str| info.siblings.iter().any(|file| file.rfilename == name);
    if !has("config.json") {
        return refuse("a model with config.json", format!("{} files without", info.siblings.len()));
    }
    let safe = has(huggingface::WEIGHTS) || has(huggingface::INDEX);
    if weights && !safe && info.siblings.iter().any(|file| is_pickled(&file.rfilename)) {
        return refuse(huggingface::WEIGHTS, PICKLED.into());
    }
    for name in SMALL_FILES.into_iter().filter(|name| has(name)) {
        hub.fetch(name)?;
    }
    if weights && has(huggingface::WEIGHTS) {
        hub.fetch(huggingface::WEIGHTS)?;
    } else if weights && has(huggingface::INDEX) {
        for shard in huggingface::read_index(&hub.fetch(huggingface::INDEX)?)? {
            hub.fetch(&shard)?;
        }
    }
    let config = hub.fetch("config.json")?;
    // For the next time, when the hub may be out of reach.
    cache.repo(at(revision)).create_ref(&info.sha).map_err(Error::io(&config))?;
    snapshot_of(&config)
}

/// The folder of a snapshot's file; its name is the commit.
fn snapshot_of(file: &Path) -> Result<(PathBuf, String)> {
    let missing = || Error::argument("load", "cache", file.display(), "a file in a folder");
    let folder = file.parent().ok_or_else(missing)?;
    let commit = folder.file_name().ok_or_else(missing)?.to_string_lossy().into_owned();
    Ok((folder.to_path_buf(), commit))
}

/// A file of the data set `id`, from the cache where it is there; see [`load`] for the environment.
///
/// # Errors
/// The hub has no such file, cannot be reached, or sent something else than it announced.
pub fn dataset_file(id: &str, name: &str) -> Result<PathBuf> {
    let place = Place::file(id);
    let api = api().map_err(|e| Error::input(place.clone(), "an answer from the hub", super::one_line(e)))?;
    let repo = Repo::new(id.into(), RepoType::Dataset);
    Hub { api, cache: &Cache::from_env(), repo, commit: None, place: &place }.fetch(name)
}

/// The files of one model or data set.
struct Hub<'a> {
    api: Api,
    cache: &'a Cache,
    repo: Repo,
    /// The only one that files may be of.
    commit: Option<&'a str>,
    place: &'a Place,
}

impl Hub<'_> {
    /// A file in the cache, downloaded if need be. What came is used only if it is as long as the hub
    /// said and, where the hub states its SHA-256, has that.
    fn fetch(&self, name: &str) -> Result<PathBuf> {
        let (repo, cache) = (self.api.repo(self.repo.clone()), self.cache.repo(self.repo.clone()));
        if let Some(path) = cache.get(name) {
            return Ok(path);
        }
        let place = Place::file(format!("{}/{name}", self.place.path.display()));
        let failed = |e: ApiError| Error::input(place.clone(), "a file from the hub", super::one_line(e));
        let announced = self.api.metadata(&repo.url(name)).map_err(failed)?;
        let (etag, commit, size) = (announced.etag(), announced.commit_hash(), announced.size() as u64);
        if !is_plain(etag) || !is_plain(commit) || self.commit.is_some_and(|wanted| wanted != commit) {
            let expected =
                format!("a file of commit {}", self.commit.unwrap_or("and hash that are plain names"));
            return Err(Error::input(place, expected, super::one_line(format!("{etag} of {commit}"))));
        }
        let blob = cache.blob_path(etag);
        let part = blob.with_extension("part");
        // Only a part that is shorter than the whole can be continued.
        if fs::metadata(&part).is_ok_and(|file| file.len() >= size) {
            fs::remove_file(&part).map_err(Error::io(&part))?;
        }
        let path = repo.download(name).map_err(failed)?;
        let wrong = match fs::metadata(&path).map_err(Error::io(&path))?.len() {
            length if length != size => Some((format!("{size} bytes"), format!("{length}"))),
            _ => huggingface::other_content(&path, || {
                fs::File::open(&path).and_then(sha256).map_err(Error::io(&path))
            })?,
        };
        let Some((expected, got)) = wrong else { return Ok(path) };
        for file in [&path, &blob] {
            fs::remove_file(file).map_err(Error::io(file))?;
        }
        Err(Error::input(place, format!("{expected} from the hub"), format!("{got}; nothing of it is kept")))
    }
}
