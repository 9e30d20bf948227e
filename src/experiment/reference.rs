//! Reference log-probabilities on disk: computed once for a model and a data set.

use crate::config::Training;
use crate::error::Place;
use crate::experiment::dataset::PairData;
use crate::experiment::prepared::Where;
use crate::experiment::trainable::reference;
use crate::files::{sha256, write_atomic};
use crate::model::load::Loaded;
use crate::progress::Progress;
use crate::run::numerics::NUMERICS;
use crate::train::reference::{ReferenceLogps, reference_logps};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// π_ref's answers on every pair.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    pub train: Vec<ReferenceLogps>,
    pub test: Vec<ReferenceLogps>,
}

/// The cache file: whose answers these are, and a checksum over them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cached {
    model: String,
    data: String,
    numerics: u32,
    sha256: String,
    logps: Reference,
}

impl Reference {
    /// From `runs/reference/`, or computed with the base model and kept there.
    ///
    /// Errors: a cache file that is damaged or belongs to something else.
    pub fn load(
        base: &Loaded,
        data: &PairData,
        training: &Training,
        place: Where<'_>,
        progress: &Progress,
    ) -> Result<Self> {
        let model = &base.fingerprint;
        let key =
            sha256(format!("{model} {} {NUMERICS} {}", data.fingerprint, arithmetic(training)).as_bytes());
        let folder = place.runs.join("reference");
        let path = folder.join(format!("{}.json", &key[..16]));
        let file = || Place::file(&path);
        if path.is_file() {
            let text = std::fs::read(&path).map_err(Error::io(&path))?;
            let expected = "reference log-probabilities (delete the file to compute them anew)";
            let cached: Cached =
                serde_json::from_slice(&text).map_err(|e| Error::input(file(), expected, e))?;
            if (&cached.model, &cached.data, cached.numerics) != (model, &data.fingerprint, NUMERICS) {
                return Err(Error::input(file(), expected, "those of another model, data set or arithmetic"));
            }
            if cached.sha256 != checksum(&cached.logps) {
                return Err(Error::input(file(), expected, "numbers that do not match their checksum"));
            }
            return Ok(cached.logps);
        }
        let task = progress.task("reference log-probabilities", data.train.len() + data.test.len());
        let policy = reference(base, training, data, place.device)?;
        let logps = Self {
            train: reference_logps(policy.as_ref(), &data.train, training, &task)?,
            test: reference_logps(policy.as_ref(), &data.test, training, &task)?,
        };
        let cached = Cached {
            model: model.clone(),
            data: data.fingerprint.clone(),
            numerics: NUMERICS,
            sha256: checksum(&logps),
            logps,
        };
        let text = serde_json::to_vec(&cached).map_err(|e| Error::io(&path)(e.into()))?;
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        write_atomic(&path, &text)?;
        Ok(cached.logps)
    }
}

/// What the numbers were calculated with.
fn arithmetic(training: &Training) -> String {
    let kept = if training.memory.is_tensors() { "" } else { " in flat memory" };
    format!("{:?}{kept}", training.dtype)
}

fn checksum(logps: &Reference) -> String {
    let mut bytes = vec![];
    for r in logps.train.iter().chain(&logps.test) {
        bytes.extend(r.chosen.to_le_bytes());
        bytes.extend(r.rejected.to_le_bytes());
    }
    bytes.extend((logps.train.len() as u64).to_le_bytes());
    sha256(&bytes)
}
