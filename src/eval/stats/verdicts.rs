//! Intervals for verdicts of right and wrong over seeds and examples, which stay right where nearly all agree.

use super::means::{Crossed, MeanSquare, crossed_interval};
use super::proportions::wilson;
use super::{Estimate, Generalises, LEVEL, Method, mcnemar_exact, normal_p, normal_quantile};
use crate::error::{Error, Result};
use ndarray::ArrayView2;

/// Fewer verdicts than this on one side, and a mean is far from normal.
const FEW: usize = 10;

/// Share of verdicts that are right: 1 for right, 0 for wrong.
///
/// [`crossed_interval`], within [0, 1]. One seed, or fewer than 10 right or 10 wrong verdicts in all: Wilson's
/// interval of the examples with the mean count over seeds, as if seeds added nothing.
///
/// Shapes: `x` [S seeds, N examples]. Errors: as [`crossed_interval`]; a value outside [0, 1].
///
/// ```
/// use ndarray::Array2;
/// let all = lpc::eval::stats::share_interval(Array2::from_elem((3, 100), 1.0).view()).unwrap();
/// assert!((all.low - 0.963).abs() < 1e-4 && all.high == 1.0); // 1 / (1 + 1.96² / 100)
/// ```
pub fn share_interval(x: ArrayView2<f64>) -> Result<Estimate> {
    let e = crossed_interval(x)?;
    if let Some(bad) = x.iter().find(|v| !(0.0..=1.0).contains(*v)) {
        return Err(Error::argument("share_interval", "x", bad, "within 0 and 1"));
    }
    let (seeds, n) = x.dim();
    let binary = x.iter().all(|v| *v == 0.0 || *v == 1.0);
    let of = |value: f64| x.iter().filter(|v| **v == value).count();
    if !binary || (seeds > 1 && of(1.0).min(of(0.0)) >= FEW) {
        return Ok(e.within(0.0, 1.0));
    }
    let interval = wilson(e.mean * n as f64, n as f64);
    Ok(Estimate { low: interval.low, high: interval.high, ..e })
}

/// Mean difference of two systems' verdicts on the same examples, values between −1 and 1.
///
/// Several seeds: [`Crossed::estimate`], with the seeds' mean square of several cells in the place of this one's
/// where `seeds` gives it. One seed of differences −1, 0 and 1, or fewer than 10 that are not 0: Tango's score
/// interval for the examples with the mean counts over seeds, as if seeds added nothing; its p-value is McNemar's,
/// the exact one where a single seed makes counts whole.
///
/// Shapes: `x` [S seeds, N examples]. Errors: as [`crossed_interval`]; a value outside [−1, 1].
///
/// ```
/// use ndarray::Array2;
/// let same = lpc::eval::stats::paired_interval(Array2::zeros((1, 200)).view(), None).unwrap();
/// // No difference in 200 pairs leaves room for some: z² / (n + z²).
/// assert!((same.high - 0.018845).abs() < 1e-6 && same.low == -same.high && same.p_value == 1.0);
/// ```
pub fn paired_interval(x: ArrayView2<f64>, seeds: Option<MeanSquare>) -> Result<Estimate> {
    let plain = crossed_interval(x)?;
    if let Some(bad) = x.iter().find(|v| v.abs() > 1.0) {
        return Err(Error::argument("paired_interval", "x", bad, "within -1 and 1"));
    }
    let (count, examples) = x.dim();
    let whole = x.iter().all(|v| v.fract() == 0.0);
    let few = x.iter().filter(|v| **v != 0.0).count() < FEW;
    if !few && (count > 1 || !whole) {
        return Ok(match seeds {
            Some(seed) if count > 1 => Crossed { seed, ..Crossed::of(x)? }.estimate(),
            _ => plain,
        });
    }
    let sum = |side: f64| x.iter().map(|v| (side * v).max(0.0)).sum::<f64>() / count as f64;
    let (gained, lost) = (sum(1.0), sum(-1.0));
    let (low, high) = paired_score_interval(gained, lost, examples);
    let p_value = match count {
        1 if whole => mcnemar_exact(lost as usize, gained as usize),
        _ if gained == lost => 1.0,
        _ => normal_p((gained - lost) / (gained + lost).sqrt()),
    };
    let standard_error = (high - low) / 2.0 / normal_quantile(0.5 + LEVEL / 2.0);
    Ok(Estimate {
        mean: (gained - lost) / examples as f64,
        standard_error,
        degrees_of_freedom: examples as f64 - 1.0,
        low,
        high,
        p_value,
        // Of a few verdicts nothing can be said about what other seeds would change.
        generalises: if count == 1 { Generalises::OverExamples } else { plain.generalises },
        examples_variance: standard_error * standard_error,
        method: Method::Score { gained, lost, examples },
    })
}

/// The score statistic of a true difference of shares between paired verdicts, standard normal where it is true.
///
/// Source: Tango, *Equivalence test and confidence interval for the difference in proportions for the
/// paired-sample design*, 1998. `gained` and `lost` count the examples that only the second, or only the first
/// system has right; they need not be whole.
///
/// Numerics: at ±1 the variance is 0, and the statistic infinite unless the difference is what was seen.
///
/// ```
/// // At 0 it is McNemar's.
/// assert_eq!(lpc::eval::stats::paired_score(9.0, 7.0, 100, 0.0), 0.5);
/// ```
pub fn paired_score(gained: f64, lost: f64, examples: usize, difference: f64) -> f64 {
    let n = examples as f64;
    // The likeliest share of `lost` under the difference, by a quadratic equation.
    let a = 2.0 * n;
    let b = -gained - lost + (2.0 * n - gained + lost) * difference;
    let c = -lost * difference * (1.0 - difference);
    let share = ((b * b - 4.0 * a * c).max(0.0).sqrt() - b) / (2.0 * a);
    let variance = n * (2.0 * share + difference * (1.0 - difference));
    let away = gained - lost - n * difference;
    if away == 0.0 { 0.0 } else { away / variance.max(0.0).sqrt() }
}

/// The differences that [`paired_score`] does not reject at [`LEVEL`], as (low, high).
pub fn paired_score_interval(gained: f64, lost: f64, examples: usize) -> (f64, f64) {
    let z = normal_quantile(0.5 + LEVEL / 2.0);
    let observed = (gained - lost) / examples as f64;
    // The statistic falls as the difference grows: |statistic| is below z next to `observed`.
    let end = |outermost: f64| {
        let (mut inside, mut outside) = (observed, outermost);
        for _ in 0..200 {
            let middle = 0.5 * (inside + outside);
            match paired_score(gained, lost, examples, middle).abs() < z {
                true => inside = middle,
                false => outside = middle,
            }
        }
        inside
    };
    (end(-1.0), end(1.0))
}
