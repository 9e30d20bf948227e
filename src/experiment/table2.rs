//! Table 2: preference accuracy of each objective without and with LPC, on each base model.

use crate::config::{ModelSource, Recipe};
use crate::experiment::dataset::TextPairs;
use crate::experiment::pool::parallel;
use crate::experiment::prepared::{Prepared, Where};
use crate::experiment::{cell, cells};
use crate::plan::Scale;
use crate::plan::Table;
use crate::plan::matrix::{Matrix, MatrixCell, Model};
use crate::progress::Progress;
use crate::report::publish::publish;
use crate::run::evidence::{Base, Evidence, Header};
use crate::run::store::Store;
use crate::{Error, Result};
use candle_core::Device;
use std::path::PathBuf;

/// Where things go and how much of the machine they may use.
pub struct Settings {
    pub scale: Scale,
    pub runs: PathBuf,
    pub reports: PathBuf,
    pub threads: usize,
    pub device: Device,
    pub keep_models: bool,
    /// What chat templates are to take for today.
    pub template_date: Option<String>,
}

impl Settings {
    /// A toy model is half a megabyte, and table 1, table 3 and the map of latents want it.
    pub(super) fn keeps_model(&self, recipe: &Recipe) -> bool {
        self.keep_models || matches!(recipe.model, ModelSource::World { .. })
    }

    /// Runs at a time, and threads for each: toy runs are too small to share the CPU, anything else
    /// has the machine to itself.
    pub(super) fn workers(&self) -> (usize, usize) {
        match self.scale {
            Scale::Toy if self.device.is_cpu() => (self.threads, 1),
            Scale::Toy | Scale::Small | Scale::Paper => (1, self.threads),
        }
    }

    /// Writes the evidence into its scale's folder, and whatever that folder's evidence makes. A matrix
    /// of one's own never overwrites the scale's report.
    pub(super) fn publish(&self, evidence: &Evidence) -> Result<Reproduced> {
        let Header { scale, own, table, .. } = evidence.header;
        let folder = self.reports.join(format!("{}{}", scale.name(), if own { "-own" } else { "" }));
        evidence.write(&folder.join(table.evidence_file()))?;
        let page = format!("{}.md", table.name());
        let exhibits = publish(&folder)?;
        let files = exhibits.iter().flat_map(|e| &e.files).find(|(name, _)| *name == page);
        let markdown = files.map_or(String::new(), |(_, bytes)| String::from_utf8_lossy(bytes).into_owned());
        Ok(Reproduced { markdown, folder })
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
        let (truncation, training) = (&matrix.truncation, &matrix.training);
        let place =
            Where { runs: &self.runs, device: &self.device, template_date: self.template_date.as_deref() };
        Prepared::load(&model.source, text, truncation, needs_reference, training, place, progress)
    }
}

/// The table, and where its files are.
pub struct Reproduced {
    pub markdown: String,
    pub folder: PathBuf,
}

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
        cell::run(&cell.recipe, &label(cell), prepared, &store, keep, progress).map(|manifest| manifest.run)
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

/// What a matrix planned.
pub(super) fn header(table: Table, matrix: &Matrix, scale: Scale, own: bool, notes: Vec<String>) -> Header {
    let base = |model: &Model| Base { name: model.name.clone(), paper: model.paper.clone() };
    Header {
        format: 1,
        table,
        scale,
        own,
        notes,
        seeds: matrix.seeds.clone(),
        bases: matrix.models.iter().map(base).collect(),
        objectives: matrix.objectives.iter().map(|o| o.name.clone()).collect(),
        settings: Default::default(),
        plan: None,
        not_run: vec![],
        codes: None,
    }
}

pub(super) fn label(cell: &MatrixCell) -> String {
    let with = if cell.latent { " w. LPC" } else { "" };
    format!("{} {}{with} seed {}", cell.base, cell.objective, cell.recipe.seed)
}
