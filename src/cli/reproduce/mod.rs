//! `lpc reproduce`: the tables and figures of the paper, each a subcommand with its own options.

mod claims;
mod figure1;
mod matrix;
mod study;
mod table1;
mod table2;
mod table3;

use super::output::{print, print_line};
use super::plan;
use super::values::DeviceName;
use crate::config::DataSource;
use crate::experiment::settings::Reproduced;
use crate::plan::Scale;
use crate::plan::matrix::Matrix;
use crate::report::document::markdown::marked;
use crate::{Error, Result};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Train what is missing for a table or figure of the paper, and write it
///
/// Options follow the target. `lpc reproduce TARGET --help` explains those of one target.
///
/// Example: lpc reproduce table2 --scale toy
#[derive(Debug, Args)]
#[command(subcommand_value_name = "TARGET", subcommand_help_heading = "Targets")]
pub(super) struct ReproduceArguments {
    #[command(subcommand)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Target {
    Table1(Box<table1::Table1Arguments>),
    Table2(Box<table2::Table2Arguments>),
    Table3(Box<table3::Table3Arguments>),
    Figure1(figure1::Figure1Arguments),
    /// Study the number of codes, flipped labels and the latents, with a test of each claim
    ///
    /// Accuracy over the number of codes; accuracy when half of the training labels are flipped; a map of
    /// the latents. Runs already trained for Table 2 are reused.
    ///
    /// Example: lpc reproduce figure2
    Figure2(Box<study::StudyArguments>),
    /// Answer the questions of the paper's reviewers, with a verdict on each claim
    ///
    /// Controls, sweeps, schedules, flipped labels without a mark, exact objectives and a second data set.
    /// The rule of each verdict is written in the study before anything runs. Runs already trained for
    /// Table 2 are reused.
    ///
    /// Example: lpc reproduce reviews
    Reviews(Box<study::StudyArguments>),
    Claims(claims::ClaimsArguments),
}

impl ReproduceArguments {
    pub(super) fn is_toy(&self) -> bool {
        let scale = match &self.target {
            Target::Figure1(figure) => figure.scale(),
            Target::Figure2(study) | Target::Reviews(study) => study.scale(),
            // It computes nothing.
            Target::Claims(_) => Scale::Toy,
            Target::Table1(table) => table.scale(),
            Target::Table2(table) => table.scale(),
            Target::Table3(table) => table.scale(),
        };
        scale == Scale::Toy
    }
}

/// The folder of runs, and what computes.
struct Machine {
    runs: PathBuf,
    threads: usize,
    device: DeviceName,
}

pub(super) fn run(
    arguments: ReproduceArguments,
    runs: PathBuf,
    threads: usize,
    device: DeviceName,
) -> Result<()> {
    let machine = Machine { runs, threads, device };
    match arguments.target {
        Target::Figure1(figure) => figure1::run(figure, machine),
        Target::Figure2(study) => study::figure2(*study, machine),
        Target::Reviews(study) => study::reviews(*study, machine),
        Target::Claims(claims) => claims::run(claims),
        Target::Table1(table) => table1::run(*table, machine),
        Target::Table2(table) => table2::run(*table, machine),
        Target::Table3(table) => table3::run(*table, machine),
    }
}

/// Share of a card's peak that `lpc plan` assumes.
const SHARE: f64 = 0.4;

/// Stops before any work where the matrix's models want a GPU and there is none: with the plan, and what is missing.
fn ready(matrix: &Matrix, machine: &Machine) -> Result<()> {
    let large = plan::large(matrix);
    if large.is_empty() || machine.device != DeviceName::Cpu {
        return Ok(());
    }
    print(plan::of_matrix(matrix, 1, SHARE, false)?)?;
    let names: Vec<&str> = large.iter().map(|model| model.name.as_str()).collect();
    let mut expected = format!(
        "cuda or cuda:N, a GPU with 80 GB for {} (build lpc with --features cuda; paper/RUNBOOK.md)",
        names.join(", ")
    );
    if let DataSource::Jsonl { folder, .. } = &matrix.data
        && !folder.is_dir()
    {
        expected += &format!(", and the pairs in {}, or --data DIR", folder.display());
    }
    Err(Error::argument("reproduce", "--device", "cpu", expected))
}

/// Prints the table called `name` and where its `files` are.
fn show(name: &str, files: &str, reproduced: &Reproduced) -> Result<()> {
    print_line(marked(name, &reproduced.markdown).unwrap_or(&reproduced.markdown))?;
    print_line(format_args!("written: {}", reproduced.folder.join(files).display()))
}

/// Adds to clap's error about an unknown option which targets have that option.
pub(super) fn with_hint(mut error: clap::Error, command: &clap::Command, line: &[OsString]) -> clap::Error {
    let Some(reproduce) = command.find_subcommand("reproduce") else { return error };
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) if error.kind() == ErrorKind::UnknownArgument => name.clone(),
        _ => return error,
    };
    let has = |target: &&clap::Command| {
        target.get_arguments().any(|a| a.get_long().is_some_and(|long| unknown == format!("--{long}")))
    };
    let targets: Vec<&str> =
        reproduce.get_subcommands().filter(has).map(|target| target.get_name()).collect();
    if targets.is_empty() || !line.iter().any(|word| word == "reproduce") {
        return error;
    }
    let hint = format!("{unknown} is an option of {}; write it after the target", targets.join(", "));
    // A similar name would be the wrong hint.
    error.insert(ContextKind::SuggestedArg, ContextValue::None);
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    error
}
