//! `lpc check`: a calculator for whoever audits a formula.

use super::CheckArguments;
use super::output::{print, print_line};
use crate::check::{TOLERANCE, check};
use crate::error::{Error, Place, Result};

pub fn run(arguments: CheckArguments) -> Result<()> {
    let report = check(&arguments.file, arguments.grad)?;
    if arguments.json {
        print_line(serde_json::to_string_pretty(&report).expect("numbers and names are JSON"))?;
    } else {
        let rows = report.rows();
        let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let mut table = format!("{:width$}  {:>24}  {:>24}  {:>10}\n", "", "spec", "tensor", "difference");
        for row in &rows {
            let (name, difference) = (&row.name, row.difference());
            table += &format!("{name:width$}  {:>24}  {:>24}  {difference:>10.1e}\n", row.spec, row.tensor);
        }
        print(table)?;
        print_line(format_args!(
            "largest difference: {:.1e}; allowed: {TOLERANCE:e} (|spec - tensor| / max(1, |spec|, |tensor|))",
            report.max_rel_diff
        ))?;
    }
    match report.worst() {
        Some(worst) if !report.agrees() => Err(Error::input(
            Place::file(&arguments.file).field(worst.name.clone()),
            format!("spec and tensor to agree within {TOLERANCE:e}"),
            format!("{} and {}, {:.1e} apart", worst.spec, worst.tensor, worst.difference()),
        )),
        _ => Ok(()),
    }
}
