//! `lpc eval`: the benchmarks of Table 1 on one model.

use super::output::print_line;
use super::preference::{self, PreferenceArguments};
use super::shared::{DateArgument, partial};
use super::values;
use crate::config::LatentAtTest;
use crate::eval::harness::data::{self, Span};
use crate::eval::harness::summary::{Measured, summarise};
use crate::eval::harness::{self, Record};
use crate::eval::journal::Journal;
use crate::eval::predictor::Predictor;
use crate::eval::tasks::{Document, HARNESS, Task};
use crate::experiment::saved;
use crate::experiment::subject::{Choices, Subject, base_model};
use crate::files::{sha256, write_atomic};
use crate::model::load;
use crate::progress::Progress;
use crate::{Error, Result};
use candle_core::Device;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Measure a model on the benchmarks of Table 1, or a run on preference pairs
///
/// Prompts, few-shot examples, filters and verdicts are those of the LM Evaluation Harness (lm-eval 0.4.13)
/// with its defaults. Every answer is kept as soon as it comes: after a stop the same command continues.
///
/// Example: lpc eval arc_easy gsm8k --model organisation/name --data tasks --records out.jsonl
///
/// Example: lpc eval preference runs/0123456789abcdef --data pairs.jsonl
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct EvalArguments {
    #[command(subcommand)]
    measure: Option<Measure>,
    /// Benchmarks, by their names in the harness
    #[arg(value_enum, required = true, value_name = "TASK")]
    tasks: Vec<Task>,
    /// A GGUF file or wheel, a Hugging Face folder, a model of the hub (organisation/name[@revision]), or the
    /// folder of a run that holds its model
    #[arg(long, value_name = "MODEL", required_unless_present = "lpc")]
    model: Option<PathBuf>,
    /// Measure this run instead. If --model is given too, the run must have been trained from it
    #[arg(long, value_name = "RUN")]
    lpc: Option<PathBuf>,
    /// Where the documents are: a folder of tasks (arc_easy/test.jsonl, ..), one task's folder or file (.jsonl
    /// or .parquet), or a data set of the hub, such as the task's own (allenai/ai2_arc)
    #[arg(long, value_name = "DATA", required = true)]
    data: Option<PathBuf>,
    /// Only documents A to B, without B itself; the first is 0. They get the same few-shot examples as in a run
    /// over all documents
    #[arg(long, value_name = "A..B")]
    docs: Option<Span>,
    /// At most N documents of each task
    #[arg(long, value_name = "N", value_parser = values::at_least_1)]
    limit: Option<usize>,
    /// How the latent z of a run with LPC is chosen, instead of the recipe's way
    #[arg(long, value_enum)]
    latent: Option<LatentAtTest>,
    /// Seed of the latent where it is sampled [default: the run's]
    #[arg(long)]
    seed: Option<u64>,
    /// Write one line for each document to this file
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    #[command(flatten)]
    date: DateArgument,
}

#[derive(Debug, Subcommand)]
enum Measure {
    Preference(PreferenceArguments),
}

pub(super) fn run(arguments: EvalArguments, runs: &Path, device: &Device) -> Result<()> {
    if let Some(Measure::Preference(preference)) = arguments.measure {
        return preference::run(preference, runs, device);
    }
    // Documents first: what is wrong with them is known before a model is read.
    let asked = documents(&arguments)?;
    let model = open(&arguments, device)?;
    let seed = arguments.seed.or(model.recipe.as_ref().map(|r| r.seed)).unwrap_or(1);
    let latent = model.latent().map(|latent| match latent {
        LatentAtTest::Mean => "mean".to_string(),
        LatentAtTest::Sample => format!("sample, seed {seed}"),
        LatentAtTest::Exact => "exact".to_string(),
    });
    let files: Vec<&String> = asked.iter().flat_map(|asked| &asked.sha256).collect();
    let identity = format!("{}\n{HARNESS}\n{seed}\n{files:?}", model.identity()?);
    let partial = match &arguments.records {
        Some(out) => partial(out),
        None => runs.join("eval").join(format!("{}.partial", &sha256(identity.as_bytes())[..16])),
    };
    let predictor = Predictor::new(&model.policy, model.recipe.as_ref(), None)?;
    let tokenizer = &model.loaded.tokenizer;
    let subject = harness::Subject { predictor: &predictor, tokenizer, seed, latent, identity };
    print_line(format_args!("{}; tasks as in {HARNESS}", model.loaded.description))?;
    if let Some(latent) = &subject.latent {
        print_line(format_args!("z from the prior of the context: {latent}"))?;
    }
    let journal = Journal::open(&partial)?;
    let lines = measure(&asked, &subject, &journal)?;
    if let Some(out) = &arguments.records {
        write_atomic(out, &lines)?;
    }
    drop(journal);
    std::fs::remove_file(&partial).map_err(Error::io(&partial))
}

/// A task with the documents that are asked, and the hashes of their files.
struct Asked {
    task: Task,
    documents: Vec<Document>,
    sha256: Vec<String>,
}

fn documents(arguments: &EvalArguments) -> Result<Vec<Asked>> {
    let Some(folder) = &arguments.data else {
        return Err(Error::argument("eval", "--data", "nothing", "where the documents are"));
    };
    let span = arguments.docs.unwrap_or(Span { start: 0, end: None });
    let read = |&task: &Task| {
        let data::Documents { documents, sha256 } = data::read(task, folder)?;
        Ok(Asked { task, documents: span.of(documents, arguments.limit)?, sha256 })
    };
    arguments.tasks.iter().map(read).collect()
}

/// What is measured: --lpc, which must be a run and have begun from --model, or else --model.
fn open(arguments: &EvalArguments, device: &Device) -> Result<Subject> {
    let choices = Choices { template_date: arguments.date.as_deref(), latent: arguments.latent };
    match (&arguments.lpc, &arguments.model) {
        (Some(run), base) => {
            if let Some(base) = base {
                saved::check_base(run, &load::load(&base_model(base))?)?;
            }
            Ok(Subject::open_run(run, choices, device)?.1)
        }
        (None, Some(model)) => Subject::open(model, choices, device),
        (None, None) => Err(Error::argument("eval", "--model", "nothing", "a model, or a run as --lpc")),
    }
}

/// Runs every task, prints its results and returns the records as lines of JSON.
fn measure(
    asked: &[Asked],
    subject: &harness::Subject<'_, '_>,
    journal: &Journal<Record>,
) -> Result<Vec<u8>> {
    let progress = Progress::stderr();
    let mut lines = vec![];
    for Asked { task, documents, .. } in asked {
        let bar = progress.task(task.name(), documents.len());
        let records = harness::run(*task, documents, subject, journal, &bar)?;
        drop(bar);
        report(*task, &records)?;
        for record in &records {
            serde_json::to_writer(&mut lines, record)
                .map_err(|e| Error::argument("eval", "record", e, "what JSON can hold"))?;
            lines.push(b'\n');
        }
    }
    Ok(lines)
}

fn report(task: Task, records: &[Record]) -> Result<()> {
    for Measured { metric, documents, mean, standard_error, interval } in summarise(records)? {
        let error = standard_error.map_or(String::new(), |e| format!(" ± {e:.4}"));
        let interval =
            interval.map_or(String::new(), |i| format!(", 95 % interval {:.4} to {:.4}", i.low, i.high));
        print_line(format_args!(
            "{}: {metric} {mean:.4}{error}{interval}, {documents} documents",
            task.name()
        ))?;
    }
    let truncated = records.iter().filter(|r| r.truncated).count();
    if truncated > 0 {
        print_line(format_args!(
            "{}: {truncated} contexts were cut at their beginning to fit the model's window",
            task.name()
        ))?;
    }
    Ok(())
}
