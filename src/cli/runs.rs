//! `lpc train` and `lpc eval preference`: one recipe, one saved run.

use super::PreferenceArguments;
use super::output::{print, print_line};
use crate::config::{EmptyCompletion, Precision, Recipe};
use crate::data::{overlap, pairs};
use crate::error::Place;
use crate::eval::harness::data::questions;
use crate::eval::preference::score_pairs;
use crate::eval::stats::wilson_interval;
use crate::experiment::base;
use crate::experiment::cell::{self, records};
use crate::experiment::dataset::TextPairs;
use crate::experiment::prepared::{Prepared, Where, reference_policy};
use crate::experiment::reference::Reference;
use crate::experiment::saved;
use crate::progress::Progress;
use crate::run::records::{self as record_file, Record};
use crate::run::store::Store;
use crate::train::reference::reference_logps;
use crate::{Error, Result};
use candle_core::Device;
use std::path::Path;

/// What the command line says beside the recipe.
pub struct Settings<'a> {
    pub dtype: Option<Precision>,
    pub template_date: Option<String>,
    /// Benchmarks whose questions are looked for in the training pairs.
    pub tasks: Option<&'a Path>,
}

pub fn train(recipe: &Path, settings: Settings<'_>, runs: &Path, device: &Device) -> Result<()> {
    let mut recipe = Recipe::read(recipe)?;
    recipe.template_date = settings.template_date.or(recipe.template_date);
    recipe.training.dtype = settings.dtype.unwrap_or(recipe.training.dtype);
    let progress = Progress::stderr();
    let text = TextPairs::load(&recipe.data)?;
    if let Some(tasks) = settings.tasks {
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
    let manifest = cell::run(&recipe, "train", &prepared, &store, true, &progress)?;
    let data = &prepared.data;
    for note in text.notes.iter().chain(&data.notes("model", &recipe.truncation)) {
        print_line(note)?;
    }
    print_accuracy(&store.records(&manifest.run)?)?;
    print_line(format_args!("run: {}", store.folder(&manifest.run).display()))
}

pub fn evaluate(arguments: PreferenceArguments, runs: &Path, device: &Device) -> Result<()> {
    let progress = Progress::stderr();
    let (mut recipe, mut loaded, policy) = saved::load(&arguments.run, device)?;
    arguments.date.apply(&mut loaded.tokenizer)?;
    recipe.evaluation.latent = arguments.latent.unwrap_or(recipe.evaluation.latent);
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
            recipe.training.micro_batch_size,
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

fn print_accuracy(records: &[Record]) -> Result<()> {
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
