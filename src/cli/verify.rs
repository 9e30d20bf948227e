//! `lpc verify`: every equation of the paper with the checks that hold it.

use super::output::{print, print_line};
use crate::error::{Error, Place, Result};
use crate::files::write_atomic;
use crate::verify::equations;
use crate::verify::report::{Verdict, render, unnamed};
use crate::verify::suites::{self, Outcomes};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The suites are built with the profile of this program, so that what is already built is reused.
const PROFILE: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };

/// Run every check of every equation in paper/equations.md and write reports/verify.md
///
/// Needs the repository and cargo. The exit status is 1 if a check fails or an equation has no check.
///
/// Example: lpc verify
#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// Folder of reports
    #[arg(long, value_name = "DIR", default_value = "reports")]
    reports: PathBuf,
}

pub(super) fn run(arguments: VerifyArguments) -> Result<()> {
    let reports = arguments.reports;
    let start = Instant::now();
    let folder = Path::new(".");
    let (rows, _) = equations::read(Path::new("paper/equations.md"))?;
    let mut outcomes = Outcomes::new();
    for suite in suites::SUITES {
        let run = suites::run(suite, folder, PROFILE, &[])?;
        if !run.failed().is_empty() {
            print(&run.output)?;
        }
        outcomes.extend(run.outcomes);
    }
    let verdicts: Vec<Verdict> = rows.iter().map(|row| Verdict::new(row, &outcomes)).collect();
    let report = reports.join("verify.md");
    write_atomic(&report, render(&verdicts, &outcomes).as_bytes())?;

    let width = rows.iter().map(|row| row.equation.chars().count()).max().unwrap_or(0);
    for verdict in &verdicts {
        print_line(format_args!("{:width$}  {}", verdict.row.equation, verdict.says()))?;
    }
    for (name, _) in unnamed(&verdicts, &outcomes).filter(|(_, passed)| !passed) {
        print_line(format_args!("{:width$}  FAILED: `{name}`", "-"))?;
    }
    let named = outcomes.len() - unnamed(&verdicts, &outcomes).count();
    print_line(format_args!(
        "{} checks ran in {:.0} s; {named} of them belong to the {} equations; written: {}",
        outcomes.len(),
        start.elapsed().as_secs_f64(),
        rows.len(),
        report.display()
    ))?;
    let failed = outcomes.values().filter(|passed| !**passed).count();
    let rows_failed = verdicts.iter().filter(|v| !v.passed()).count();
    if failed + rows_failed == 0 {
        return Ok(());
    }
    let got = format!("{failed} tests and {rows_failed} rows that did not");
    Err(Error::input(Place::file(report), "every check and every row to pass", got))
}
