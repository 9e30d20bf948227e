//! `lpc check`: a calculator for whoever audits a formula.

use super::output::{print, print_line};
use crate::check::{TOLERANCE, check};
use crate::error::{Error, Place, Result};
use clap::Args;
use std::path::PathBuf;

/// Calculate the loss of given pairs with both implementations, spec and tensor
///
/// Prints the loss, the margin, the KL divergence, the log-probabilities, and the margin and exact posterior
/// of every code. Both implementations compute in 64-bit floats. The exit status is 1 if two numbers differ
/// by more than 1e-9, as |a - b| / max(1, |a|, |b|).
///
/// Example: lpc check paper/check.json --grad
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// JSON with the objective, the latent mode, the LM head, the parameters of h_z, and the pairs. Unknown
    /// keys are an error
    file: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Also print the gradients of the mean loss with respect to the LM head and the parameters of h_z
    #[arg(long)]
    grad: bool,
}

pub(super) fn run(arguments: CheckArguments) -> Result<()> {
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
