//! Table 2: preference accuracy of each objective without and with LPC, on each base model.

use crate::Result;
use crate::experiment::cell;
use crate::experiment::dataset::TextPairs;
use crate::experiment::matrix::{Matrix, MatrixCell};
use crate::experiment::pool::parallel;
use crate::experiment::prepared::Prepared;
use crate::experiment::reference::Reference;
use crate::progress::Progress;
use crate::report::store::Store;
use crate::report::table2::{self, BaseModel, Cell, Input, Proportion, RunSummary, Scale};
use std::path::{Path, PathBuf};

/// Where things go and how much of the machine they may use.
pub struct Settings {
    pub scale: Scale,
    pub runs: PathBuf,
    pub reports: PathBuf,
    pub threads: usize,
    pub keep_models: bool,
}

/// Trains what is missing and writes `table2.{md,csv,svg}`; returns the Markdown.
///
/// Finished runs are read, not trained again; a run that was interrupted goes on.
pub fn reproduce(matrix: &Matrix, settings: &Settings, progress: &Progress) -> Result<String> {
    // Toy runs are too small to share: one thread each. A real model takes the whole machine.
    let (workers, threads_each) = match settings.scale {
        Scale::Toy => (settings.threads, 1),
        Scale::Small | Scale::Paper => (1, settings.threads),
    };
    let text = TextPairs::load(&matrix.data)?;
    let prepared = parallel(&matrix.models, workers, threads_each, |model| {
        // The reference is needed in any case: the report shows the base model's own accuracy.
        let batch_size = matrix.training.micro_batch_size;
        Prepared::load(&model.source, &text, &matrix.truncation, true, batch_size, &settings.runs, progress)
    })?;
    let find = |name: &str| matrix.models.iter().position(|m| m.name == name).map(|i| &prepared[i]);

    let cells = matrix.cells();
    let store = Store::new(&settings.runs);
    let total = progress.task("table2", cells.len());
    let finished = parallel(&cells, workers, threads_each, |cell| {
        let prepared = find(&cell.base).expect("a cell's model is in its matrix");
        let manifest =
            cell::run(&cell.recipe, &label(cell), prepared, &store, settings.keep_models, progress)?;
        total.advance(1, || label(cell));
        let records = store.records(&manifest.run)?;
        Ok(RunSummary { run_id: manifest.run, seed: cell.recipe.seed, records })
    })?;

    let mut notes = text.notes.clone();
    for (model, Prepared { base, data, .. }) in matrix.models.iter().zip(&prepared) {
        notes.push(format!("{}: {}.", model.name, base.description));
        notes.push(data.truncation_note(&model.name, &matrix.truncation));
    }
    let bases = matrix.models.iter().zip(&prepared).map(|(model, prepared)| BaseModel {
        name: model.name.clone(),
        paper: model.paper.clone(),
        accuracy: prepared.reference.as_ref().map(base_accuracy),
    });
    let input =
        Input { scale: settings.scale, notes, bases: bases.collect(), cells: group(&cells, finished) };
    let folder = report_folder(&settings.reports, settings.scale);
    table2::write(&folder, &input)?;
    Ok(table2::render(&input)?.markdown)
}

pub fn report_folder(reports: &Path, scale: Scale) -> PathBuf {
    reports.join(scale.name())
}

fn label(cell: &MatrixCell) -> String {
    let with = if cell.latent { " w. LPC" } else { "" };
    format!("{} {}{with} seed {}", cell.base, cell.objective, cell.recipe.seed)
}

/// Pairs whose chosen completion the base model finds likelier, by summed log-probability.
fn base_accuracy(reference: &Reference) -> Proportion {
    let correct = reference.test.iter().filter(|r| r.chosen > r.rejected).count();
    Proportion { correct, total: reference.test.len() }
}

/// Runs of the same cell together, in the order of the matrix.
fn group(cells: &[MatrixCell], finished: Vec<RunSummary>) -> Vec<Cell> {
    let mut groups: Vec<Cell> = vec![];
    for (cell, run) in cells.iter().zip(finished) {
        let same =
            |g: &&mut Cell| g.base == cell.base && g.objective == cell.objective && g.latent == cell.latent;
        match groups.iter_mut().find(same) {
            Some(group) => group.runs.push(run),
            None => groups.push(Cell {
                base: cell.base.clone(),
                objective: cell.objective.clone(),
                latent: cell.latent,
                runs: vec![run],
            }),
        }
    }
    groups
}
