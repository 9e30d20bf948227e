//! `lpc audit`: a folder of reports against its evidence, or the paper's tables against themselves.

use super::output::print_line;
use crate::audit::paper;
use crate::audit::report;
use crate::error::{Error, Place, Result};
use crate::files::write_atomic;
use clap::Args;
use std::path::{Path, PathBuf};

/// Trace every number of a report back to its evidence, or examine the paper's own tables
///
/// For a folder: rebuilds the records of every run from the evidence and checks each hash down to data and
/// code. Makes every table, figure and page again and compares them byte for byte. Compares with the runs
/// themselves if the folder of runs has them. If anything differs, the exit status is 1 and the cell is named.
///
/// For `paper`: averages, percentages that are possible, p-values, and how many examples each difference
/// would need. Written to reports/paper-audit.md and .csv.
///
/// Example: lpc audit reports/toy
///
/// Example: lpc audit paper
#[derive(Debug, Args)]
pub(super) struct AuditArguments {
    /// A folder of reports, or `paper`
    #[arg(value_name = "FOLDER|paper")]
    what: PathBuf,
    /// Folder that the examination of `paper` is written to
    #[arg(long, value_name = "DIR", default_value = "reports")]
    reports: PathBuf,
}

pub(super) fn run(arguments: AuditArguments, runs: &Path) -> Result<()> {
    match arguments.what.as_os_str() == "paper" {
        true => examine(&arguments.reports),
        false => audit(&arguments.what, runs),
    }
}

/// The paper's published tables.
fn examine(reports: &Path) -> Result<()> {
    let findings = paper::examine()?;
    write_atomic(&reports.join("paper-audit.csv"), &paper::csv(&findings)?)?;
    write_atomic(&reports.join("paper-audit.md"), paper::markdown(&findings).as_bytes())?;
    print_line(paper::summary(&findings))?;
    print_line(format_args!("\nwritten: {}", reports.join("paper-audit.{md,csv}").display()))
}

/// Our own report in `folder`, compared with those of its runs that are in `runs`.
fn audit(folder: &Path, runs: &Path) -> Result<()> {
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
