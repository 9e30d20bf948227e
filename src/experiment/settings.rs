//! What the experiments behind all tables share: their settings, what they return, the header of their
//! evidence, and the name of a cell.

use crate::Result;
use crate::config::{ModelSource, Recipe};
use crate::experiment::dataset::TextPairs;
use crate::experiment::prepared::{Prepared, Where};
use crate::plan::matrix::{Matrix, MatrixCell, Model};
use crate::plan::{Scale, Table};
use crate::progress::Progress;
use crate::report::publish::publish;
use crate::report::verdict::MARGIN;
use crate::run::evidence::{Base, Evidence, Header};
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

/// The header of evidence of a run matrix, before anything is measured.
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
        settings: matrix.margin_points.map(|points| (MARGIN.to_string(), points)).into_iter().collect(),
        plan: None,
        not_run: vec![],
        codes: None,
    }
}

/// A cell of the matrix, for progress bars: its base model, objective, side and seed.
pub(super) fn label(cell: &MatrixCell) -> String {
    let with = if cell.latent { " w. LPC" } else { "" };
    format!("{} {}{with} seed {}", cell.base, cell.objective, cell.recipe.seed)
}
