//! `CHANGES.md` beside the folders of reports: a line whenever a published number moved, and why.
//!
//! A table's numbers are known by a short hash of its CSV without run ids, which move with every edit of
//! the code; the last line of a table must hold the hash of what is published now.

use crate::error::{Error, Result};
use crate::files::{sha256, write_atomic};
use crate::plan::Table;
use std::path::{Path, PathBuf};

const TITLE: &str = "# Published numbers that moved\n\nA line whenever a number in a `.csv` of `reports/<scale>` changes, newest \
                     last: the table, the hash of its numbers (run ids aside), the reason. `lpc report FOLDER --because REASON` \
                     adds it; tests and `lpc audit` fail without it.\n\n";

/// `CHANGES.md` of the folder that holds `folder`.
pub fn file(folder: &Path) -> PathBuf {
    folder.parent().unwrap_or(Path::new("")).join("CHANGES.md")
}

/// Twelve hexadecimal digits that stand for the numbers of a table's CSV: SHA-256 of its rows without the
/// columns of run ids.
///
/// Errors: not CSV.
pub fn fingerprint(csv: &[u8]) -> Result<String> {
    let fault = |e: csv::Error| Error::argument("fingerprint", "table", e, "CSV");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(csv);
    let rows = reader.records().collect::<Result<Vec<_>, _>>().map_err(fault)?;
    let ids = |name: &str| name == "run_ids" || name == "run_id";
    let kept: Vec<bool> =
        rows.first().map_or(vec![], |header| header.iter().map(|name| !ids(name)).collect());
    let mut text = String::new();
    for row in &rows {
        let fields = row.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(field, _)| field);
        text += &fields.collect::<Vec<_>>().join("\u{1f}");
        text.push('\n');
    }
    Ok(sha256(text.as_bytes())[..12].to_string())
}

/// The tables of `folder` with the hash of their numbers.
///
/// Errors: a table that cannot be read.
fn published(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut tables = vec![];
    let scale = folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    for table in Table::ALL {
        let path = folder.join(format!("{}.csv", table.name()));
        if path.try_exists().map_err(Error::io(&path))? {
            let csv = std::fs::read(&path).map_err(Error::io(&path))?;
            tables.push((format!("{scale}/{}", table.name()), fingerprint(&csv)?));
        }
    }
    Ok(tables)
}

/// The hash in the last line of `table` (`toy/table2`), if there is one.
///
/// ```
/// let text = "- `toy/table2` `0123456789ab`: first run\n";
/// assert_eq!(lpc::report::changes::recorded(text, "toy/table2"), Some("0123456789ab"));
/// ```
pub fn recorded<'a>(text: &'a str, table: &str) -> Option<&'a str> {
    let start = format!("- `{table}` `");
    text.lines()
        .filter_map(|line| line.strip_prefix(&start)?.split_once("`: "))
        .map(|(hash, _)| hash)
        .next_back()
}

/// Adds a line for every table of `folder` whose numbers are not those last recorded; returns the lines.
///
/// Errors: an empty reason, a file that cannot be read or written.
pub fn record(folder: &Path, reason: &str) -> Result<Vec<String>> {
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    if reason.is_empty() {
        return Err(Error::argument("report", "--because", "nothing", "a reason"));
    }
    let path = file(folder);
    let mut text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => TITLE.into(),
        Err(e) => return Err(Error::io(&path)(e)),
    };
    let mut lines = vec![];
    for (table, hash) in published(folder)? {
        if recorded(&text, &table) != Some(hash.as_str()) {
            let line = format!("- `{table}` `{hash}`: {reason}");
            text += &format!("{line}\n");
            lines.push(line);
        }
    }
    if !lines.is_empty() {
        write_atomic(&path, text.as_bytes())?;
    }
    Ok(lines)
}

/// Tables of `folder` whose numbers are not those last recorded: the table, and what is wrong.
///
/// Errors: a table or `CHANGES.md` that cannot be read. Without a `CHANGES.md` nothing is recorded.
pub fn unrecorded(folder: &Path) -> Result<Vec<(String, String)>> {
    let path = file(folder);
    let text = match std::fs::read_to_string(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.map_err(Error::io(&path))?,
    };
    let mut moved = vec![];
    for (table, hash) in published(folder)? {
        match recorded(&text, &table) {
            Some(last) if last == hash => {}
            Some(last) => moved.push((table, format!("its numbers are {hash}, the last line says {last}"))),
            None => moved.push((table, format!("its numbers are {hash}, no line says why"))),
        }
    }
    Ok(moved)
}
