//! Bootstrap intervals. Which examples a resample holds is an argument, so the same indices give the
//! same interval here and elsewhere.

use super::{Interval, LEVEL, normal_cdf, normal_quantile, require};
use crate::error::{Error, Result};
use crate::seed::below;
use ndarray::{Array2, ArrayView2};
use rand::Rng;

/// A paired comparison by resampled examples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedBootstrap {
    /// Mean of second minus first.
    pub difference: f64,
    pub interval: Interval,
    /// Two-sided: twice the smaller share of resamples on one side of 0, zeros counting on both,
    /// with one resample more on each side so that it is never 0.
    pub p_value: f64,
}

/// `count` resamples of n examples: indices below n, drawn with replacement. Shapes: [count, n].
pub fn resamples(rng: &mut impl Rng, count: usize, n: usize) -> Array2<usize> {
    Array2::from_shape_simple_fn((count, n), || below(rng, n))
}

/// Interval of a mean by the bias-corrected and accelerated bootstrap.
///
/// Source: Efron, *Better Bootstrap Confidence Intervals*, 1987; quantiles between resamples are
/// interpolated linearly. Shapes: `x` [N], `resamples` [B, N] of indices into `x`.
///
/// Errors: fewer than two values or resamples, a value that is not finite, an index outside `x`, all
/// resamples on one side of the mean (too few of them to correct for bias).
///
/// Numerics: without any variation the interval is the point itself.
///
/// ```
/// use lpc::eval::stats::{bootstrap_interval, resamples};
/// let indices = resamples(&mut lpc::seed::stream(1, "doc"), 1000, 4);
/// let i = bootstrap_interval(&[1.0, 2.0, 3.0, 6.0], indices.view()).unwrap();
/// assert!(i.low < 3.0 && 3.0 < i.high);
/// ```
pub fn bootstrap_interval(x: &[f64], resamples: ArrayView2<usize>) -> Result<Interval> {
    bias_corrected(x, &sorted_means(x, resamples)?)
}

/// Two systems on the same examples: interval and p-value of the mean difference.
///
/// Shapes: `first`, `second` [N], `resamples` [B, N]. Errors: as [`bootstrap_interval`]; lengths that
/// differ.
///
/// ```
/// use lpc::eval::stats::{paired_bootstrap, resamples};
/// let indices = resamples(&mut lpc::seed::stream(1, "doc"), 1000, 4);
/// let b = paired_bootstrap(&[0.0, 1.0, 0.0, 1.0], &[1.0, 1.0, 0.0, 1.0], indices.view()).unwrap();
/// assert_eq!(b.difference, 0.25);
/// ```
pub fn paired_bootstrap(
    first: &[f64],
    second: &[f64],
    resamples: ArrayView2<usize>,
) -> Result<PairedBootstrap> {
    if first.len() != second.len() {
        let expected = format!("{} values, as `first` has", first.len());
        return Err(Error::argument("paired_bootstrap", "second", second.len(), expected));
    }
    let differences: Vec<f64> = second.iter().zip(first).map(|(b, a)| b - a).collect();
    let means = sorted_means(&differences, resamples)?;
    let side = |on: fn(f64) -> bool| means.iter().filter(|m| on(**m)).count() as f64 + 1.0;
    let smaller = side(|m| m <= 0.0).min(side(|m| m >= 0.0));
    Ok(PairedBootstrap {
        difference: mean(&differences),
        interval: bias_corrected(&differences, &means)?,
        p_value: (2.0 * smaller / (means.len() as f64 + 1.0)).min(1.0),
    })
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// The resamples' means, ascending.
fn sorted_means(x: &[f64], resamples: ArrayView2<usize>) -> Result<Vec<f64>> {
    const OP: &str = "bootstrap";
    require(OP, "values", x.len(), x.iter().copied())?;
    let (count, n) = resamples.dim();
    require(OP, "resamples", count, [])?;
    if n != x.len() {
        return Err(Error::argument(OP, "resamples", format!("of {n}"), format!("of {}", x.len())));
    }
    if let Some(outside) = resamples.iter().find(|&&i| i >= n) {
        return Err(Error::argument(OP, "index", outside, format!("below {n}")));
    }
    let of = |indices: ndarray::ArrayView1<usize>| indices.iter().map(|&i| x[i]).sum::<f64>() / n as f64;
    let mut means: Vec<f64> = resamples.outer_iter().map(of).collect();
    means.sort_by(f64::total_cmp);
    Ok(means)
}

fn bias_corrected(x: &[f64], means: &[f64]) -> Result<Interval> {
    let centre = mean(x);
    let deviations: Vec<f64> = x.iter().map(|v| v - centre).collect();
    let squares: f64 = deviations.iter().map(|d| d * d).sum();
    if squares == 0.0 {
        return Ok(Interval { low: centre, high: centre });
    }
    let cubes: f64 = deviations.iter().map(|d| d * d * d).sum();
    let acceleration = cubes / squares.powf(1.5) / 6.0;
    let below = means.partition_point(|&m| m < centre);
    let up_to = means.partition_point(|&m| m <= centre);
    let share = (below + up_to) as f64 / 2.0 / means.len() as f64;
    if share == 0.0 || share == 1.0 {
        return Err(Error::argument("bootstrap", "resamples", means.len(), "enough to surround the mean"));
    }
    let (bias, reach) = (normal_quantile(share), normal_quantile(0.5 + LEVEL / 2.0));
    let end = |z: f64| {
        let z = bias + z;
        quantile(means, normal_cdf(bias + z / (1.0 - acceleration * z)))
    };
    Ok(Interval { low: end(-reach), high: end(reach) })
}

/// Linear between the neighbours of position q (n − 1) in ascending values.
fn quantile(ascending: &[f64], q: f64) -> f64 {
    let position = q * (ascending.len() - 1) as f64;
    let (low, part) = (position.floor() as usize, position.fract());
    let high = (low + 1).min(ascending.len() - 1);
    ascending[low] + part * (ascending[high] - ascending[low])
}
