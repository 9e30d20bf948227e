//! The evidence of a published table, small enough to be committed beside it: the manifest and the test records
//! of every run, and its training curves with fewer points.
//!
//! `<table>.evidence.jsonl.gz` holds JSON lines: a header, columns of records (equal columns only once), and
//! runs. The records of each run can be rebuilt byte for byte; their SHA-256 is in the manifest.

mod add;
mod curves;
mod file;
mod header;
mod records;

pub use curves::curves;
pub use header::{Base, CodesOfRun, Header, NotRun};

use crate::config::Recipe;
use crate::error::{Error, Result};
use crate::run::manifest::Manifest;
use crate::run::store::recipe_text;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The evidence of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    pub header: Header,
    columns: Vec<Column>,
    pub runs: Vec<Run>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub base: String,
    pub objective: String,
    pub latent: bool,
    pub manifest: Manifest<Value>,
    /// For each field of [`Record`], in its order, its column. Null if it follows from the other fields.
    pub records: Vec<(String, Option<usize>)>,
    /// Columns of what the table itself measured, with one value for each example.
    pub measured: Vec<(String, usize)>,
    pub curves: Vec<(String, Vec<f32>)>,
}

/// One field of all records of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Column {
    /// Numbers that single precision holds exactly. They are shorter when written as f32.
    F32(Vec<f32>),
    Json(Vec<Value>),
}

impl Evidence {
    pub fn new(header: Header) -> Self {
        Self { header, columns: vec![], runs: vec![] }
    }

    /// The runs of a cell, by seed.
    pub fn cell<'a>(&'a self, base: &str, objective: &str, latent: bool) -> Vec<&'a Run> {
        let of = |r: &&Run| r.base == base && r.objective == objective && r.latent == latent;
        let mut runs: Vec<&Run> = self.runs.iter().filter(of).collect();
        runs.sort_by_key(|r| r.seed());
        runs
    }
}

impl Column {
    fn of(values: Vec<Value>) -> Self {
        let single = |v: &Value| {
            let wide = v.is_f64().then(|| v.as_f64()).flatten()?;
            (f64::from(wide as f32).to_bits() == wide.to_bits()).then_some(wide as f32)
        };
        match values.iter().map(single).collect() {
            Some(numbers) => Self::F32(numbers),
            None => Self::Json(values),
        }
    }
}

impl Run {
    /// 0 if the recipe has no seed. All of our recipes have one.
    pub fn seed(&self) -> u64 {
        self.manifest.recipe["seed"].as_u64().unwrap_or(0)
    }

    /// The recipe as this version reads it.
    ///
    /// Errors: the recipe is of a version with other keys.
    pub fn recipe(&self) -> Result<Recipe> {
        serde_json::from_value(self.manifest.recipe.clone()).map_err(|e| {
            Error::argument(
                "evidence",
                format!("recipe of run {}", self.manifest.run),
                e,
                "one of this version",
            )
        })
    }

    /// `recipe.toml` of the run.
    ///
    /// Errors: as [`recipe_text`].
    pub fn recipe_text(&self) -> Result<String> {
        recipe_text(&without_nulls(self.manifest.recipe.clone()))
    }
}

/// Leaves out nulls: TOML has none, and an absent key means the same.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        ),
        other => other,
    }
}
