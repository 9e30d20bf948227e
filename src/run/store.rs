//! Content-addressed run folders, `<root>/<id>/`.
//!
//! | file | written | what |
//! |---|---|---|
//! | `recipe.toml` | at the start | the resolved recipe |
//! | `checkpoint/` | while running | whatever resumes it; removed at the end |
//! | `metrics.jsonl` | while running | a line a step |
//! | `records.jsonl` | at the end | a line a test pair |
//! | `manifest.json` | last | a run is finished exactly when it exists |
//! | `lock` | while running | held by the process that trains |

use crate::config::Recipe;
use crate::error::{Error, Place, Result};
use crate::files::{sha256, sha256_file, write_atomic};
use crate::run::manifest::{Checksums, Code, Machine, Manifest, Outcome};
use crate::run::records::{self, Record};
use serde_json::Value;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Everything that decides a run's numbers, as far as the machine does not.
#[derive(Debug, Clone, PartialEq)]
pub struct RunKey {
    pub recipe: Recipe,
    /// Fingerprints of the data and of the base model.
    pub data: String,
    pub model: String,
    /// The program's arithmetic, [`NUMERICS`](crate::run::numerics::NUMERICS).
    pub numerics: u32,
}

impl RunKey {
    /// The first 16 hexadecimal digits of the SHA-256 over the key as canonical JSON: object
    /// keys sorted, no white space, shortest round-trip numbers. Paths of the base model and the data
    /// are left out: their fingerprints stand for what the files hold, wherever they lie.
    pub fn id(&self) -> String {
        let recipe = serde_json::to_value(&self.recipe).expect("a recipe is plain data");
        run_id(&recipe, &self.data, &self.model, self.numerics)
    }
}

/// Keys of a recipe that say where something lies.
const PATHS: [(&str, &str); 2] = [("model", "path"), ("data", "folder")];

/// [`RunKey::id`] of a recipe as JSON, of whatever version.
pub fn run_id(recipe: &Value, data: &str, model: &str, numerics: u32) -> String {
    let mut recipe = recipe.clone();
    for (part, path) in PATHS {
        if let Some(part) = recipe.get_mut(part).and_then(Value::as_object_mut) {
            part.shift_remove(path);
        }
    }
    let key = serde_json::json!({ "data": data, "model": model, "numerics": numerics, "recipe": recipe });
    sha256(sorted(key).to_string().as_bytes())[..16].to_string()
}

/// The same JSON with the keys of every object in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// A folder of runs.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// What [`Store::begin`] found.
#[derive(Debug)]
pub enum Begin {
    /// Nothing to train.
    Finished(Box<Manifest>),
    /// This process, and no other, may train the run.
    Train(Box<Claim>),
}

/// The right to train one run; given up when dropped, or when the process dies.
#[derive(Debug)]
pub struct Claim {
    key: RunKey,
    folder: PathBuf,
    /// The operating system's lock lives as long as this handle.
    _lock: File,
}

impl Claim {
    /// The run's id.
    pub fn run(&self) -> String {
        self.key.id()
    }

    /// Where the run's files belong.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.folder.join("checkpoint")
    }

    pub fn metrics(&self) -> PathBuf {
        self.folder.join("metrics.jsonl")
    }

    /// Makes a claimed run a finished one: writes the records, then the manifest, then removes
    /// the checkpoint. `metrics.jsonl` must be there, complete.
    ///
    /// Errors: an invalid record, a final metric that is not finite, counts that disagree.
    pub fn finish(self, records: &[Record], machine: Machine, outcome: Outcome) -> Result<Manifest> {
        const OP: &str = "finish";
        if let Some((name, value)) = outcome.metrics.iter().find(|(_, v)| !v.is_finite()) {
            return Err(Error::argument(OP, format!("metrics.{name}"), value, "finite"));
        }
        if records.len() != outcome.test_pairs {
            return Err(Error::argument(
                OP,
                "test_pairs",
                outcome.test_pairs,
                format!("{} records", records.len()),
            ));
        }
        let Claim { key, folder, _lock } = self;
        let path = folder.join("records.jsonl");
        records::write(&path, records)?;
        let metrics = folder.join("metrics.jsonl");
        File::open(&metrics).and_then(|f| f.sync_all()).map_err(Error::io(&metrics))?;
        let sha256 = Checksums { records: sha256_file(&path)?, metrics: sha256_file(&metrics)? };
        let (run, code) = (key.id(), Code::current());
        let RunKey { recipe, data, model, numerics } = key;
        let manifest = Manifest { run, recipe, data, model, numerics, code, machine, outcome, sha256 };
        write_atomic(&folder.join("manifest.json"), &manifest.to_json())?;
        let checkpoint = folder.join("checkpoint");
        match fs::remove_dir_all(&checkpoint) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(checkpoint)(e)),
            _ => Ok(manifest),
        }
    }
}

impl Store {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn folder(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// The manifest of a finished run, `None` if there is no such run or it has not finished.
    ///
    /// Errors: the run's files are damaged: a checksum, the recipe or the id does not match.
    pub fn finished(&self, id: &str) -> Result<Option<Manifest>> {
        let folder = self.folder(id);
        let path = folder.join("manifest.json");
        if !path.try_exists().map_err(Error::io(&path))? {
            return Ok(None);
        }
        let manifest = Manifest::read(&path)?;
        let key = RunKey {
            recipe: manifest.recipe.clone(),
            data: manifest.data.clone(),
            model: manifest.model.clone(),
            numerics: manifest.numerics,
        };
        for (field, got) in [("run", manifest.run.clone()), ("recipe", key.id())] {
            if got != id {
                let place = Place::file(&path).field(field);
                return Err(Error::input(
                    place,
                    format!("what run {id} was made from"),
                    format!("run {got}"),
                ));
            }
        }
        let recipe = folder.join("recipe.toml");
        if Recipe::read(&recipe)? != manifest.recipe {
            return Err(Error::input(Place::file(recipe), "the manifest's recipe", "another"));
        }
        for (name, expected) in
            [("records.jsonl", &manifest.sha256.records), ("metrics.jsonl", &manifest.sha256.metrics)]
        {
            let path = folder.join(name);
            let got = sha256_file(&path)?;
            if got != *expected {
                let expected = format!("sha256 {expected} as in its manifest");
                return Err(Error::input(
                    Place::file(path),
                    expected,
                    format!("{got} (delete the folder to retrain)"),
                ));
            }
        }
        Ok(Some(manifest))
    }

    /// The records of a finished run, checked against its manifest.
    ///
    /// Errors: the run is not finished, or its files are damaged.
    pub fn records(&self, id: &str) -> Result<Vec<Record>> {
        let folder = self.folder(id);
        if self.finished(id)?.is_none() {
            return Err(Error::input(Place::file(folder), "a finished run", "no manifest.json"));
        }
        records::read(&folder.join("records.jsonl"))
    }

    /// Claims a run for training unless it is finished already.
    ///
    /// Errors: another process is training it; a finished run is damaged.
    pub fn begin(&self, key: &RunKey) -> Result<Begin> {
        let id = key.id();
        let folder = self.folder(&id);
        // Looked up without the lock, so that readers never wait for each other; and again behind
        // it, so that a run that finished in between is not trained again.
        if let Some(manifest) = self.finished(&id)? {
            return Ok(Begin::Finished(Box::new(manifest)));
        }
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let lock = lock(&folder.join("lock"))?;
        if let Some(manifest) = self.finished(&id)? {
            return Ok(Begin::Finished(Box::new(manifest)));
        }
        write_atomic(&folder.join("recipe.toml"), recipe_text(&key.recipe)?.as_bytes())?;
        Ok(Begin::Train(Box::new(Claim { key: key.clone(), folder, _lock: lock })))
    }
}

/// The bytes of `recipe.toml`. `recipe` may be a [`Recipe`], or JSON without nulls.
///
/// Errors: a number that TOML cannot hold.
pub fn recipe_text(recipe: &impl serde::Serialize) -> Result<String> {
    toml::to_string(recipe)
        .map_err(|e| Error::argument("recipe.toml", "recipe", e, "values that TOML can hold"))
}

/// An exclusive lock that the operating system frees with the process, so none goes stale. The
/// file names the holder for whoever is turned away.
fn lock(path: &Path) -> Result<File> {
    let mut options = File::options();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).open(path).map_err(Error::io(path))?;
    match file.try_lock() {
        Ok(()) => {
            let pid = std::process::id().to_string();
            file.set_len(0).and_then(|()| file.write_all(pid.as_bytes())).map_err(Error::io(path))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            Err(Error::input(
                Place::file(path),
                "a run that nobody trains",
                format!("process {holder} at it"),
            ))
        }
        Err(TryLockError::Error(e)) => Err(Error::io(path)(e)),
    }
}
