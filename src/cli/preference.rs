//! `lpc eval preference`: a run on preference pairs.

use super::output::print_line;
use super::shared::DateArgument;
use super::values;
use crate::config::{EmptyCompletion, LatentAtTest};
use crate::data::pairs;
use crate::error::Place;
use crate::eval::preference::score_pairs;
use crate::eval::stats::wilson_interval;
use crate::experiment::base;
use crate::experiment::cell::records;
use crate::experiment::dataset::TextPairs;
use crate::experiment::prepared::reference_policy;
use crate::experiment::reference::Reference;
use crate::experiment::saved;
use crate::experiment::subject::{Choices, Subject};
use crate::progress::Progress;
use crate::run::records::{self as record_file, Record};
use crate::train::reference::reference_logps;
use crate::{Error, Result};
use candle_core::Device;
use clap::Args;
use std::path::{Path, PathBuf};

/// Measure how often a run gives the chosen completion of a pair the higher implicit reward
///
/// Example: lpc eval preference runs/0123456789abcdef --data pairs.jsonl
#[derive(Debug, Args)]
pub(super) struct PreferenceArguments {
    /// Folder of a run that holds its model
    run: PathBuf,
    /// Score these pairs (.jsonl, .jsonl.gz or .parquet) instead of the recipe's test pairs
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// At most N pairs
    #[arg(long, value_name = "N", value_parser = values::at_least_1)]
    limit: Option<usize>,
    /// How the latent z is chosen, instead of the recipe's way
    #[arg(long, value_enum)]
    latent: Option<LatentAtTest>,
    /// Write one line for each pair to this file
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    #[command(flatten)]
    date: DateArgument,
}

pub(super) fn run(arguments: PreferenceArguments, runs: &Path, device: &Device) -> Result<()> {
    let progress = Progress::stderr();
    let choices = Choices { template_date: arguments.date.as_deref(), latent: arguments.latent };
    let (recipe, Subject { loaded, policy, .. }) = Subject::open_run(&arguments.run, choices, device)?;
    let mut text = match &arguments.data {
        Some(file) => {
            let read = pairs::read(file, arguments.limit, EmptyCompletion::Refuse)?;
            if read.pairs.is_empty() {
                return Err(Error::input(Place::file(file), "at least one pair", "none"));
            }
            let notes = read.notes().iter().map(|note| format!("test: {note}.")).collect();
            TextPairs { test: read.pairs, notes, ..TextPairs::default() }
        }
        None => TextPairs { train: vec![], ..TextPairs::load(&recipe.data)? },
    };
    if let Some(limit) = arguments.limit {
        text.test.truncate(limit);
        text.bayes.iter_mut().for_each(|b| b.truncate(limit));
    }
    let data = text.tokenized(&loaded, &recipe.truncation)?;
    let reference = if recipe.objective.needs_reference() {
        let base = base::load(&recipe.model, runs, &progress)?;
        saved::check_base(&arguments.run, &base)?;
        let task = progress.task("reference log-probabilities", data.test.len());
        let test = reference_logps(
            &reference_policy(&base, recipe.training.dtype, device)?,
            &data.test,
            &recipe.training,
            &task,
        )?;
        Some(Reference { train: vec![], test })
    } else {
        None
    };
    let task = progress.task("preference accuracy", data.test.len());
    let verdicts =
        score_pairs(&recipe, &policy, &data.test, reference.as_ref().map(|r| r.test.as_slice()), &task)?;
    drop(task);
    let records = records(&data, &verdicts, reference.as_ref());
    if let Some(path) = &arguments.records {
        record_file::write(path, &records)?;
    }
    if arguments.data.is_some() {
        // What was truncated is not told here: the recipe says how much is read.
        for note in text.notes.iter().chain(data.notes("model", &recipe.truncation).iter().skip(1)) {
            print_line(note)?;
        }
    }
    print_accuracy(&records)
}

pub(super) fn print_accuracy(records: &[Record]) -> Result<()> {
    let correct = records.iter().filter(|r| r.correct).count();
    let interval = wilson_interval(correct, records.len())?;
    let percent = |x: f64| 100.0 * x;
    print_line(format_args!(
        "preference accuracy: {:.1} % ({correct} of {}), 95 % interval {:.1} to {:.1}",
        percent(correct as f64 / records.len() as f64),
        records.len(),
        percent(interval.low),
        percent(interval.high)
    ))
}
