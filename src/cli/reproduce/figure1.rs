//! `lpc reproduce figure1`: the drawing of the architecture.

use super::Machine;
use super::matrix::{MatrixArguments, ObjectivesArgument, valid};
use crate::cli::output::print_line;
use crate::experiment::{base, trainable};
use crate::files::write_atomic;
use crate::plan::Scale;
use crate::plan::matrix::Matrix;
use crate::progress::Progress;
use crate::report::figure1::{self, Architecture};
use crate::report::publish;
use crate::{Error, Result};
use clap::Args;

/// Draw the architecture of the matrix's first model with LPC, with shapes and parameter counts
///
/// No preference training. A toy base model that is missing is pre-trained first.
///
/// Example: lpc reproduce figure1
#[derive(Debug, Args)]
pub(super) struct Figure1Arguments {
    #[command(flatten)]
    matrix: MatrixArguments,
    #[command(flatten)]
    objectives: ObjectivesArgument,
}

impl Figure1Arguments {
    pub(super) fn scale(&self) -> Scale {
        self.matrix.scale()
    }
}

pub(super) fn run(arguments: Figure1Arguments, machine: Machine) -> Result<()> {
    let (scale, reports) = (arguments.scale(), &arguments.matrix.reports);
    let mut matrix = arguments.matrix.read()?;
    arguments.objectives.keep(&mut matrix)?;
    let matrix = valid(matrix)?;
    let cells = matrix.cells();
    let Some(cell) = cells.iter().find(|cell| cell.latent) else {
        return Err(Error::argument("figure1", "matrix", "no cell with LPC", "at least one"));
    };
    let base = base::open(&cell.recipe.model, &machine.runs, &Progress::stderr())?;
    let heads = trainable::drawn_heads(&cell.recipe, &base.config)?.tensors();
    let heads = heads.into_iter().map(|(name, t)| (name, t.dims().to_vec()));
    let svg = figure1::svg(&Architecture {
        model: &cell.base,
        scale: scale.name(),
        config: &base.config,
        latent: cell.recipe.latent,
        objectives: matrix.objectives.iter().map(|o| o.objective).collect(),
        shapes: base.config.parameter_shapes().chain(heads).collect(),
    })?;
    let own = !Matrix::built_in(scale).is_ok_and(|built_in| built_in.same_experiment(&matrix));
    let folder = reports.join(format!("{}{}", scale.name(), if own { "-own" } else { "" }));
    let path = folder.join("figure1.svg");
    write_atomic(&path, svg.as_bytes())?;
    publish::write_sums(&folder)?;
    print_line(format_args!("written: {}", path.display()))
}
