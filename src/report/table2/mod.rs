//! Table 2: preference accuracy of each objective without and with LPC, on each base model.
//!
//! | file | what it does |
//! |---|---|
//! | `summary` | [`input`] reads the records of the runs from the evidence, [`summarise`] estimates every accuracy, difference and p-value from them |
//! | `document` | writes the estimates as text: `main_grid` is the table itself, the other functions are the sections below it |
//! | `basis` | what the page shows for a cell that is opened: its seeds, intervals and tests |
//! | `numbers` | the estimates as CSV |
//! | `figure` | the estimates as a picture |
//!
//! [`exhibit`] puts them together. The same records always give the same bytes.

mod basis;
mod document;
mod figure;
mod numbers;
mod summary;

pub use figure::figure;
pub use summary::{
    Arm, BaseModel, BaseSummary, Ceiling, Cell, Comparison, Input, LatentSummary, Proportion, Row,
    RunSummary, SIGNIFICANCE, Summary, Verdict, input, summarise,
};

use super::claims::Effect;
use super::exhibit::Exhibit;
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

/// What LPC changes, objective by objective.
///
/// Errors: as [`input`] and [`summarise`].
pub(super) fn effects(evidence: &Evidence) -> Result<Vec<Effect>> {
    let records = input(evidence)?;
    let effect = |row: &Row<'_>| {
        let e = row.comparison.as_ref()?.difference;
        Some(Effect {
            base: row.base.into(),
            objective: row.objective.into(),
            column: String::new(),
            mean: e.mean,
            standard_error: e.standard_error,
            p_value: e.p_value,
        })
    };
    Ok(summarise(&records)?.rows.iter().filter_map(effect).collect())
}
