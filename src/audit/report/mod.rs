//! A folder of reports, led back to its evidence: files → cells → records → run → recipe → data → code.

mod chain;
mod code;
mod pages;
mod rows;

use crate::plan::Table;
use crate::report::changes;
use crate::report::publish::{self, SUMS};
use crate::run::evidence::Evidence;
use std::fmt;
use std::path::Path;

/// What an audit found and what it looked at.
pub struct Audit {
    pub findings: Vec<Finding>,
    /// What was checked, and what could not be; a line each.
    pub checked: Vec<String>,
}

/// Something a reader of the report must know.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub severity: Severity,
    /// File, run or cell.
    pub place: String,
    pub what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Two things that must be equal are not.
    Difference,
    /// Nothing contradicts itself, but the number deserves less trust.
    Flag,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Difference => "difference",
            Severity::Flag => "flag",
        };
        write!(f, "{severity}: {}: {}", self.place, self.what.replace('\n', " "))
    }
}

impl Audit {
    /// How many findings are differences.
    pub fn differences(&self) -> usize {
        self.findings.iter().filter(|f| f.severity == Severity::Difference).count()
    }

    fn difference(&mut self, place: impl fmt::Display, what: impl fmt::Display) {
        self.find(Severity::Difference, place, what);
    }

    fn flag(&mut self, place: impl fmt::Display, what: impl fmt::Display) {
        self.find(Severity::Flag, place, what);
    }

    fn find(&mut self, severity: Severity, place: impl fmt::Display, what: impl fmt::Display) {
        self.findings.push(Finding { severity, place: place.to_string(), what: what.to_string() });
    }
}

/// Audits `folder`; run folders in `runs` are compared where they are there. Whatever is wrong is a
/// finding: nothing stops the audit.
pub fn audit(folder: &Path, runs: &Path) -> Audit {
    let mut audit = Audit { findings: vec![], checked: vec![] };
    sums(&mut audit, folder);
    let mut tables: Vec<(Evidence, Vec<u8>)> = vec![];
    let mut whole = true;
    for table in Table::ALL {
        let path = folder.join(table.evidence_file());
        let Ok(bytes) = std::fs::read(&path) else { continue };
        match Evidence::parse(&bytes, &path) {
            Ok(evidence) if evidence.header.table == table => tables.push((evidence, bytes)),
            Ok(evidence) => {
                whole = false;
                audit.difference(path.display(), format!("holds {}", evidence.header.table.name()));
            }
            Err(e) => {
                whole = false;
                audit.difference(path.display(), e);
            }
        }
    }
    if tables.is_empty() {
        audit.difference(folder.display(), "no evidence (*.evidence.jsonl.gz) that can be read");
        return audit;
    }
    for (evidence, _) in &tables {
        chain::check(&mut audit, evidence, runs);
        rows::check(&mut audit, evidence);
    }
    if whole {
        match publish::render(&tables) {
            Ok((_, files)) => pages::check(&mut audit, folder, &files),
            Err(e) => audit.difference(folder.display(), format!("the evidence makes no table: {e}")),
        }
    }
    if tables.iter().all(|(evidence, _)| !evidence.header.own) {
        match changes::unrecorded(folder) {
            Ok(moved) => moved.into_iter().for_each(|(table, what)| {
                let path = changes::file(folder);
                audit.difference(path.display(), format!("{table}: {what}"));
            }),
            Err(e) => audit.difference(folder.display(), e),
        }
    }
    audit
}

/// Every file of the folder against the sums, and the sums against themselves.
fn sums(audit: &mut Audit, folder: &Path) {
    let path = folder.join(SUMS);
    let (stated, actual) = match (std::fs::read(&path), publish::sums(folder)) {
        (Ok(stated), Ok(actual)) => (stated, actual),
        (Err(e), _) => return audit.difference(path.display(), e),
        (_, Err(e)) => return audit.difference(folder.display(), e),
    };
    if stated == actual.as_bytes() {
        let files = actual.lines().count();
        return audit.checked.push(format!("{files} files have the sums that {SUMS} states"));
    }
    let stated = String::from_utf8_lossy(&stated).into_owned();
    let names = |text: &str| -> Vec<(String, String)> {
        let split =
            |line: &str| line.split_once("  ").map(|(hash, name)| (name.to_string(), hash.to_string()));
        text.lines().filter_map(split).collect()
    };
    let (stated, actual) = (names(&stated), names(&actual));
    let before = audit.findings.len();
    for (name, hash) in &actual {
        match stated.iter().find(|(n, _)| n == name) {
            None => audit.difference(folder.join(name).display(), format!("not in {SUMS}")),
            Some((_, other)) if other != hash => {
                audit
                    .difference(folder.join(name).display(), format!("sha256 {hash}, {SUMS} states {other}"));
            }
            Some(_) => {}
        }
    }
    for (name, _) in stated.iter().filter(|(name, _)| !actual.iter().any(|(n, _)| n == name)) {
        audit.difference(folder.join(name).display(), format!("stated by {SUMS}, but not there"));
    }
    if audit.findings.len() == before {
        audit.difference(path.display(), "not as `lpc report` writes it");
    }
}
