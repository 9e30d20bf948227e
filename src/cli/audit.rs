//! `lpc audit`: a folder of reports against its evidence, or the paper's tables against themselves.

use super::output::print_line;
use crate::audit::paper;
use crate::audit::report;
use crate::error::{Error, Place, Result};
use crate::files::write_atomic;
use std::path::Path;

/// The paper's published tables.
pub fn paper(reports: &Path) -> Result<()> {
    let findings = paper::examine()?;
    write_atomic(&reports.join("paper-audit.csv"), &paper::csv(&findings)?)?;
    write_atomic(&reports.join("paper-audit.md"), paper::markdown(&findings).as_bytes())?;
    print_line(paper::summary(&findings))?;
    print_line(format_args!("\nwritten: {}", reports.join("paper-audit.{md,csv}").display()))
}

/// Our own report in `folder`; `runs` is looked at where it has the report's runs.
pub fn report(folder: &Path, runs: &Path) -> Result<()> {
    if !folder.is_dir() {
        let got = if folder.exists() { "a file" } else { "nothing there" };
        return Err(Error::input(Place::file(folder), "a folder of reports, or the word `paper`", got));
    }
    let audit = report::audit(folder, runs);
    for finding in &audit.findings {
        print_line(finding)?;
    }
    for line in &audit.checked {
        print_line(line)?;
    }
    match audit.differences() {
        0 => Ok(()),
        n => {
            let expected = "every number, file and hash as the evidence gives it";
            Err(Error::input(Place::file(folder), expected, format!("{n} that differ")))
        }
    }
}
