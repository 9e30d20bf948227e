//! The manifest of a run. A run is finished exactly if it has one.

use crate::config::Recipe;
use crate::error::{Error, Place, Result};
use candle_core::Device;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// `manifest.json` of a run folder. Unknown keys are refused.
///
/// `R` is the type of the recipe: plain JSON if recipes of other versions must stay readable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest<R = Recipe> {
    /// [`crate::run::store::RunKey::id`] of `recipe`, `data`, `model` and `numerics`.
    pub run: String,
    pub recipe: R,
    /// Fingerprints of the data and of the base model.
    pub data: String,
    pub model: String,
    /// The program's arithmetic, [`NUMERICS`](crate::run::numerics::NUMERICS).
    pub numerics: u32,
    pub code: Code,
    pub machine: Machine,
    pub outcome: Outcome,
    pub sha256: Checksums,
}

/// The program that ran. Recorded, but no part of a run's identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// SHA-256 over the sources; see `build.rs`.
    pub fingerprint: String,
    pub crate_version: String,
    /// Absent when built without git.
    pub git_commit: Option<String>,
    /// Whether the sources differed from that commit.
    pub git_dirty: Option<bool>,
}

/// Where it ran. Recorded, but no part of a run's identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    pub device: String,
    pub threads: usize,
}

/// The result of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// When the last part of the work began. Parts before an interruption are earlier.
    #[serde(with = "rfc3339")]
    pub started: Timestamp,
    #[serde(with = "rfc3339")]
    pub finished: Timestamp,
    /// Working time: the sum of all parts if the run was interrupted.
    pub wall_seconds: f64,
    /// Highest resident memory. Absent if the system does not say it.
    pub peak_memory_mib: Option<f64>,
    pub steps: usize,
    /// Final metrics by name.
    pub metrics: BTreeMap<String, f64>,
    pub train_pairs: usize,
    pub test_pairs: usize,
    /// Pairs that lost tokens to the recipe's limits.
    pub truncated: usize,
}

/// SHA-256 of the run's files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checksums {
    pub records: String,
    pub metrics: String,
}

mod rfc3339 {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(time)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Timestamp, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl Code {
    /// The program that is running.
    pub fn current() -> Self {
        let given = |text: &'static str| (!text.is_empty()).then_some(text);
        Self {
            fingerprint: env!("LPC_CODE").into(),
            crate_version: env!("CARGO_PKG_VERSION").into(),
            git_commit: given(env!("LPC_GIT_COMMIT")).map(Into::into),
            git_dirty: given(env!("LPC_GIT_DIRTY")).map(|d| d == "true"),
        }
    }
}

impl Machine {
    /// The device, by the system's name for it, and the number of rayon's threads.
    pub fn on(device: &Device) -> Self {
        let device = gpu_name(device).unwrap_or_else(cpu_name);
        Self { device, threads: rayon::current_num_threads() }
    }
}

fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    model.map_or(format!("{} CPU", std::env::consts::ARCH), |(_, name)| name.trim().into())
}

#[cfg(feature = "cuda")]
fn gpu_name(device: &Device) -> Option<String> {
    let Device::Cuda(gpu) = device else { return None };
    Some(gpu.cuda_stream().context().name().unwrap_or_else(|_| "a GPU without a name".into()))
}

#[cfg(not(feature = "cuda"))]
fn gpu_name(_: &Device) -> Option<String> {
    None
}

/// Highest resident memory of this process so far (VmHWM), in MiB; `None` off Linux.
pub fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

impl Manifest {
    /// Errors: the file cannot be read, or is not a manifest.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        serde_json::from_str(&text).map_err(|e| {
            Error::input(
                Place::file(path).line(e.line()),
                "a run's manifest (of an older program: train the run again)",
                crate::files::json_fault(&e),
            )
        })
    }
}

impl<R: Serialize> Manifest<R> {
    /// The bytes of `manifest.json`.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a manifest is plain data");
        json.push(b'\n');
        json
    }
}
