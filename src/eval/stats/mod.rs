//! Intervals and tests for what is measured: means over seeds and examples, proportions, paired
//! comparisons, resamples.
//!
//! All intervals are two-sided at [`LEVEL`].

mod bootstrap;
mod means;
mod proportions;

pub use bootstrap::{PairedBootstrap, bootstrap_interval, paired_bootstrap, resamples};
pub use means::{crossed_interval, mean_and_error, student_interval};
pub use proportions::{
    examples_needed, mcnemar_exact, normal_cdf, normal_p, normal_quantile, sizes_needed, two_proportion_p,
    wilson_interval,
};

use crate::error::{Error, Result};
use serde::Serialize;

/// Coverage of every interval the harness reports.
pub const LEVEL: f64 = 0.95;

/// A closed interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// A mean with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    pub mean: f64,
    pub standard_error: f64,
    pub degrees_of_freedom: f64,
    pub low: f64,
    pub high: f64,
    /// Two-sided, of the hypothesis that the true mean is 0.
    pub p_value: f64,
    pub generalises: Generalises,
}

impl Estimate {
    /// With its interval limited to the values that the true mean can have. This does not change the coverage.
    ///
    /// ```
    /// let share = lpc::eval::stats::student_interval(&[1.0, 1.0, 0.9]).unwrap().within(0.0, 1.0);
    /// assert!(share.low < share.mean && share.high == 1.0);
    /// ```
    pub fn within(self, least: f64, most: f64) -> Self {
        Self { low: self.low.max(least), high: self.high.min(most), ..self }
    }
}

/// The population that an interval is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generalises {
    /// Other test examples from the same source, with the same training runs.
    OverExamples,
    /// Other test examples and other training seeds.
    OverSeedsAndExamples,
}

/// Holm's step-down adjustment: the family-wise error over all of `p` is controlled when the
/// adjusted values are compared with the level. Order is kept.
///
/// ```
/// assert_eq!(lpc::eval::stats::holm(&[0.04, 0.01]), [0.04, 0.02]);
/// ```
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0f64;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max(p[i] * (p.len() - rank) as f64).min(1.0);
        adjusted[i] = largest;
    }
    adjusted
}

/// Checks that there are at least two values and that all are finite.
fn require(
    op: &'static str,
    counted: &'static str,
    count: usize,
    values: impl IntoIterator<Item = f64>,
) -> Result<()> {
    if count < 2 {
        return Err(Error::argument(op, counted, count, "at least 2"));
    }
    match values.into_iter().find(|v| !v.is_finite()) {
        Some(bad) => Err(Error::argument(op, "x", bad, "finite values")),
        None => Ok(()),
    }
}
