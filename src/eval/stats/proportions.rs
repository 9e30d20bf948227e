//! Proportions: intervals, comparisons, and how many examples a comparison needs.

use super::{Interval, LEVEL};
use crate::error::{Error, Result};
use statrs::distribution::{ContinuousCDF, Normal};

/// Wilson's score interval for `successes` out of `trials`.
///
/// Errors: no trials, or more successes than trials.
///
/// ```
/// let i = lpc::eval::stats::wilson_interval(0, 10).unwrap();
/// assert!(i.low.abs() < 1e-15 && (i.high - 0.277_532_8).abs() < 1e-6);
/// ```
pub fn wilson_interval(successes: usize, trials: usize) -> Result<Interval> {
    if trials == 0 || successes > trials {
        let got = format!("{successes} of {trials}");
        return Err(Error::argument(
            "wilson_interval",
            "successes",
            got,
            "at most `trials`, and some trials",
        ));
    }
    Ok(wilson(successes as f64, trials as f64))
}

/// [`wilson_interval`] of counts that need not be whole.
pub(super) fn wilson(successes: f64, n: f64) -> Interval {
    let p = successes / n;
    let z = normal_quantile(0.5 + LEVEL / 2.0);
    let centre = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    // The exact bounds at 0 and n are 0 and 1; rounding must not step outside.
    Interval { low: ((centre - half) / scale).max(0.0), high: ((centre + half) / scale).min(1.0) }
}

pub(super) fn above_0(op: &'static str, name: &'static str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() { Ok(()) } else { Err(Error::argument(op, name, value, "above 0")) }
}

/// Exact two-sided McNemar test: of the examples that two classifiers decide differently, is the
/// split fair? `only_first` and `only_second` count those that one alone gets right.
///
/// Numerics: the binomial tail is summed from its largest term down, in logarithms to begin
/// with, so no count overflows.
///
/// ```
/// assert_eq!(lpc::eval::stats::mcnemar_exact(0, 5), 2.0 / 32.0);
/// ```
pub fn mcnemar_exact(only_first: usize, only_second: usize) -> f64 {
    let n = only_first + only_second;
    let k = only_first.min(only_second);
    // P(X = k) for X ~ Binomial(n, 1/2), then each lower term from its neighbour.
    let mut term = (1..=k).map(|i| ((n - k + i) as f64 / i as f64).ln()).sum::<f64>() - n as f64 * 2f64.ln();
    term = term.exp();
    let mut tail = 0.0;
    for i in (0..=k).rev() {
        tail += term;
        term *= i as f64 / (n - i + 1) as f64;
    }
    (2.0 * tail).min(1.0)
}

/// The standard normal deviate below which a share `q` of the distribution lies.
///
/// ```
/// assert!((lpc::eval::stats::normal_quantile(0.975) - 1.959_963_985).abs() < 1e-9);
/// ```
pub fn normal_quantile(q: f64) -> f64 {
    Normal::standard().inverse_cdf(q)
}

/// Two-sided p-value of a standard normal deviate.
///
/// ```
/// assert!((lpc::eval::stats::normal_p(-1.959_963_985) - 0.05).abs() < 1e-9);
/// ```
pub fn normal_p(z: f64) -> f64 {
    libm::erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// The share of the standard normal distribution below `z`.
///
/// ```
/// assert_eq!(lpc::eval::stats::normal_cdf(0.0), 0.5);
/// ```
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// Two-sided p-value that two independent samples have one share, by the pooled z-test.
///
/// Shares that are no whole count of `n` are taken as they are: means of scores between 0 and 1
/// vary at most as much as right and wrong answers do, which keeps the test on the safe side.
///
/// Errors: a share outside [0, 1], no examples.
///
/// ```
/// let p = lpc::eval::stats::two_proportion_p((0.5, 100), (0.5, 400)).unwrap();
/// assert_eq!(p, 1.0);
/// ```
pub fn two_proportion_p(first: (f64, usize), second: (f64, usize)) -> Result<f64> {
    for (share, n) in [first, second] {
        if !(0.0..=1.0).contains(&share) || n == 0 {
            let got = format!("{share} of {n}");
            return Err(Error::argument("two_proportion_p", "share", got, "a share of some examples"));
        }
    }
    let (n1, n2) = (first.1 as f64, second.1 as f64);
    let pooled = (first.0 * n1 + second.0 * n2) / (n1 + n2);
    let error = (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt();
    let difference = first.0 - second.0;
    // Nothing but right, or nothing but wrong answers on both sides.
    Ok(if difference == 0.0 { 1.0 } else { normal_p(difference / error) })
}

/// Examples on each side for which the two-sided pooled z-test at 1 − [`LEVEL`] tells two shares
/// apart with probability `power`.
///
/// Source: Fleiss, Levin and Paik, *Statistical Methods for Rates and Proportions*, §4.2, without
/// continuity correction. Infinite for equal shares.
///
/// Errors: a share or a power that is not strictly between 0 and 1.
///
/// ```
/// let n = lpc::eval::stats::examples_needed(0.70, 0.72, 0.8).unwrap();
/// assert_eq!(n.ceil(), 8080.0);
/// ```
pub fn examples_needed(first: f64, second: f64, power: f64) -> Result<f64> {
    for (name, value) in [("first", first), ("second", second), ("power", power)] {
        if !(value > 0.0 && value < 1.0) {
            return Err(Error::argument("examples_needed", name, value, "strictly between 0 and 1"));
        }
    }
    let pooled = (first + second) / 2.0;
    let under_null = (2.0 * pooled * (1.0 - pooled)).sqrt();
    let as_given = (first * (1.0 - first) + second * (1.0 - second)).sqrt();
    let reach = normal_quantile(0.5 + LEVEL / 2.0) * under_null + normal_quantile(power) * as_given;
    Ok((reach / (first - second)).powi(2))
}

/// How many times as many examples as now an estimate of `difference` with this standard error needs,
/// so that a two-sided z-test at 1 − [`LEVEL`] finds it with probability `power`.
///
/// ```
/// let times = lpc::eval::stats::sizes_needed(1.0, 1.0, 0.8);
/// assert!((times - 7.848_879_7).abs() < 1e-6); // (1.96 + 0.84)²
/// ```
pub fn sizes_needed(difference: f64, standard_error: f64, power: f64) -> f64 {
    let reach = normal_quantile(0.5 + LEVEL / 2.0) + normal_quantile(power);
    (reach * standard_error / difference).powi(2)
}
