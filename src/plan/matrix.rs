//! The run matrix of a table: what all cells share, and what each varies.

use crate::Result;
use crate::config::{
    DataSource, Evaluation, Latent, ModelSource, Objective, Recipe, Training, Truncation, from_toml,
};
use crate::error::{Error, Place};
use crate::plan::Scale;
use serde::Deserialize;
use std::path::Path;

const TOY: &str = include_str!("../../paper/recipes/table2-toy.toml");
const SMALL: &str = include_str!("../../paper/recipes/table2-small.toml");
const PAPER: &str = include_str!("../../paper/recipes/table2-paper.toml");

/// models × objectives × {without, with LPC} × seeds. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    pub seeds: Vec<u64>,
    pub models: Vec<Model>,
    pub data: DataSource,
    pub truncation: Truncation,
    pub objectives: Vec<NamedObjective>,
    /// The latent of the cells with LPC.
    pub latent: Latent,
    pub training: Training,
    pub evaluation: Evaluation,
    /// Smaller differences do not matter: stated before the runs, in percentage points.
    #[serde(default)]
    pub margin_points: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub name: String,
    /// The paper's column that this model stands for.
    pub paper: Option<String>,
    pub source: ModelSource,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedObjective {
    pub name: String,
    pub objective: Objective,
}

/// One run of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixCell {
    pub base: String,
    pub objective: String,
    pub latent: bool,
    pub recipe: Recipe,
}

/// Of a margin of equivalence.
pub(super) fn above_0(points: f64) -> bool {
    points.is_finite() && points > 0.0
}

impl Matrix {
    /// The matrix that ships with the harness for a scale.
    pub fn built_in(scale: Scale) -> Result<Self> {
        match scale {
            Scale::Toy => Self::parse(TOY, Path::new("paper/recipes/table2-toy.toml")),
            Scale::Small => Self::parse(SMALL, Path::new("paper/recipes/table2-small.toml")),
            Scale::Paper => Self::parse(PAPER, Path::new("paper/recipes/table2-paper.toml")),
        }
    }

    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&std::fs::read_to_string(path).map_err(Error::io(path))?, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        let matrix: Self = from_toml(text, path, "a valid run matrix")?;
        let place = |field: &str| Place::file(path).field(field);
        for (field, empty) in [
            ("seeds", matrix.seeds.is_empty()),
            ("models", matrix.models.is_empty()),
            ("objectives", matrix.objectives.is_empty()),
        ] {
            if empty {
                return Err(Error::input(place(field), "at least one", "none"));
            }
        }
        let repeated = |names: Vec<String>| {
            let twice = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
            twice.map(|(_, name)| name.clone())
        };
        for (field, names) in [
            ("seeds", matrix.seeds.iter().map(u64::to_string).collect()),
            ("models.name", matrix.models.iter().map(|m| m.name.clone()).collect()),
            ("objectives.name", matrix.objectives.iter().map(|o| o.name.clone()).collect()),
        ] {
            if let Some(name) = repeated(names) {
                return Err(Error::input(place(field), "each once", format!("{name} twice")));
            }
        }
        if let Some(points) = matrix.margin_points.filter(|points| !above_0(*points)) {
            return Err(Error::input(place("margin_points"), "above 0", points));
        }
        if matrix.latent.codes().is_none() {
            return Err(Error::input(place("latent"), "the latent of the cells with LPC", "none"));
        }
        matrix.cells().iter().try_for_each(|cell| cell.recipe.validate())?;
        Ok(matrix)
    }

    /// The same experiment: wherever its model and data files lie, however much memory it takes, and with more
    /// seeds than `self` too.
    pub fn same_experiment(&self, other: &Self) -> bool {
        let placeless = |matrix: &Self| {
            let mut matrix = matrix.clone();
            for model in &mut matrix.models {
                match &mut model.source {
                    ModelSource::Gguf { path }
                    | ModelSource::Folder { path }
                    | ModelSource::Random { path, .. } => *path = Default::default(),
                    ModelSource::World { .. } | ModelSource::Hub { .. } => {}
                }
            }
            if let DataSource::Jsonl { folder, .. } = &mut matrix.data {
                *folder = Default::default();
            }
            matrix.training.micro_batch_size = 1;
            matrix.training.recompute = false;
            matrix.seeds = vec![];
            matrix
        };
        other.seeds.starts_with(&self.seeds) && placeless(self) == placeless(other)
    }

    /// Every run, seed by seed, so that an interrupted table has whole rows.
    pub fn cells(&self) -> Vec<MatrixCell> {
        let mut cells = vec![];
        for &seed in &self.seeds {
            for model in &self.models {
                for NamedObjective { name, objective } in &self.objectives {
                    for latent in [Latent::None {}, self.latent] {
                        cells.push(MatrixCell {
                            base: model.name.clone(),
                            objective: name.clone(),
                            latent: latent != Latent::None {},
                            recipe: Recipe {
                                seed,
                                template_date: None,
                                model: model.source.clone(),
                                data: self.data.clone(),
                                truncation: self.truncation.clone(),
                                objective: *objective,
                                latent,
                                training: self.training.clone(),
                                evaluation: self.evaluation,
                            },
                        });
                    }
                }
            }
        }
        cells
    }
}
