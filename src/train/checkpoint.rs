//! Resumable state of a run in one file: parameters, optimiser moments, and where it was.

use crate::error::Place;
use crate::model::parameters::Parameters;
use crate::report::files::write_tensors;
use crate::train::optim::AdamW;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

const PARAMETER: &str = "parameter.";
const OPTIMISER: &str = "optimiser.";

/// A checkpoint on disk.
pub struct Checkpoint {
    tensors: BTreeMap<String, Tensor>,
    pub steps_done: usize,
    /// Time at work so far.
    pub seconds: f64,
}

pub fn path(run: &Path) -> PathBuf {
    run.join("checkpoint").join("state.safetensors")
}

/// What an error can say about a run's checkpoint. A step that fails never replaces it.
pub fn describe(run: &Path) -> String {
    let path = path(run);
    if path.is_file() {
        format!("the last checkpoint is {}", path.display())
    } else {
        "no checkpoint yet".into()
    }
}

/// Writes atomically: an interrupted or failed write leaves the previous checkpoint.
pub fn save(
    run: &Path,
    parameters: &Parameters,
    optimiser: &AdamW,
    steps_done: usize,
    seconds: f64,
) -> Result<()> {
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    tensors.extend(parameters.tensors().into_iter().map(|(k, v)| (format!("{PARAMETER}{k}"), v)));
    tensors.extend(optimiser.state()?.into_iter().map(|(k, v)| (format!("{OPTIMISER}{k}"), v)));
    let metadata = HashMap::from([
        ("steps_done".to_string(), steps_done.to_string()),
        ("seconds".to_string(), seconds.to_string()),
    ]);
    write_tensors(&path(run), tensors, Some(metadata))
}

impl Checkpoint {
    /// The run's checkpoint, if it has one. Errors: a file that is damaged.
    pub fn load(run: &Path) -> Result<Option<Self>> {
        let path = path(run);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&path)(e)),
        };
        let damaged =
            |what: String| Error::input(Place::file(&path), "a checkpoint (delete it to start over)", what);
        let (_, header) =
            safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let number = |key: &str| -> Result<f64> {
            let text = header.metadata().as_ref().and_then(|m| m.get(key)?.parse().ok());
            text.ok_or_else(|| damaged(format!("no {key}")))
        };
        let (steps_done, seconds) = (number("steps_done")? as usize, number("seconds")?);
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|e| damaged(e.to_string()))?;
        Ok(Some(Self { tensors: tensors.into_iter().collect(), steps_done, seconds }))
    }

    /// Writes the stored values into the variables and the optimiser.
    pub fn restore(&self, parameters: &Parameters, optimiser: &mut AdamW) -> Result<()> {
        for (name, var) in parameters.iter() {
            let stored = self
                .tensors
                .get(&format!("{PARAMETER}{name}"))
                .ok_or_else(|| Error::argument("checkpoint", name, "nothing", "a parameter"))?;
            var.set(stored)?;
        }
        let optimiser_state = self
            .tensors
            .iter()
            .filter_map(|(k, v)| Some((k.strip_prefix(OPTIMISER)?.to_string(), v.clone())))
            .collect();
        optimiser.restore(&optimiser_state)
    }
}
