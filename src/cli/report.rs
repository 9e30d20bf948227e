//! `lpc report`: a folder's tables and page from its evidence.

use super::output::print_line;
use crate::Result;
use crate::report::changes;
use crate::report::publish::publish;
use clap::Args;
use std::path::PathBuf;

/// Write the tables and the page, index.html, of a folder of reports from its evidence
///
/// `lpc reproduce` does this itself. No runs are needed.
///
/// Example: lpc report reports/toy
#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// A folder of reports with *.evidence.jsonl.gz
    #[arg(default_value = "reports/toy")]
    folder: PathBuf,
    /// Write to CHANGES.md, beside the folder, which numbers changed and this reason
    #[arg(long, value_name = "REASON")]
    because: Option<String>,
}

pub(super) fn run(arguments: ReportArguments) -> Result<()> {
    let ReportArguments { folder, because } = &arguments;
    for exhibit in publish(folder)? {
        print_line(format_args!("{}: {}", exhibit.title, exhibit.status))?;
    }
    if let Some(reason) = because {
        for line in changes::record(folder, reason)? {
            print_line(format_args!("{}: {line}", changes::file(folder).display()))?;
        }
    }
    print_line(format_args!("written: {}", folder.join("index.html").display()))
}
