//! A table as it is published: its files, and the document that the page shows.

use super::document::{Document, Grid, csv, latex, markdown};
use super::publish::Files;
use super::{study, table1, table2, table3};
use crate::Result;
use crate::plan::{Scale, Table};
use crate::run::evidence::Evidence;

/// One table with everything that is written of it.
pub struct Exhibit {
    pub(super) table: Table,
    pub title: String,
    /// One line on what came out.
    pub status: String,
    /// Name and content of each file, the evidence aside.
    pub files: Files,
    pub(super) document: Document,
}

impl Exhibit {
    /// With its Markdown, CSV and LaTeX; `numbers` are tidy.
    pub(super) fn new(
        table: Table,
        scale: Scale,
        title: &str,
        status: String,
        document: Document,
        numbers: &Grid,
    ) -> Result<Self> {
        let (name, scale) = (table.name(), scale.name());
        let files = vec![
            (format!("{name}.md"), markdown::render(&document).into_bytes()),
            (format!("{name}.csv"), csv::render(numbers)?),
            (format!("{name}.tex"), latex::render(&document, &format!("tab:{scale}-{name}")).into_bytes()),
        ];
        Ok(Self { table, title: format!("{title} at the {scale} scale"), status, files, document })
    }
}

/// The table that this evidence is of: the one place where a new table joins the report.
///
/// Errors: evidence that does not make a table, such as runs tested on different pairs.
pub(super) fn exhibit(evidence: &Evidence) -> Result<Exhibit> {
    match evidence.header.table {
        Table::Table1 => table1::exhibit(evidence),
        Table::Table2 => table2::exhibit(&table2::input(evidence)?),
        Table::Table3 => table3::exhibit(evidence),
        Table::Figure2 | Table::Reviews => study::exhibit(evidence),
    }
}
