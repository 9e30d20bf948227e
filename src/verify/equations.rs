//! The tables of `paper/equations.md`.

use crate::error::{Error, Place, Result};
use std::path::Path;

/// One row: an equation, where it is computed, and which tests check it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub equation: String,
    pub says: String,
    /// `spec::marginal::marginal_loss`
    pub spec: Vec<String>,
    pub tensor: Vec<String>,
    /// `properties::bound::the_marginal_is_its_definition`; the table leaves `properties::` out.
    pub checks: Vec<String>,
    pub status: String,
    pub found: String,
}

/// Functions of `spec` without a twin, and the reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Alone {
    pub functions: Vec<String>,
    pub why: String,
}

/// Where the second table begins.
const SECOND: &str = "without a twin:";

/// Both tables of the file.
///
/// Errors: the file cannot be read; a row of too many or too few cells, with its line.
pub fn read(path: &Path) -> Result<(Vec<Row>, Vec<Alone>)> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let place = |line: usize| Place::file(path).line(line + 1);
    let (mut rows, mut alone) = (Vec::new(), Vec::new());
    // A table's first row is its head.
    let (mut head, mut second) = (true, false);
    for (line, content) in text.lines().enumerate() {
        second |= content.contains(SECOND);
        if !content.starts_with("| ") {
            head |= content.is_empty();
            continue;
        }
        if std::mem::take(&mut head) {
            continue;
        }
        let cells: Vec<&str> = content.trim_matches('|').split(" | ").map(str::trim).collect();
        match cells[..] {
            [equation, says, spec, tensor, checks, status, found] if !second => rows.push(Row {
                equation: equation.into(),
                says: says.into(),
                spec: names(spec),
                tensor: names(tensor),
                checks: names(checks).into_iter().map(in_a_suite).collect(),
                status: status.into(),
                found: found.into(),
            }),
            [functions, why] if second => alone.push(Alone { functions: names(functions), why: why.into() }),
            _ => {
                let expected = if second { "2 cells" } else { "7 cells" };
                return Err(Error::input(place(line), expected, cells.len()));
            }
        }
    }
    Ok((rows, alone))
}

/// The names in a cell, without their quotes.
fn names(cell: &str) -> Vec<String> {
    cell.split_whitespace().filter(|w| *w != "-").map(|word| word.trim_matches('`').to_string()).collect()
}

fn in_a_suite(name: String) -> String {
    let named = super::suites::SUITES.iter().any(|suite| name.starts_with(&format!("{suite}::")));
    if named { name } else { format!("properties::{name}") }
}
