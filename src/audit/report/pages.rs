//! Tables, figures and pages rendered again and compared byte for byte; a difference is led to its cell.

use super::Audit;
use std::path::Path;

/// At most so many cells of a file are named.
const NAMED: usize = 20;

pub(super) fn check(audit: &mut Audit, folder: &Path, files: &[(String, Vec<u8>)]) {
    let mut same = 0;
    for (name, expected) in files {
        let path = folder.join(name);
        match std::fs::read(&path) {
            Err(e) => audit.difference(path.display(), e),
            Ok(found) if found == *expected => same += 1,
            Ok(found) => {
                let cells = differences(name, expected, &found);
                for (cell, what) in cells.iter().take(NAMED) {
                    audit.difference(format!("{}: {cell}", path.display()), what);
                }
                if cells.len() > NAMED {
                    audit.difference(path.display(), format!("{} further differences", cells.len() - NAMED));
                }
            }
        }
    }
    audit
        .checked
        .push(format!("{same} of {} tables, figures and pages are what the evidence makes", files.len()));
}

/// (cell or line, what) of every line that differs.
fn differences(name: &str, expected: &[u8], found: &[u8]) -> Vec<(String, String)> {
    let (expected, found) = (String::from_utf8_lossy(expected), String::from_utf8_lossy(found));
    let mut list = vec![];
    let (mut header, mut above) = ("", "");
    let (mut right, mut wrong) = (expected.split('\n'), found.split('\n'));
    for number in 1.. {
        let (right, wrong) = match (right.next(), wrong.next()) {
            (None, None) => break,
            pair => pair,
        };
        let line = format!("line {number}");
        match (right, wrong) {
            (Some(right), Some(wrong)) => {
                if number == 1 && name.ends_with(".csv") {
                    header = right;
                } else if right.starts_with("| ---") {
                    // In Markdown the rule stands below a table's header, whatever the columns are called.
                    header = above;
                }
                above = right;
                if right != wrong {
                    list.push(cell(name, header, right, wrong, line));
                }
            }
            (Some(_), None) => list.push((line, "missing".into())),
            (None, _) => list.push((line, "not in what the evidence makes".into())),
        }
    }
    if list.is_empty() {
        // Bytes that are no text, or line ends: still a difference.
        list.push(("bytes".into(), "not what the evidence makes".into()));
    }
    list
}

/// The cell of a table by its row and column, elsewhere the line and what stands around the change.
fn cell(name: &str, header: &str, right: &str, wrong: &str, line: String) -> (String, String) {
    let split = |text: &str| -> Vec<String> {
        if name.ends_with(".csv") {
            let mut reader =
                csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let fields = |row: csv::StringRecord| row.iter().map(String::from).collect();
            reader.records().next().and_then(Result::ok).map_or(vec![], fields)
        } else if text.starts_with('|') {
            text.trim_matches('|').split(" | ").map(|cell| cell.trim().to_string()).collect()
        } else {
            vec![]
        }
    };
    let (columns, expected, found) = (split(header), split(right), split(wrong));
    if expected.len() > 1 && expected.len() == found.len() {
        let other = expected.iter().zip(&found).position(|(a, b)| a != b);
        if let Some(i) = other {
            let labels: Vec<&str> =
                expected[..i].iter().map(String::as_str).filter(|c| !c.is_empty()).collect();
            let column = columns.get(i).map_or(String::new(), |c| format!(", {c}"));
            let place = format!("{line}: {}{column}", labels.join(", "));
            return (place, format!("`{}`, the evidence gives `{}`", found[i], expected[i]));
        }
    }
    let (expected, found) = around(right, wrong);
    (line, format!("`{found}`, the evidence gives `{expected}`"))
}

/// Some characters from shortly before the first difference.
fn around(right: &str, wrong: &str) -> (String, String) {
    let same = right.chars().zip(wrong.chars()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| text.chars().skip(same.saturating_sub(12)).take(40).collect();
    (part(right), part(wrong))
}
