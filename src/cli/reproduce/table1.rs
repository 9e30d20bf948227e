//! `lpc reproduce table1`: benchmarks.

use super::matrix::{ObjectivesArgument, TrainingArguments, valid};
use super::{Machine, ready, show};
use crate::Result;
use crate::cli::values;
use crate::experiment::table1::{self, Benchmarks};
use crate::plan::Scale;
use crate::progress::Progress;
use clap::Args;
use std::path::PathBuf;

/// Measure each base model and each of its runs on ARC, GSM8K and TruthfulQA
///
/// At the toy scale the questions are the built-in world's own versions of these benchmarks. At other
/// scales --tasks says where the real ones are. The trained models are kept.
///
/// Example: lpc reproduce table1
///
/// Example: lpc reproduce table1 --scale small --data data/uf --tasks tasks --documents 200
#[derive(Debug, Args)]
pub(super) struct Table1Arguments {
    #[command(flatten)]
    training: TrainingArguments,
    #[command(flatten)]
    objectives: ObjectivesArgument,
    /// Documents of the benchmarks, as for `lpc eval --data`, instead of the built-in world's
    #[arg(long, value_name = "DATA")]
    tasks: Option<PathBuf>,
    /// At most N documents of each benchmark. The report says so
    #[arg(long, value_name = "N", value_parser = values::at_least_2, requires = "tasks")]
    documents: Option<usize>,
}

impl Table1Arguments {
    pub(super) fn scale(&self) -> Scale {
        self.training.matrix.scale()
    }
}

pub(super) fn run(arguments: Table1Arguments, machine: Machine) -> Result<()> {
    let mut matrix = arguments.training.read()?;
    arguments.objectives.keep(&mut matrix)?;
    let matrix = valid(matrix)?;
    let benchmarks = match &arguments.tasks {
        None => Benchmarks::World,
        Some(folder) => Benchmarks::Folder { folder: folder.clone(), limit: arguments.documents },
    };
    ready(&matrix, &machine)?;
    let settings = arguments.training.settings(machine)?;
    let reproduced = table1::reproduce(&matrix, &settings, &benchmarks, &Progress::stderr())?;
    show("table1", "table1.{md,csv,tex} and index.html", &reproduced)
}
