//! AlpacaEval 2: win rate and length-controlled win rate against a baseline's outputs.
//!
//! Source: Dubois et al., *Length-Controlled AlpacaEval*, 2024, and the package `alpaca_eval`
//! 0.6.6, whose numbers these reproduce.

mod glm;
pub mod logistic;
mod tables;

pub use glm::{Glm, Weights};
pub use tables::{
    Anchor, Annotation, Annotations, Difficulties, read_anchors, read_annotations, read_weights,
};

use crate::error::{Error, Result};
use crate::eval::stats::mean_and_error;

/// A mean and its standard error, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub mean: f64,
    pub standard_error: f64,
}

impl Estimate {
    fn of(shares: impl Iterator<Item = f64>) -> Result<Self> {
        let (mean, standard_error) = mean_and_error(&shares.collect::<Vec<_>>())?;
        Ok(Self { mean: 100.0 * mean, standard_error: 100.0 * standard_error })
    }
}

/// Mean of preference − 1: the share of comparisons the model wins, a draw counting half. Comparisons
/// without a verdict do not count.
///
/// Units: percent; the standard error of a single verdict is not a number. Errors: no verdict.
///
/// ```
/// use lpc::eval::winrate::{Annotation, win_rate};
/// let row = |preference| Annotation { instruction: 0, preference, length_1: 1, length_2: 1 };
/// let rate = win_rate(&[row(Some(2.0)), row(Some(1.0)), row(None), row(Some(1.5)), row(Some(2.0))]).unwrap();
/// assert_eq!(rate.mean, 62.5);
/// ```
pub fn win_rate(rows: &[Annotation]) -> Result<Estimate> {
    let wins: Vec<f64> = rows.iter().filter_map(|row| row.preference).map(|p| p - 1.0).collect();
    match wins.as_slice() {
        [] => Err(Error::argument("win rate", "verdicts", 0, "at least 1")),
        [only] => Ok(Estimate { mean: 100.0 * only, standard_error: f64::NAN }),
        wins => Estimate::of(wins.iter().copied()),
    }
}
