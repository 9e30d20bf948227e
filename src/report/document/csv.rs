//! A grid as CSV, for programs.

use super::Grid;
use crate::error::{Error, Result};

/// A header and its rows.
///
/// Errors: a row that is not as long as the header.
pub fn render(grid: &Grid) -> Result<Vec<u8>> {
    let fault = |e: String| Error::argument("report", "csv", e, "rows that can be written");
    let mut writer = csv::Writer::from_writer(vec![]);
    writer.write_record(grid.columns.iter().map(|column| &column.name)).map_err(|e| fault(e.to_string()))?;
    for row in &grid.rows {
        let row = row.iter().map(|cell| cell.content.to_string());
        writer.write_record(row).map_err(|e| fault(e.to_string()))?;
    }
    writer.into_inner().map_err(|e| fault(e.to_string()))
}
