//! The Hugging Face hub: models and data sets by their id, downloaded once into its cache, and models
//! published there. It behaves as `huggingface_hub` does, and trusts nobody's answers.

mod address;
mod cache;
mod client;
mod download;
pub mod environment;
pub mod push;
mod refusal;
mod storage;

use super::{Loaded, PICKLED, huggingface, is_pickled};
use crate::error::{Error, Place, Result};
use crate::text::tokenizer::TextTokenizer;
use address::quoted;
use cache::Folder;
use client::Client;
use download::{Wanted, fetch};
use environment::Environment;
use refusal::Failure;
use serde::Deserialize;
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
/// Bytes of a file that is read into memory as it is.
const LARGEST_SMALL_FILE: u64 = 256 << 20;
/// Bytes of a file of a data set.
const LARGEST_DATA_FILE: u64 = 4 << 30;
/// Bytes of a file of weights: what `huggingface_hub` downloads by plain HTTP.
const LARGEST_WEIGHTS: u64 = 50_000_000_000;

/// Loads `id` at `revision` (a commit, tag or branch), from the cache alone when the hub cannot
/// be reached or `HF_HUB_OFFLINE` is set. [`Environment`] says where hub and cache are and whose token opens
/// gated models. The description names the commit.
///
/// # Errors
/// The hub has no such model or revision, cannot be reached, or sent something else than it
/// announced; or the folder is not a decoder.
pub fn load(id: &str, revision: &str) -> Result<Loaded> {
    read(id, revision, huggingface::load)
}

/// [`load`], but the weights stay in the files of the cache.
///
/// # Errors
/// As [`load`].
pub fn open(id: &str, revision: &str) -> Result<Loaded> {
    read(id, revision, huggingface::open)
}

/// [`huggingface::draw`] of its configuration and tokenizer; weights are not downloaded.
///
/// # Errors
/// As [`load`].
pub fn draw(id: &str, revision: &str) -> Result<Loaded> {
    huggingface::draw(&snapshot(id, revision, false)?.0, 0)
}

fn read(id: &str, revision: &str, read: fn(&Path) -> Result<Loaded>) -> Result<Loaded> {
    let (folder, commit) = snapshot(id, revision, true)?;
    let mut loaded = read(&folder)?;
    let commit = if commit == revision { String::new() } else { format!(" (commit {commit})") };
    loaded.description = format!("{id}@{revision}{commit}: {}", super::describe(&loaded.config));
    Ok(loaded)
}

/// The tokenizer alone; weights are not downloaded.
pub fn load_tokenizer(id: &str, revision: &str) -> Result<TextTokenizer> {
    huggingface::load_tokenizer(&snapshot(id, revision, false)?.0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    DataSet,
}

impl Kind {
    /// In the cache, and in addresses of the hub's programming interface.
    fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::DataSet => "datasets",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::DataSet => "data set",
        }
    }
}

/// A repository of a hub. Its id can be part of an address and of a path.
#[derive(Debug, Clone, Copy)]
pub struct Repository<'a> {
    endpoint: &'a str,
    kind: Kind,
    id: &'a str,
}

impl Repository<'_> {
    /// Where people look at it.
    fn page(&self) -> String {
        format!("{}/{}", self.endpoint, self.path())
    }

    /// Models stand in the root of a hub's addresses.
    fn path(&self) -> String {
        match self.kind {
            Kind::Model => self.id.into(),
            Kind::DataSet => format!("datasets/{}", self.id),
        }
    }

    fn file(&self, revision: &str, name: &str) -> String {
        format!("{}/resolve/{}/{}", self.path(), quoted(revision, false), quoted(name, true))
    }

    fn api(&self) -> String {
        format!("api/{}/{}", self.kind.plural(), self.id)
    }
}

/// A name that cannot lead out of a folder.
fn is_plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=255).contains(&name.len()) && !name.starts_with('.') && name.chars().all(allowed)
}

/// Two dashes divide organisation and name in the cache.
fn is_id(id: &str) -> bool {
    id.split('/').all(is_plain) && id.split('/').count() <= 2 && !id.contains("--") && !id.contains("..")
}

fn is_revision(revision: &str) -> bool {
    revision.split('/').all(is_plain)
}

/// A model as the hub describes it.
#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// The model's files in the cache, and the commit they are of.
fn snapshot(id: &str, revision: &str, weights: bool) -> Result<(PathBuf, String)> {
    let refuse = |argument: &str, got: &str, expected: &str| {
        Err(Error::argument("load", format!("model.{argument}"), got, expected))
    };
    if !is_id(id) {
        return refuse("id", id, "a hub id such as `organisation/name`");
    }
    if !is_revision(revision) {
        return refuse("revision", revision, "a commit, a tag or a branch");
    }
    let environment = Environment::read()?;
    let place = Place::file(format!("{id}@{revision}"));
    let refuse = |expected: &str, got: String| Err(Error::input(place.clone(), expected, got));
    let folder = Folder::new(&environment.cache, Kind::Model, id);
    let cached = folder.commit(revision).and_then(|commit| folder.file(&commit, "config.json"));
    let cached = cached.and_then(|config| snapshot_of(&config));
    if environment.offline {
        return match cached {
            Some(snapshot) => Ok(snapshot),
            None => refuse("the model in the hub's cache, as HF_HUB_OFFLINE is set", "nothing".into()),
        };
    }
    let client = Client::new(&environment)?;
    let repository = Repository { endpoint: &environment.endpoint, kind: Kind::Model, id };
    let list = format!("{}/revision/{}", repository.api(), quoted(revision, false));
    let list = client.get(&list, cached.is_none()).and_then(|list| {
        let other = |e| Failure::Broken(format!("another answer ({})", crate::visible::one_line(e)));
        serde_json::from_value::<Info>(list).map_err(other)
    });
    let info = match (cached, list) {
        (_, Ok(info)) => info,
        (None, Err(e)) => return Err(e.at(&place, "the list of files", &repository)),
        (Some(snapshot), Err(e)) => {
            tracing::warn!("{}; reading the cache", e.at(&place, "the list of files", &repository));
            return Ok(snapshot);
        }
    };
    if !is_plain(&info.sha) {
        return refuse("a commit from the hub", crate::visible::one_line(info.sha));
    }
    let has = |name: &str| info.siblings.iter().any(|file| file.rfilename == name);
    if !has("config.json") {
        return refuse("a model with config.json", format!("{} files without", info.siblings.len()));
    }
    let safe = has(huggingface::WEIGHTS) || has(huggingface::INDEX);
    if weights && !safe && info.siblings.iter().any(|file| is_pickled(&file.rfilename)) {
        return refuse(huggingface::WEIGHTS, PICKLED.into());
    }
    // One commit for every file, whatever happens to the branch meanwhile.
    let get = |name: &str, most: u64| match folder.file(&info.sha, name) {
        Some(file) => Ok(file),
        None => {
            let wanted = Wanted { revision: &info.sha, name, commit: Some(&info.sha), most };
            fetch(&client, &folder, &repository, &wanted, &place).map(|(file, _)| file)
        }
    };
    for name in SMALL_FILES.into_iter().filter(|name| has(name)) {
        get(name, LARGEST_SMALL_FILE)?;
    }
    if weights && has(huggingface::WEIGHTS) {
        get(huggingface::WEIGHTS, LARGEST_WEIGHTS)?;
    } else if weights && has(huggingface::INDEX) {
        for shard in huggingface::read_index(&get(huggingface::INDEX, LARGEST_SMALL_FILE)?)? {
            get(&shard, LARGEST_WEIGHTS)?;
        }
    }
    let config = get("config.json", LARGEST_SMALL_FILE)?;
    // For the next time, when the hub may be out of reach.
    folder.set_commit(revision, &info.sha)?;
    snapshot_of(&config).map_or_else(|| refuse("a file in a folder", config.display().to_string()), Ok)
}

/// The folder of a snapshot's file; its name is the commit.
fn snapshot_of(file: &Path) -> Option<(PathBuf, String)> {
    let folder = file.parent()?;
    Some((folder.to_path_buf(), folder.file_name()?.to_string_lossy().into_owned()))
}

/// A file of the data set `id`, from the cache where it is there; see [`load`] for the environment.
///
/// # Errors
/// The hub has no such file, cannot be reached, or sent something else than it announced.
pub fn dataset_file(id: &str, name: &str) -> Result<PathBuf> {
    const REVISION: &str = "main";
    let place = Place::file(id);
    if !is_id(id) {
        return Err(Error::input(
            place,
            "a hub id such as `organisation/name`",
            crate::visible::one_line(id),
        ));
    }
    let environment = Environment::read()?;
    let folder = Folder::new(&environment.cache, Kind::DataSet, id);
    if let Some(file) = folder.commit(REVISION).and_then(|commit| folder.file(&commit, name)) {
        return Ok(file);
    }
    if environment.offline {
        let expected = format!("{name} in the hub's cache, as HF_HUB_OFFLINE is set");
        return Err(Error::input(place, expected, "nothing"));
    }
    let client = Client::new(&environment)?;
    let repository = Repository { endpoint: &environment.endpoint, kind: Kind::DataSet, id };
    let wanted = Wanted { revision: REVISION, name, commit: None, most: LARGEST_DATA_FILE };
    let (file, commit) = fetch(&client, &folder, &repository, &wanted, &place)?;
    folder.set_commit(REVISION, &commit)?;
    Ok(file)
}
