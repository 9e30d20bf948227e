//! Table 2: preference accuracy of each objective without and with LPC, on each base model.

use crate::experiment::cell;
use crate::experiment::dataset::TextPairs;
use crate::experiment::matrix::{Matrix, MatrixCell, Model};
use crate::experiment::pool::parallel;
use crate::experiment::prepared::Prepared;
use crate::progress::Progress;
use crate::report::records::Record;
use crate::report::store::Store;
use crate::report::table2::{self, BaseModel, Cell, Input, LatentSummary, Proportion, RunSummary, Scale};
use crate::{Error, Result};
use std::path::PathBuf;

/// Where things go and how much of the machine they may use.
pub struct Settings {
    pub scale: Scale,
    pub runs: PathBuf,
    pub reports: PathBuf,
    pub threads: usize,
    pub keep_models: bool,
}

impl Settings {
    /// Runs at a time, and threads for each: toy runs are too small to share, a real model takes
    /// the whole machine.
    pub(super) fn workers(&self) -> (usize, usize) {
        match self.scale {
            Scale::Toy => (self.threads, 1),
            Scale::Small | Scale::Paper => (1, self.threads),
        }
    }

    /// One of the matrix's base models, with data and reference log-probabilities.
    pub(super) fn prepare(
        &self,
        matrix: &Matrix,
        model: &Model,
        text: &TextPairs,
        progress: &Progress,
    ) -> Result<Prepared> {
        let needs_reference = matrix.objectives.iter().any(|o| o.objective.needs_reference());
        let (truncation, batch_size) = (&matrix.truncation, matrix.training.micro_batch_size);
        Prepared::load(&model.source, text, truncation, needs_reference, batch_size, &self.runs, progress)
    }
}

/// The table, and where its files are.
pub struct Reproduced {
    pub markdown: String,
    pub folder: PathBuf,
}

/// Trains what is missing and writes `table2.{md,csv,svg}`.
///
/// Finished runs are read, not trained again; a run that was interrupted goes on. A run that
/// diverges is `not run` in the report, which is written, and then the error.
pub fn reproduce(matrix: &Matrix, settings: &Settings, progress: &Progress) -> Result<Reproduced> {
    let (workers, threads_each) = settings.workers();
    let text = TextPairs::load(&matrix.data)?;
    if text.test.len() < 2 {
        return Err(Error::argument("table2", "test pairs", text.test.len(), "at least 2, for an interval"));
    }
    let prepared = parallel(&matrix.models, workers, threads_each, |model| {
        settings.prepare(matrix, model, &text, progress)
    })?;
    let find = |name: &str| matrix.models.iter().position(|m| m.name == name).map(|i| &prepared[i]);

    let cells = matrix.cells();
    let store = Store::new(&settings.runs);
    let total = progress.task("table2", cells.len());
    let results = parallel(&cells, workers, threads_each, |cell| {
        let prepared = find(&cell.base).expect("a cell's model is in its matrix");
        let run = cell::run(&cell.recipe, &label(cell), prepared, &store, settings.keep_models, progress);
        total.advance(1, || label(cell));
        match run {
            Err(diverged @ Error::Diverged { .. }) => {
                progress.line(format!("{}: {diverged}", label(cell)));
                Ok(Err(diverged))
            }
            run => {
                let manifest = run?;
                let (records, latent) =
                    (store.records(&manifest.run)?, LatentSummary::of(&manifest.outcome.metrics));
                Ok(Ok(RunSummary { run_id: manifest.run, seed: cell.recipe.seed, records, latent }))
            }
        }
    })?;
    drop(total);
    let (mut runs, mut diverged) = (vec![], None);
    for (cell, result) in cells.iter().zip(results) {
        match result {
            Ok(run) => runs.push((cell, run)),
            Err(e) => diverged = diverged.or(Some(e)),
        }
    }

    let own = !Matrix::built_in(settings.scale).is_ok_and(|built_in| built_in.same_experiment(matrix));
    let mut notes = vec![];
    if own {
        notes.push(
            "Not the run matrix that ships with this scale: the runs' recipes say what was run.".to_string(),
        );
    }
    notes.extend(text.notes.iter().cloned());
    for (model, Prepared { base, data, .. }) in matrix.models.iter().zip(&prepared) {
        notes.push(format!("{}: {}.", model.name, base.description));
        notes.push(data.truncation_note(&model.name, &matrix.truncation));
    }
    let bases = matrix.models.iter().map(|model| BaseModel {
        name: model.name.clone(),
        paper: model.paper.clone(),
        accuracy: runs
            .iter()
            .filter(|(c, _)| c.base == model.name)
            .find_map(|(_, run)| base_accuracy(&run.records)),
    });
    let input = Input { scale: settings.scale, notes, bases: bases.collect(), cells: group(&cells, &runs) };
    // A matrix of one's own never overwrites the scale's report.
    let folder = settings.reports.join(format!("{}{}", settings.scale.name(), if own { "-own" } else { "" }));
    table2::write(&folder, &input)?;
    match diverged {
        Some(error) => Err(error),
        None => Ok(Reproduced { markdown: table2::render(&input)?.markdown, folder }),
    }
}

pub(super) fn label(cell: &MatrixCell) -> String {
    let with = if cell.latent { " w. LPC" } else { "" };
    format!("{} {}{with} seed {}", cell.base, cell.objective, cell.recipe.seed)
}

/// Pairs whose chosen completion the base model, the reference of these records, finds likelier
/// by summed log-probability.
fn base_accuracy(records: &[Record]) -> Option<Proportion> {
    let likelier = |r: &Record| Some(r.reference_chosen_logps? > r.reference_rejected_logps?);
    let verdicts: Vec<bool> = records.iter().map(likelier).collect::<Option<_>>()?;
    Some(Proportion { correct: verdicts.iter().filter(|v| **v).count(), total: verdicts.len() })
}

/// Runs of the same cell together, in the order of the matrix; a cell may have none.
fn group(cells: &[MatrixCell], runs: &[(&MatrixCell, RunSummary)]) -> Vec<Cell> {
    let key = |c: &MatrixCell| (c.base.clone(), c.objective.clone(), c.latent);
    let mut keys: Vec<_> = cells.iter().map(key).collect();
    let mut seen = std::collections::BTreeSet::new();
    keys.retain(|k| seen.insert(k.clone()));
    let of = |k: &_| runs.iter().filter(|(c, _)| key(c) == *k).map(|(_, run)| run.clone()).collect();
    keys.into_iter()
        .map(|k| {
            let runs = of(&k);
            let (base, objective, latent) = k;
            Cell { base, objective, latent, runs }
        })
        .collect()
}
