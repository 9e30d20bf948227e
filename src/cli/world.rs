//! `lpc data world`: the built-in world as files, for lpc and for other trainers.

use super::output::print_line;
use super::values;
use crate::config::{Cues, Taste, World};
use crate::data::world::{WorldPair, generate};
use crate::error::{Error, Result};
use crate::files::{write_atomic, write_json};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct WorldArguments {
    /// Folder for train.jsonl, test.jsonl and world.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Whose preferences the labels follow: those of the prompt's source, one taste for all, or those of an
    /// annotator whom the prompt does not name
    #[arg(long, value_enum, default_value_t)]
    taste: Taste,
    /// Whether every pair has its own prompt, or that of another pair
    #[arg(long, value_enum, default_value_t)]
    cues: Cues,
    /// Seed of prompts, completions and labels
    #[arg(long, default_value_t = World::default().seed)]
    seed: u64,
    /// Number of training pairs
    #[arg(long, value_name = "N", default_value_t = World::default().train, value_parser = values::at_least_1)]
    train: usize,
    /// Number of test pairs, whose prompts are not in training
    #[arg(long, value_name = "N", default_value_t = World::default().test, value_parser = values::at_least_1)]
    test: usize,
    /// How sure a label is: it prefers the better completion with probability σ(sharpness · Δutility)
    #[arg(long, value_name = "S", default_value_t = World::default().sharpness)]
    sharpness: f64,
    /// Share of the training labels that are flipped
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    flip_rate: f64,
    /// Mark the prompts of flipped labels with [FLIP]
    #[arg(long)]
    flip_marked: bool,
}

pub(super) fn run(arguments: &WorldArguments) -> Result<()> {
    let WorldArguments { out, taste, cues, seed, train, test, sharpness, flip_rate, flip_marked } = arguments;
    let world = World {
        seed: *seed,
        train: *train,
        test: *test,
        sharpness: *sharpness,
        flip_rate: *flip_rate,
        flip_marked: *flip_marked,
        taste: *taste,
        cues: *cues,
    };
    let data = generate(&world)?;
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    for (name, pairs) in [("train.jsonl", &data.train), ("test.jsonl", &data.test)] {
        let lines: String = pairs.iter().map(|pair| row(pair) + "\n").collect();
        write_atomic(&out.join(name), lines.as_bytes())?;
    }
    write_json(&out.join("world.json"), &serde_json::to_value(&world).expect("settings are plain data"))?;
    let right = data.test.iter().map(|p| p.truth.bayes).sum::<f64>() / data.test.len() as f64;
    print_line(format_args!(
        "{}: {} training and {} test pairs; a judge who knows the truth agrees with {:.1} % of the test labels, on average",
        out.display(),
        data.train.len(),
        data.test.len(),
        100.0 * right
    ))
}

/// Texts as every trainer reads them, and the truth beside them.
fn row(WorldPair { pair, truth }: &WorldPair) -> String {
    json!({
        "id": pair.id,
        "source": pair.source,
        "prompt": pair.prompt_text(),
        "chosen": pair.chosen_text(),
        "rejected": pair.rejected_text(),
        "truth": truth,
    })
    .to_string()
}
