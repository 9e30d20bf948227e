//! From estimates to decisions: several tests at once, equivalence, and what a design could have found.

use super::{Estimate, Generalises, Method, normal_cdf, normal_quantile, paired_score};
use crate::error::Result;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Corrected p-values below this decide.
pub const SIGNIFICANCE: f64 = 0.05;

/// With which the smallest detectable difference would have been found.
pub const POWER: f64 = 0.8;

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

/// p-value of the two one-sided tests (TOST) that the true mean lies within ± `margin`: the larger of the two.
///
/// Source: Schuirmann 1987. Below 0.05 exactly where the 90 % interval lies within. Errors: a margin that is not
/// above 0.
///
/// Numerics: an estimate without variation is inside or outside for sure.
///
/// ```
/// use lpc::eval::stats::{equivalence_p, student_interval};
/// let e = student_interval(&[-0.2, 0.1, 0.0, 0.1]).unwrap();
/// assert!(equivalence_p(&e, 1.0).unwrap() < 0.001 && equivalence_p(&e, 0.05).unwrap() > 0.2);
/// ```
pub fn equivalence_p(e: &Estimate, margin: f64) -> Result<f64> {
    super::proportions::above_0("equivalence_p", "margin", margin)?;
    if let Method::Score { gained, lost, examples } = e.method {
        let score = |difference| paired_score(gained, lost, examples, difference);
        return Ok(normal_cdf(-score(-margin)).max(normal_cdf(score(margin))).min(1.0));
    }
    let inside = (margin - e.mean).min(margin + e.mean);
    if e.standard_error == 0.0 {
        return Ok(if inside > 0.0 { 0.0 } else { 1.0 });
    }
    Ok(student(e).sf(inside / e.standard_error))
}

/// The smallest true difference that a two-sided test at `level` finds with probability [`POWER`], by this
/// estimate's standard error and degrees of freedom.
///
/// ```
/// use lpc::eval::stats::{detectable, student_interval};
/// let x: Vec<f64> = (0..10_001).map(|i| f64::from(i % 2)).collect();
/// let e = student_interval(&x).unwrap();
/// assert!((detectable(&e, 0.05) / e.standard_error - 2.8016).abs() < 2e-3); // 1.9600 + 0.8416
/// ```
pub fn detectable(e: &Estimate, level: f64) -> f64 {
    let t = student(e);
    (t.inverse_cdf(1.0 - level / 2.0) + t.inverse_cdf(POWER)) * e.standard_error
}

/// How many seeds a decision would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeds {
    Enough(usize),
    /// The test examples alone vary too much: so many times as many are needed, whatever the seeds.
    MoreExamples(usize),
    /// One seed does not show how much seeds vary.
    Unknown,
}

/// Seeds with which a true difference of `difference` would be found with probability [`POWER`] by a two-sided
/// test at `level`; the estimate is of `seeds` seeds. The normal approximation: for orientation.
///
/// ```
/// use lpc::eval::stats::{Seeds, crossed_interval, seeds_needed};
/// let seeds = [[0.0, 0.1, -0.1], [0.9, 1.0, 1.1], [2.1, 1.9, 2.0]];
/// let e = crossed_interval(ndarray::Array2::from(seeds.to_vec()).view()).unwrap();
/// // Seeds vary by 1, so n of them by 1/√n: (2.80 / 0.5)² is 31.4.
/// assert_eq!(seeds_needed(&e, 3, 0.5, 0.05), Seeds::Enough(32));
/// ```
pub fn seeds_needed(e: &Estimate, seeds: usize, difference: f64, level: f64) -> Seeds {
    if e.generalises == Generalises::OverExamples {
        return Seeds::Unknown;
    }
    let reach = normal_quantile(1.0 - level / 2.0) + normal_quantile(POWER);
    let allowed = (difference / reach).powi(2);
    // Half is left to the seeds, or no number of them would do.
    if e.examples_variance > 0.5 * allowed {
        return Seeds::MoreExamples((2.0 * e.examples_variance / allowed).ceil() as usize);
    }
    let of_seeds = e.standard_error.powi(2) - e.examples_variance;
    Seeds::Enough((of_seeds * seeds as f64 / (allowed - e.examples_variance)).ceil() as usize)
}

fn student(e: &Estimate) -> StudentsT {
    StudentsT::new(0.0, 1.0, e.degrees_of_freedom).expect("degrees of freedom are positive")
}
