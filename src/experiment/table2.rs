//! Table 2: preference accuracy of each objective without and with LPC, on each base model.

use crate::experiment::dataset::TextPairs;
use crate::experiment::pool::parallel;
use crate::experiment::prepared::Prepared;
use crate::experiment::settings::{Reproduced, Settings, header, label};
use crate::experiment::{cell, cells};
use crate::plan::Table;
use crate::plan::matrix::Matrix;
use crate::progress::Progress;
use crate::run::evidence::Evidence;
use crate::run::store::Store;
use crate::{Error, Result};

/// Trains what is missing and writes `table2.{md,csv,svg,tex}`, their evidence and the page.
///
/// Finished runs are reused, and interrupted runs continue. A run that
/// diverges is `not run` in the report, with the reason; the report is written, and then the error.
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
    let outcomes = cells::each("table2", &cells, settings, progress, label, |cell| {
        let prepared = find(&cell.base).expect("a cell's model is in its matrix");
        let keep = settings.keeps_model(&cell.recipe);
        cell::train_and_score(&cell.recipe, &label(cell), prepared, &store, keep, progress)
            .map(|manifest| manifest.run)
    })?;

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
        notes.extend(data.notes(&model.name, &matrix.truncation));
    }
    let mut evidence = Evidence::new(header(Table::Table2, matrix, settings.scale, own, notes));
    evidence.header.not_run = outcomes.not_run();
    for (cell, run) in outcomes.measured() {
        evidence.add(&store, run, (&cell.base, &cell.objective, cell.latent), vec![])?;
    }
    outcomes.finish(settings.publish(&evidence)?)
}
