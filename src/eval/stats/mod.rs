//! Intervals and tests for what is measured: means over seeds and examples, proportions, paired
//! comparisons, resamples.
//!
//! All intervals are two-sided at [`LEVEL`].

mod bootstrap;
mod decisions;
mod means;
mod proportions;
mod verdicts;

pub use bootstrap::{PairedBootstrap, bootstrap_interval, paired_bootstrap, resamples};
pub use decisions::{POWER, SIGNIFICANCE, Seeds, detectable, equivalence_p, holm, seeds_needed};
pub use means::{
    Crossed, MeanSquare, crossed_interval, mean_and_error, mean_of_independent, shared, student_interval,
};
pub use proportions::{
    examples_needed, mcnemar_exact, normal_cdf, normal_p, normal_quantile, sizes_needed, two_proportion_p,
    wilson_interval,
};
pub use verdicts::{paired_interval, paired_score, paired_score_interval, share_interval};

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
    /// What part of the squared standard error stays however many seeds run; only more examples lessen it.
    pub examples_variance: f64,
    pub method: Method,
}

/// How an interval and its p-value were made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Student's t with the standard error and its degrees of freedom.
    Student,
    /// A score interval, right where nearly all verdicts agree. The standard error is a 1.96th of half its
    /// length.
    Score { gained: f64, lost: f64, examples: usize },
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

    /// Of `factor` times the values, a factor above 0.
    pub fn scaled(self, factor: f64) -> Self {
        // A score interval has no such thing; its tests do not depend on the unit, so only a factor of 1 keeps it.
        let method = if factor == 1.0 { self.method } else { Method::Student };
        Self {
            mean: self.mean * factor,
            standard_error: self.standard_error * factor,
            low: self.low * factor,
            high: self.high * factor,
            examples_variance: self.examples_variance * factor * factor,
            method,
            ..self
        }
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
