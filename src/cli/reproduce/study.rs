//! `lpc reproduce figure2` and `lpc reproduce reviews`: studies that vary one cell of the matrix.

use super::matrix::{TrainingArguments, valid};
use super::{Machine, ready, show};
use crate::config::DataSource;
use crate::experiment::second_data::SecondData;
use crate::experiment::study::{self, Plan};
use crate::plan::matrix::Matrix;
use crate::plan::study::{Pairs, Study};
use crate::plan::{Scale, Table};
use crate::progress::Progress;
use crate::{Error, Result};
use clap::Args;
use std::path::{Path, PathBuf};

// No doc comment: clap would show it in the place of the targets' own texts.
#[derive(Debug, Args)]
pub(super) struct StudyArguments {
    #[command(flatten)]
    training: TrainingArguments,
    /// Use this study instead of the target's
    #[arg(long, value_name = "FILE")]
    study: Option<PathBuf>,
    /// A second data set beside --data, for the arms of the study that ask for one: a folder with train and
    /// test, or one file of pairs. If it is one file, a fifth of its conversations (at most 1,000 pairs) becomes
    /// the test set
    #[arg(long, value_name = "PATH")]
    second_data: Option<PathBuf>,
}

impl StudyArguments {
    pub(super) fn scale(&self) -> Scale {
        self.training.matrix.scale()
    }
}

pub(super) fn figure2(arguments: StudyArguments, machine: Machine) -> Result<()> {
    run(Table::Figure2, "figure2.{md,csv,svg,tex,html}", arguments, machine)
}

pub(super) fn reviews(arguments: StudyArguments, machine: Machine) -> Result<()> {
    run(Table::Reviews, "reviews.{md,csv,svg,tex,html}", arguments, machine)
}

fn run(table: Table, files: &str, arguments: StudyArguments, machine: Machine) -> Result<()> {
    let matrix = valid(arguments.training.read()?)?;
    ready(&matrix, &machine)?;
    let mut plan = Plan::read(table, arguments.study.as_deref())?;
    if let Some(seeds) = arguments.training.seeds() {
        plan.study.seeds = seeds;
    }
    if let Some(path) = &arguments.second_data {
        plan.second = Some(second_data(path, &plan.study, &matrix, &machine.runs)?);
    }
    let settings = arguments.training.settings(machine)?;
    let reproduced = study::reproduce(&plan, &matrix, &settings, &Progress::stderr())?;
    show(table.name(), files, &reproduced)
}

/// Files for a study's arms on a second data set, read before anything is trained.
fn second_data(path: &Path, study: &Study, matrix: &Matrix, runs: &Path) -> Result<SecondData> {
    let refused =
        |expected: &str| Err(Error::argument("reproduce", "--second-data", path.display(), expected));
    if study.arms.iter().all(|arm| arm.pairs != Pairs::Second) {
        return refused("a study with arms on a second data set");
    }
    match &matrix.data {
        DataSource::World(_) => {
            refused("--data too: the built-in world already has a second data set of its own")
        }
        DataSource::Jsonl { limit, .. } => SecondData::open(path, runs, *limit),
    }
}
