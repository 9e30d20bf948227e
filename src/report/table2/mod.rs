//! Table 2: preference accuracy of each objective without and with LPC, on each base model.
//!
//! | file | what it does |
//! |---|---|
//! | `summary` | [`input`] reads the records of the runs from the evidence, [`summarise`] estimates every accuracy from them |
//! | `comparisons` | differences with and without LPC, cell by cell and pooled, and what they decide |
//! | `document` | writes the estimates as text: `main_grid` is the table itself, the other functions are the sections below it |
//! | `basis` | what the page shows for a cell that is opened: its seeds, intervals and tests |
//! | `numbers` | the estimates as CSV |
//! | `figure` | the estimates as a picture |
//!
//! [`exhibit`] puts them together. The same records always give the same bytes.

mod basis;
mod comparisons;
mod document;
mod figure;
mod numbers;
mod summary;

pub use figure::figure;
pub use summary::{
    Arm, BaseModel, BaseSummary, Ceiling, Cell, Comparison, Difference, Input, LatentSummary, Pooled,
    Proportion, Row, RunSummary, Summary, input, summarise,
};

use super::claims::Effect;
use super::exhibit::Exhibit;
use super::verdict::Decision;
use crate::Result;
use crate::plan::Table;
use crate::run::evidence::Evidence;

/// The table's files and its part of the page.
///
/// Errors: as [`summarise`].
pub fn exhibit(input: &Input) -> Result<Exhibit> {
    let summary = summarise(input)?;
    let picture = figure(&summary)?;
    let document = document::document(&summary, picture.clone())?;
    let status = document::verdict_line(&summary);
    let numbers = numbers::grid(&summary);
    let mut exhibit = Exhibit::new(Table::Table2, input.scale, "Table 2", status, document, &numbers)?;
    // The page has always listed it third.
    exhibit.files.insert(2, ("table2.svg".into(), picture.into_bytes()));
    Ok(exhibit)
}

/// What LPC changes, objective by objective: in the mean over its cells, where it has several.
///
/// Errors: as [`input`] and [`summarise`].
pub(super) fn effects(evidence: &Evidence) -> Result<Vec<Effect>> {
    let records = input(evidence)?;
    let summary = summarise(&records)?;
    let effect = |base: &str, objective: &str, decision: Decision| Effect {
        base: base.into(),
        objective: objective.into(),
        column: String::new(),
        decision,
    };
    let pooled = |row: &Row<'_>| summary.pooled.iter().any(|p| p.objective == Some(row.objective));
    let cells = summary.rows.iter().filter(|row| !pooled(row));
    let cells =
        cells.filter_map(|row| Some(effect(row.base, row.objective, row.comparison.as_ref()?.decision)));
    let means = summary.pooled.iter().filter_map(|p| Some(effect("all", p.objective?, p.decision)));
    Ok(cells.chain(means).collect())
}
