//! The loop over a table's cells. A run whose training diverges is told, is `not run` in the report with
//! the reason, and stops no other; the report is written, and then the divergence is the error.

use crate::error::{Error, Result};
use crate::experiment::pool::parallel;
use crate::experiment::settings::{Reproduced, Settings};
use crate::plan::matrix::MatrixCell;
use crate::progress::Progress;
use crate::run::evidence::NotRun;

/// What became of each cell, in order.
pub struct Outcomes<'a, T> {
    cells: &'a [MatrixCell],
    results: Vec<Result<T>>,
}

/// Does `work` for each cell, `settings.workers()` at a time.
///
/// # Errors
/// Any error of `work` but a divergence; no cell is begun after it.
pub fn each<'a, T: Send>(
    table: &str,
    cells: &'a [MatrixCell],
    settings: &Settings,
    progress: &Progress,
    label: impl Fn(&MatrixCell) -> String + Sync,
    work: impl Fn(&MatrixCell) -> Result<T> + Sync,
) -> Result<Outcomes<'a, T>> {
    let (workers, threads_each) = settings.workers();
    let total = progress.task(table, cells.len());
    let results = parallel(cells, workers, threads_each, |cell| {
        let result = work(cell);
        total.advance(1, || label(cell));
        match result {
            Err(diverged @ Error::Diverged { .. }) => {
                progress.line(format!("{}: {diverged}", label(cell)));
                Ok(Err(diverged))
            }
            result => Ok(Ok(result?)),
        }
    })?;
    Ok(Outcomes { cells, results })
}

impl<'a, T> Outcomes<'a, T> {
    /// Of the cells that did not diverge.
    pub fn measured(&self) -> impl Iterator<Item = (&'a MatrixCell, &T)> {
        self.cells.iter().zip(&self.results).filter_map(|(cell, result)| Some((cell, result.as_ref().ok()?)))
    }

    /// The others, for a report's header.
    pub fn not_run(&self) -> Vec<NotRun> {
        let failed = |(cell, result): (&MatrixCell, &Result<T>)| {
            let why = match result.as_ref().err()? {
                // A report does not care where checkpoints lie.
                Error::Diverged { step, what, got, .. } => format!("diverged at step {step}, {what} {got}"),
                other => other.to_string(),
            };
            Some(NotRun {
                base: cell.base.clone(),
                objective: cell.objective.clone(),
                latent: cell.latent,
                seed: Some(cell.recipe.seed),
                why,
            })
        };
        self.cells.iter().zip(&self.results).filter_map(failed).collect()
    }

    /// To be called with what was written.
    ///
    /// # Errors
    /// The first divergence.
    pub fn finish(self, reproduced: Reproduced) -> Result<Reproduced> {
        match self.results.into_iter().find_map(Result::err) {
            Some(diverged) => Err(diverged),
            None => Ok(reproduced),
        }
    }
}
