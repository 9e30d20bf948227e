//! Means of independent values, and of the crossed layout (seeds x examples) behind every cell.

use super::{Estimate, Generalises, LEVEL, require};
use crate::error::{Error, Result};
use ndarray::{ArrayView2, Axis};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Mean and its standard error, s/√n with the n − 1 divisor.
///
/// Errors: fewer than two values, or one that is not finite.
///
/// ```
/// let (mean, error) = lpc::eval::stats::mean_and_error(&[1.0, 2.0, 3.0]).unwrap();
/// assert_eq!((mean, error), (2.0, (1.0f64 / 3.0).sqrt()));
/// ```
pub fn mean_and_error(x: &[f64]) -> Result<(f64, f64)> {
    require("mean_and_error", "values", x.len(), x.iter().copied())?;
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let squares: f64 = x.iter().map(|v| (v - mean).powi(2)).sum();
    Ok((mean, (squares / (n - 1.0) / n).sqrt()))
}

/// Student's t interval for the mean of independent values.
pub fn student_interval(x: &[f64]) -> Result<Estimate> {
    let (mean, error) = mean_and_error(x)?;
    Ok(estimate(mean, error, x.len() as f64 - 1.0, Generalises::OverExamples))
}

/// The mean of a balanced crossed layout, both seeds and examples drawn from populations, one
/// value each: x_{se} = μ + a_s + b_e + r_{se}. Used on 0/1 correctness for an accuracy and on
/// the difference of two systems' correctness for a paired comparison.
///
/// Var(mean) = (MS_seed + MS_example − MS_residual)/(S·N), by the mean squares of the two-way
/// analysis of variance. A seed (or example) mean square below the residual's says that its
/// variance component would be negative; that component counts as 0, so the variance is
/// (MS_residual + max(0, MS_seed − MS_residual) + max(0, MS_example − MS_residual))/(S·N), never
/// below what any single mean square says. Degrees of freedom by Satterthwaite from all three
/// mean squares, at least min(S, N) − 1.
///
/// One seed leaves examples alone as replicates: a Student interval that speaks about these
/// training runs only, marked [`Generalises::OverExamples`]. Two seeds are allowed but leave the
/// seeds' variance to one degree of freedom, and simulated coverage of the 95 % interval drops to
/// 90 % where seeds dominate. From three seeds on it lies between 92 and 98.6 %, the most where
/// neither seeds nor examples have an effect of their own.
///
/// Shapes: `x` [S seeds, N examples].
///
/// Errors: no seed, fewer than two examples, a value that is not finite.
///
/// Numerics: without any variation the interval is the point itself, and the p-value is 1 at a
/// mean of 0 and 0 elsewhere.
///
/// ```
/// let x = ndarray::array![[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]];
/// let e = lpc::eval::stats::crossed_interval(x.view()).unwrap();
/// assert!(e.low < e.mean && e.mean < e.high);
/// ```
pub fn crossed_interval(x: ArrayView2<f64>) -> Result<Estimate> {
    const OP: &str = "crossed_interval";
    let (seeds, examples) = x.dim();
    if seeds == 0 {
        return Err(Error::argument(OP, "seeds", 0, "at least 1"));
    }
    require(OP, "examples", examples, x.iter().copied())?;
    if seeds == 1 {
        return student_interval(&x.iter().copied().collect::<Vec<_>>());
    }
    let (s, n) = (seeds as f64, examples as f64);
    let mean = x.iter().sum::<f64>() / (s * n);
    let by_seed = x.sum_axis(Axis(1)) / n;
    let by_example = x.sum_axis(Axis(0)) / s;
    let df = [s - 1.0, n - 1.0, (s - 1.0) * (n - 1.0)];
    let residual = x.indexed_iter().map(|((i, j), v)| (v - by_seed[i] - by_example[j] + mean).powi(2));
    let mean_squares = [
        n * by_seed.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / df[0],
        s * by_example.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / df[1],
        residual.sum::<f64>() / df[2],
    ];
    let [seed, example, rest] = mean_squares;
    let total = rest + (seed - rest).max(0.0) + (example - rest).max(0.0);
    let spread: f64 = mean_squares.iter().zip(df).map(|(m, d)| m * m / d).sum();
    let freedom = if total > 0.0 { total * total / spread } else { df[2] };
    let error = (total / (s * n)).sqrt();
    Ok(estimate(mean, error, freedom.max(df[0].min(df[1])), Generalises::OverSeedsAndExamples))
}

fn estimate(mean: f64, standard_error: f64, degrees_of_freedom: f64, generalises: Generalises) -> Estimate {
    let (half, p_value) = if standard_error > 0.0 {
        let t = StudentsT::new(0.0, 1.0, degrees_of_freedom).expect("degrees of freedom are positive");
        let half = t.inverse_cdf(0.5 + LEVEL / 2.0) * standard_error;
        (half, (2.0 * t.sf((mean / standard_error).abs())).min(1.0))
    } else {
        (0.0, if mean == 0.0 { 1.0 } else { 0.0 })
    };
    let (low, high) = (mean - half, mean + half);
    Estimate { mean, standard_error, degrees_of_freedom, low, high, p_value, generalises }
}
