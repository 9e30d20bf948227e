//! A table as it is published: its files, and what the page shows and leads back to runs.

use super::{study, table1, table2, table3};
use crate::Result;
use crate::plan::Table;
use crate::run::evidence::Evidence;

/// One table with everything that is written of it.
pub struct Exhibit {
    pub table: Table,
    pub title: String,
    /// One line on what came out.
    pub status: String,
    /// Name and content of each file, the evidence aside.
    pub files: Vec<(String, Vec<u8>)>,
    /// For the page.
    pub sections: Vec<Section>,
}

/// A heading with what stands under it.
pub struct Section {
    pub title: String,
    pub paragraphs: Vec<String>,
    pub grids: Vec<Grid>,
    /// An SVG of our own making.
    pub figure: Option<String>,
}

/// A table of cells; columns are aligned by `alignment`, a character each: `l` or `r`.
pub struct Grid {
    pub caption: String,
    pub alignment: String,
    pub header: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

#[derive(Clone)]
pub struct Cell {
    pub text: String,
    pub panel: Option<Panel>,
}

/// What a cell rests on.
#[derive(Clone)]
pub struct Panel {
    pub title: String,
    /// How the number comes about, in a sentence or two.
    pub how: String,
    pub facts: Vec<(String, String)>,
    /// Positions in the evidence's runs.
    pub runs: Vec<usize>,
    /// What the list of records is first filtered by.
    pub filter: String,
}

impl Cell {
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), panel: None }
    }

    pub fn leading_to(text: impl Into<String>, panel: Panel) -> Self {
        Self { text: text.into(), panel: Some(panel) }
    }
}

/// The table that this evidence is of: the one place where a new table joins the report.
///
/// Errors: evidence that does not make a table, such as runs tested on different pairs.
pub fn exhibit(evidence: &Evidence) -> Result<Exhibit> {
    match evidence.header.table {
        Table::Table1 => table1::exhibit(evidence),
        Table::Table2 => table2::exhibit(evidence),
        Table::Table3 => table3::exhibit(evidence),
        Table::Figure2 | Table::Reviews => study::exhibit(evidence),
    }
}
