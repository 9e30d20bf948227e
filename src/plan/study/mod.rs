//! What a study asks, the arms that answer it, and the rules of its verdicts: all stated in its
//! recipe before anything runs.

mod cells;

pub use cells::Planned;

use crate::config::from_toml;
use crate::error::{Error, Place, Result};
use crate::plan::matrix::above_0;
use crate::plan::{Scale, Table};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use toml::Table as Keys;

/// Arms that vary one cell of a scale's run matrix: the cell with LPC of one objective on its first
/// model, so that arms which vary nothing are table 2's own runs. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    pub title: String,
    pub seeds: Vec<u64>,
    /// Of the matrix.
    pub objective: String,
    /// Smaller differences do not matter: stated before the runs, in percentage points of accuracy.
    #[serde(default)]
    pub margin_points: Option<f64>,
    /// The arm whose latents are laid out in two dimensions, those of the first seed's run.
    #[serde(default)]
    pub map: Option<String>,
    /// The arm whose codes are read, those of the first seed's run.
    #[serde(default)]
    pub codes: Option<String>,
    /// What arms on the second data set run on where the matrix has the built-in world's.
    #[serde(default)]
    pub second_world: Option<SecondWorld>,
    pub arms: Vec<Arm>,
    pub questions: Vec<Question>,
}

/// The built-in world, drawn anew.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondWorld {
    pub seed: u64,
}

/// The pairs that an arm trains and is tested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairs {
    #[default]
    Matrix,
    /// Another data set of the same kind: the second world, or the files of `--second-data`.
    Second,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    pub name: String,
    #[serde(default)]
    pub pairs: Pairs,
    /// Keys of the recipe that differ. A table that names another `mode` or `kind` takes the whole
    /// table's place.
    #[serde(default)]
    pub set: Keys,
    /// Scales that can run it; every one where none is named.
    #[serde(default)]
    pub scales: Vec<Scale>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub id: String,
    pub asks: String,
    pub tests: Vec<Test>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    pub id: String,
    pub claim: String,
    pub rule: Rule,
}

/// Of an arm in a contrast: beyond it nobody means accuracies, and squares must not overflow.
const LARGEST_WEIGHT: f64 = 100.0;

/// When a claim is supported. A contrast weighs the arms' accuracies; its weights add up to 0, and it
/// is paired by seed and test pair.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule {
    /// The contrast is above 0.
    Positive { contrast: BTreeMap<String, f64> },
    /// The contrast lies within ± so many points.
    Within { contrast: BTreeMap<String, f64>, points: f64 },
    /// More of the map's points have the source that most of their neighbours have than before the first step.
    Clusters {},
}

impl Rule {
    /// The arms it needs.
    pub fn arms(&self) -> Vec<&str> {
        match self {
            Self::Positive { contrast } | Self::Within { contrast, .. } => {
                contrast.keys().map(String::as_str).collect()
            }
            Self::Clusters {} => vec![],
        }
    }
}

impl Study {
    /// The recipe that ships with the harness. Errors: a table that is no study.
    pub fn built_in(table: Table) -> Result<Self> {
        Self::parse(Self::built_in_text(table)?, Path::new(&format!("paper/recipes/{}.toml", table.name())))
    }

    /// The same questions of the same arms. Beyond the toy scale a study has as many seeds as hours allow, and
    /// its captions say how many.
    pub fn same_experiment(&self, other: &Self, scale: Scale) -> bool {
        let seedless = |study: &Self| Self { seeds: vec![], ..study.clone() };
        (scale != Scale::Toy || self.seeds == other.seeds) && seedless(self) == seedless(other)
    }

    /// Its text, which evidence holds.
    pub fn built_in_text(table: Table) -> Result<&'static str> {
        match table {
            Table::Figure2 => Ok(include_str!("../../../paper/recipes/figure2.toml")),
            Table::Reviews => Ok(include_str!("../../../paper/recipes/reviews.toml")),
            Table::Table1 | Table::Table2 | Table::Table3 => {
                Err(Error::argument("study", "table", table.name(), "figure2 or reviews"))
            }
        }
    }

    /// Errors: what is wrong, with file and line or key.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let study: Self = from_toml(text, path, "a valid study")?;
        let fault = |field: String, expected: &str, got: String| {
            Err(Error::input(Place::file(path).field(field), expected, got))
        };
        if let Some(points) = study.margin_points.filter(|points| !above_0(*points)) {
            return fault("margin_points".into(), "above 0", points.to_string());
        }
        if study.seeds.is_empty() {
            return fault("seeds".into(), "at least one", "none".into());
        }
        let mut names: Vec<&str> = study.arms.iter().map(|a| a.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
            return fault("arms.name".into(), "each once", format!("{} twice", twice[0]));
        }
        let known = |name: &str| names.binary_search(&name).is_ok();
        if let Some(arm) = study.arms.iter().find(|a| a.pairs == Pairs::Second)
            && study.second_world.is_none()
        {
            return fault(
                "second_world".into(),
                "its seed, for an arm on the second data set",
                arm.name.clone(),
            );
        }
        for (key, arm) in [("map", &study.map), ("codes", &study.codes)] {
            if let Some(arm) = arm.as_deref().filter(|arm| !known(arm)) {
                return fault(key.into(), "an arm of the study", arm.into());
            }
        }
        let mut ids = vec![];
        for test in study.questions.iter().flat_map(|q| &q.tests) {
            let field = |key: &str| format!("test {}: {key}", test.id);
            if ids.contains(&&test.id) {
                return fault(field("id"), "given once", test.id.clone());
            }
            ids.push(&test.id);
            if let Some(arm) = test.rule.arms().into_iter().find(|arm| !known(arm)) {
                return fault(field("rule"), "arms of the study", arm.into());
            }
            if let Rule::Within { points, .. } = test.rule
                && !above_0(points)
            {
                return fault(field("points"), "above 0", points.to_string());
            }
            if test.rule == (Rule::Clusters {}) && study.map.is_none() {
                return fault(field("rule"), "a study with a map", "none".into());
            }
            if let Rule::Positive { contrast } | Rule::Within { contrast, .. } = &test.rule {
                let sum: f64 = contrast.values().sum();
                if !sum.is_finite() || sum.abs() > 1e-9 || contrast.values().all(|w| *w == 0.0) {
                    return fault(field("contrast"), "weights that add up to 0", sum.to_string());
                }
                if let Some(weight) = contrast.values().find(|w| w.abs() > LARGEST_WEIGHT) {
                    return fault(field("contrast"), "weights of at most 100", weight.to_string());
                }
            }
        }
        Ok(study)
    }
}

#[cfg(test)]
mod tests;
