//! `lpc report`: a folder's tables and page from its evidence.

use super::output::print_line;
use crate::Result;
use crate::report::changes;
use crate::report::publish::publish;
use std::path::Path;

pub fn run(folder: &Path, because: Option<&str>) -> Result<()> {
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
