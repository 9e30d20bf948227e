//! The plan of a table, as its evidence states it.

use crate::plan::Table;
use crate::run::codes::Codes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was planned, whether or not all of it ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub format: u32,
    pub table: Table,
    pub scale: crate::plan::Scale,
    /// Whether the run matrix is another than the one that ships with the scale.
    pub own: bool,
    pub notes: Vec<String>,
    pub seeds: Vec<u64>,
    pub bases: Vec<Base>,
    pub objectives: Vec<String>,
    /// Everything else that the table's numbers depend on.
    pub settings: BTreeMap<String, f64>,
    /// A study's recipe: its arms, questions and rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_run: Vec<NotRun>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes: Option<CodesOfRun>,
}

/// How one of the runs uses its codes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodesOfRun {
    pub run: String,
    pub codes: Codes,
}

/// A planned run that did not finish, or all runs of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotRun {
    pub base: String,
    pub objective: String,
    pub latent: bool,
    /// None means every seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    pub why: String,
}

impl Header {
    /// The notes, and what did not run and why.
    pub fn remarks(&self) -> Vec<String> {
        [self.notes.clone(), self.failures()].concat()
    }

    /// What did not run and why.
    pub fn failures(&self) -> Vec<String> {
        let failure = |n: &NotRun| {
            // An arm of a study is called by its name.
            let latent = if n.latent && self.plan.is_none() { " w. LPC" } else { "" };
            let seed = n.seed.map_or(String::new(), |seed| format!(", seed {seed}"));
            format!("Not run: {}, {}{latent}{seed}: {}.", n.base, n.objective, n.why)
        };
        self.not_run.iter().map(failure).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    pub name: String,
    /// The paper's column this model stands for.
    pub paper: Option<String>,
}
