//! Table 2: preference accuracy of each objective without and with LPC, on each base model.
//!
//! [`summarise`] turns the records of runs into estimates, [`render`] sets them. Both are pure: the same
//! records give the same bytes.

mod basis;
mod document;
mod figure;
mod numbers;
mod summary;

pub use figure::figure;
pub use summary::*;

use super::claims::Effect;
use super::document::{csv, markdown};
use super::exhibit::Exhibit;
use crate::Result;
use crate::run::evidence::Evidence;

/// The table as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    pub markdown: String,
    /// Tidy: a row a cell and statistic.
    pub csv: Vec<u8>,
}

/// The table from the records of runs.
///
/// Errors: see [`summarise`].
pub fn render(input: &Input) -> Result<Rendered> {
    let summary = summarise(input)?;
    let document = document::document(&summary, figure(&summary)?)?;
    Ok(Rendered { markdown: markdown::render(&document), csv: csv::render(&numbers::grid(&summary))? })
}

/// The table's files and its part of the page.
///
/// Errors: evidence that does not give back its records; as [`summarise`].
pub(super) fn exhibit(evidence: &Evidence) -> Result<Exhibit> {
    let input = summary::input(evidence)?;
    let summary = summarise(&input)?;
    let picture = figure(&summary)?;
    let document = document::document(&summary, picture.clone())?;
    let status = document::verdict_line(&summary);
    let mut exhibit = Exhibit::new(evidence, "Table 2", status, document, &numbers::grid(&summary))?;
    // The page has always listed it third.
    exhibit.files.insert(2, ("table2.svg".into(), picture.into_bytes()));
    Ok(exhibit)
}

/// What LPC changes, objective by objective.
///
/// Errors: as [`exhibit`].
pub(super) fn effects(evidence: &Evidence) -> Result<Vec<Effect>> {
    let input = summary::input(evidence)?;
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
    Ok(summarise(&input)?.rows.iter().filter_map(effect).collect())
}
