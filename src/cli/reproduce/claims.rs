//! `lpc reproduce claims`: a verdict on each claim of the paper.

use crate::Result;
use crate::cli::output::print_line;
use crate::files::write_atomic;
use crate::report::claims;
use clap::Args;
use std::path::PathBuf;

/// Give a verdict on every claim of the paper, from the evidence in the folder of reports
///
/// Each scale has its own verdict. Nothing is trained.
///
/// Example: lpc reproduce claims
#[derive(Debug, Args)]
pub(super) struct ClaimsArguments {
    /// Folder of reports
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
}

pub(super) fn run(arguments: ClaimsArguments) -> Result<()> {
    let reports = arguments.reports;
    let findings = claims::findings(&reports)?;
    let page = claims::markdown_page(&findings);
    write_atomic(&reports.join("claims.md"), page.as_bytes())?;
    write_atomic(&reports.join("claims.csv"), &claims::csv(&findings)?)?;
    print_line(page)?;
    print_line(format_args!("written: {}", reports.join("claims.{md,csv}").display()))
}
