//! `lpc train`: one recipe, one run.

use super::output::{print, print_line};
use super::preference::print_accuracy;
use super::shared::DateArgument;
use crate::Result;
use crate::config::{Precision, Recipe};
use crate::data::overlap;
use crate::eval::harness::data::questions;
use crate::experiment::cell;
use crate::experiment::dataset::TextPairs;
use crate::experiment::prepared::{Prepared, Where};
use crate::progress::Progress;
use crate::run::store::Store;
use candle_core::Device;
use clap::Args;
use std::path::{Path, PathBuf};

/// Train one recipe, score the model on the recipe's test pairs, and keep it
///
/// Example: lpc train paper/recipes/dpo-lpc.toml
#[derive(Debug, Args)]
pub(super) struct TrainArguments {
    /// A recipe. Unknown keys are an error
    recipe: PathBuf,
    /// Number format that the factors of matrix products are rounded to, instead of the recipe's
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    #[command(flatten)]
    date: DateArgument,
    /// Before training, count questions of these benchmarks in the training pairs: a folder of tasks, as for
    /// `lpc eval --data`
    #[arg(long, value_name = "TASKS")]
    tasks: Option<PathBuf>,
}

pub(super) fn run(arguments: TrainArguments, runs: &Path, device: &Device) -> Result<()> {
    let mut recipe = Recipe::read(&arguments.recipe)?;
    recipe.template_date = arguments.date.template_date.or(recipe.template_date);
    recipe.training.dtype = arguments.dtype.unwrap_or(recipe.training.dtype);
    recipe.validate()?;
    let progress = Progress::stderr();
    let text = TextPairs::load(&recipe.data)?;
    if let Some(tasks) = &arguments.tasks {
        let items = questions(tasks, &[])?;
        print(overlap::count(&items, &text.train, &overlap::find(&items, &text.train)))?;
    }
    let prepared = Prepared::load(
        &recipe.model,
        &text,
        &recipe.truncation,
        recipe.objective.needs_reference(),
        &recipe.training,
        Where { runs, device, template_date: recipe.template_date.as_deref() },
        &progress,
    )?;
    let store = Store::new(runs);
    let manifest = cell::train_and_score(&recipe, "train", &prepared, &store, true, &progress)?;
    let data = &prepared.data;
    for note in text.notes.iter().chain(&data.notes("model", &recipe.truncation)) {
        print_line(note)?;
    }
    print_accuracy(&store.records(&manifest.run)?)?;
    print_line(format_args!("run: {}", store.folder(&manifest.run).display()))
}
