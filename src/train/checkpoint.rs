//! Resumable state of a run in one file: parameters, optimiser moments, and where it was.

use crate::error::Place;
use crate::files::write_tensors;
use crate::model::parameters::Parameters;
use crate::train::optim::{AdamW, StateTensor};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use safetensors::{Dtype, View};
use std::borrow::Cow;
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
    let mut tensors: BTreeMap<String, Stored<'_>> = BTreeMap::new();
    let parameters = parameters.tensors().into_iter();
    tensors.extend(parameters.map(|(k, v)| (format!("{PARAMETER}{k}"), Stored::Parameter(v))));
    let state = optimiser.state().into_iter();
    tensors.extend(state.map(|(k, v)| (format!("{OPTIMISER}{k}"), Stored::Optimiser(v))));
    let metadata = HashMap::from([
        ("steps_done".to_string(), steps_done.to_string()),
        ("seconds".to_string(), seconds.to_string()),
    ]);
    write_tensors(&path(run), tensors, Some(metadata))
}

/// What a checkpoint is made of.
enum Stored<'a> {
    Parameter(Tensor),
    Optimiser(StateTensor<'a>),
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Self::Parameter(tensor) => View::dtype(&tensor),
            Self::Optimiser(state) => state.dtype(),
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Parameter(tensor) => tensor.dims(),
            Self::Optimiser(state) => state.shape(),
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Parameter(tensor) => Cow::Owned(View::data(&tensor).into_owned()),
            Self::Optimiser(state) => state.data(),
        }
    }

    fn data_len(&self) -> usize {
        match self {
            Self::Parameter(tensor) => View::data_len(&tensor),
            Self::Optimiser(state) => state.data_len(),
        }
    }
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
            var.set(&stored.to_device(var.device())?)?;
        }
        let optimiser_state = self
            .tensors
            .iter()
            .filter_map(|(k, v)| Some((k.strip_prefix(OPTIMISER)?.to_string(), v.clone())))
            .collect();
        optimiser.restore(&optimiser_state)
    }
}
