//! Resumable state of a run: parameters, optimiser moments, and where it was, in one file. A decoder in flat memory
//! has a file of its own beside it; of those, the last two are kept.

use crate::error::Place;
use crate::files::{replace, safetensors_header, write_tensors};
use crate::model::parameters::Parameters;
use crate::train::optim::{AdamW, StateTensor};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use safetensors::{Dtype, View};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

const PARAMETER: &str = "parameter.";
const OPTIMISER: &str = "optimiser.";

/// Key of a state's metadata: the hash of the decoder's numbers.
const DECODER_SHA256: &str = "decoder_sha256";

/// A checkpoint on disk.
struct Checkpoint {
    tensors: BTreeMap<String, Tensor>,
    header: HashMap<String, String>,
    path: PathBuf,
    steps_done: usize,
    seconds: f64,
}

/// Where an interrupted run goes on.
pub struct Resumed {
    pub steps_done: usize,
    /// Time at work so far.
    pub seconds: f64,
    /// What is wrong with a newer checkpoint than the one that is used.
    pub damaged: Option<String>,
}

pub fn path(run: &Path) -> PathBuf {
    run.join("checkpoint").join("state.safetensors")
}

/// The state before, of runs whose decoder is in flat memory.
fn previous(run: &Path) -> PathBuf {
    path(run).with_file_name("previous.safetensors")
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
    let mut metadata = HashMap::from([
        ("steps_done".to_string(), steps_done.to_string()),
        ("seconds".to_string(), seconds.to_string()),
    ]);
    let path = path(run);
    if let Some(flat) = optimiser.flat() {
        let file = path.with_file_name(decoder(steps_done));
        let folder = path.parent().unwrap_or(run);
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        metadata.insert(DECODER_SHA256.into(), flat.lock().weights.save(&file)?);
        // Whenever this stops, at least one state is there with its decoder.
        if path.is_file() {
            replace(&previous(run), &path)?;
        }
    }
    write_tensors(&path, tensors, Some(metadata))?;
    if optimiser.flat().is_some() { tidy(run) } else { Ok(()) }
}

/// The name of a decoder's file.
fn decoder(steps_done: usize) -> String {
    format!("decoder-{steps_done}.safetensors")
}

/// Removes what no state names: what a kill left half written, and decoders of older states.
fn tidy(run: &Path) -> Result<()> {
    let states = [path(run), previous(run)];
    let mut kept: Vec<PathBuf> = states.to_vec();
    for state in states.iter().filter(|state| state.is_file()) {
        // A state that cannot be read is told where it is loaded.
        let Ok((_, header)) = safetensors_header(state) else { continue };
        let steps = header.metadata().as_ref().and_then(|said| said.get("steps_done")?.parse().ok());
        kept.extend(steps.map(|steps| state.with_file_name(decoder(steps))));
    }
    let folder = states[0].parent().unwrap_or(run);
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io(folder))?,
    };
    for entry in entries {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.is_file() && !kept.contains(&path) {
            fs::remove_file(&path).map_err(Error::io(path))?;
        }
    }
    Ok(())
}

/// Goes on from the run's checkpoint, if it has one; from the one before, if there is one and the last is damaged.
///
/// Errors: what is there is damaged, or of another model.
pub fn resume(run: &Path, parameters: &Parameters, optimiser: &mut AdamW) -> Result<Option<Resumed>> {
    let mut damaged = None;
    tidy(run)?;
    for path in [path(run), previous(run)] {
        let restored = Checkpoint::load(&path).and_then(|checkpoint| match checkpoint {
            None => Ok(None),
            Some(checkpoint) => {
                checkpoint.restore(parameters, optimiser)?;
                Ok(Some((checkpoint.steps_done, checkpoint.seconds)))
            }
        });
        match restored {
            Ok(None) => {}
            Ok(Some((steps_done, seconds))) => {
                let damaged = damaged.map(|e: Error| e.to_string());
                if damaged.is_some() {
                    // The next checkpoint would put it in the place of the good one.
                    fs::remove_file(self::path(run)).map_err(Error::io(self::path(run)))?;
                    tidy(run)?;
                }
                return Ok(Some(Resumed { steps_done, seconds, damaged }));
            }
            // The first fault is what a user wants to know.
            Err(e) => damaged = damaged.or(Some(e)),
        }
    }
    damaged.map_or(Ok(None), Err)
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
    /// If there is one. Errors: a file that is damaged.
    fn load(path: &Path) -> Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(path)(e)),
        };
        let damaged =
            |what: String| Error::input(Place::file(path), "a checkpoint (delete it to start over)", what);
        let (_, header) =
            safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let number = |key: &str| -> Result<f64> {
            let text = header.metadata().as_ref().and_then(|m| m.get(key)?.parse().ok());
            text.ok_or_else(|| damaged(format!("no {key}")))
        };
        let (steps_done, seconds) = (number("steps_done")? as usize, number("seconds")?);
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|e| damaged(e.to_string()))?;
        let header = header.metadata().clone().unwrap_or_default();
        let tensors = tensors.into_iter().collect();
        Ok(Some(Self { tensors, header, path: path.into(), steps_done, seconds }))
    }

    /// Writes the stored values into the variables and the optimiser.
    fn restore(&self, parameters: &Parameters, optimiser: &mut AdamW) -> Result<()> {
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
        self.restore_decoder(optimiser)?;
        optimiser.restore(&optimiser_state)
    }

    fn restore_decoder(&self, optimiser: &AdamW) -> Result<()> {
        let Some(flat) = optimiser.flat() else { return Ok(()) };
        let path = self.path.with_file_name(decoder(self.steps_done));
        let got = flat.lock().weights.restore(&path)?;
        match self.header.get(DECODER_SHA256) {
            Some(expected) if *expected == got => Ok(()),
            expected => {
                let expected = expected.map_or("a hash", String::as_str);
                Err(Error::input(Place::file(path), format!("numbers of SHA-256 {expected}"), got))
            }
        }
    }
}
