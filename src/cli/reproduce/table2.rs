//! `lpc reproduce table2`: preference accuracy.

use super::matrix::{ObjectivesArgument, TrainingArguments, valid};
use super::{Machine, ready, show};
use crate::Result;
use crate::experiment::table2;
use crate::plan::Scale;
use crate::progress::Progress;
use clap::Args;

/// Measure the preference accuracy of each objective, without and with LPC
///
/// Example: lpc reproduce table2 --scale toy
#[derive(Debug, Args)]
pub(super) struct Table2Arguments {
    #[command(flatten)]
    training: TrainingArguments,
    #[command(flatten)]
    objectives: ObjectivesArgument,
}

impl Table2Arguments {
    pub(super) fn scale(&self) -> Scale {
        self.training.matrix.scale()
    }
}

pub(super) fn run(arguments: Table2Arguments, machine: Machine) -> Result<()> {
    let mut matrix = arguments.training.read()?;
    arguments.objectives.keep(&mut matrix)?;
    let matrix = valid(matrix)?;
    ready(&matrix, &machine)?;
    let settings = arguments.training.settings(machine)?;
    let reproduced = table2::reproduce(&matrix, &settings, &Progress::stderr())?;
    show("table2", "table2.{md,csv,svg,tex} and index.html", &reproduced)
}
