//! Where a recipe's pairs come from.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DataSource {
    /// The built-in preference world.
    World(World),
    /// `train` and `test` in a folder, as `.jsonl`, `.jsonl.gz` or `.parquet`; `limit` bounds both.
    /// Training labels are flipped as in [`World`].
    Jsonl {
        folder: PathBuf,
        limit: Option<usize>,
        empty_completion: EmptyCompletion,
        #[serde(default, skip_serializing_if = "is_default")]
        flip_rate: f64,
        #[serde(default, skip_serializing_if = "is_default")]
        flip_marked: bool,
        #[serde(default, skip_serializing_if = "is_default")]
        identical_completions: IdenticalCompletions,
    },
}

/// Are pairs trained on whose completions have the same tokens, as truncated? They have no preference:
/// their loss is a constant, but they take a place in their batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdenticalCompletions {
    #[default]
    Train,
    LeaveOut,
}

/// What to do with a pair of which a completion is empty: models do sometimes say nothing, and
/// UltraFeedback has such answers, also as the chosen one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmptyCompletion {
    Refuse,
    LeaveOut,
}

/// Settings of the built-in preference world; see `data::world`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// Seed of the world itself (prompts, completions, labels): not the run's seed.
    pub seed: u64,
    pub train: usize,
    pub test: usize,
    /// Bradley–Terry sharpness: a label is kept with probability σ(sharpness · Δutility).
    pub sharpness: f64,
    /// Share of training labels flipped (the paper's §4.3), and whether `[FLIP]` marks them.
    pub flip_rate: f64,
    pub flip_marked: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub taste: Taste,
    #[serde(default, skip_serializing_if = "is_default")]
    pub cues: Cues,
}

/// Whose preferences the world has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "train", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Taste {
    /// Every source weighs the factors its own way, and cues turn weights around.
    #[default]
    BySource,
    /// All reward politeness and nothing else: one preference, no mixture.
    One,
    /// Every pair has an annotator, drawn independently of its prompt, with one of the sources' tastes: a
    /// mixture of preferences that no prompt gives away.
    ByAnnotator,
}

/// What prompts say of the taste behind a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "train", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Cues {
    #[default]
    Shown,
    /// Every pair has the prompt of another, drawn independently: it says nothing.
    Exchanged,
}

/// Keys that came later are not spelt where they say what was always so: recipes keep their hashes.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
