//! Logistic regression with an L1 penalty on soft labels, and its penalty by cross-validation.
//!
//! AlpacaEval asks scikit-learn (liblinear) for it. Ours goes to the optimum of the same problem:
//! a Newton step is a small lasso, solved by coordinate descent.

use crate::error::{Error, Result};
use crate::spec::numerics::{log_sigmoid, sigmoid};

/// One row: K features, the probability of the positive class, and what the row counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation<const K: usize> {
    pub features: [f64; K],
    /// p in [0, 1]. A row with p is a positive row that counts p and a negative that counts 1 − p.
    pub positive: f64,
    pub weight: f64,
}

/// How far a coefficient may be from the optimum's condition, relative to the penalty.
const TOLERANCE: f64 = 1e-9;
const NEWTON_STEPS: usize = 200;
const SWEEPS: usize = 10_000;

/// The β that minimises ‖β‖₁ + C Σ wᵢ [−pᵢ log σ(xᵢ·β) − (1 − pᵢ) log σ(−xᵢ·β)]. No feature is
/// exempt from the penalty; there is no intercept but a feature that is 1.
///
/// Errors: C not positive; a value that is not finite; no optimum in reach.
///
/// Numerics: stops where every coordinate meets the condition of an optimum
/// (|∂ⱼ| ≤ 1 where βⱼ = 0, ∂ⱼ = −sign βⱼ elsewhere) to 1e-9, or to what rounding leaves of it.
///
/// ```
/// use lpc::eval::winrate::logistic::{Observation, fit};
/// let row = Observation { features: [1.0], positive: 0.75, weight: 1.0 };
/// // The gradient's size is C (p − σ(β)) = 1.
/// let [beta] = fit(&[row], 8.0).unwrap();
/// assert!((beta - (0.625f64 / 0.375).ln()).abs() < 1e-9);
/// assert_eq!(fit(&[row], 3.9).unwrap(), [0.0]);
/// ```
pub fn fit<const K: usize>(rows: &[Observation<K>], c: f64) -> Result<[f64; K]> {
    fit_from(&rows.iter().collect::<Vec<_>>(), c, [0.0; K])
}

fn fit_from<const K: usize>(rows: &[&Observation<K>], c: f64, start: [f64; K]) -> Result<[f64; K]> {
    if !(c.is_finite() && c > 0.0) {
        return Err(Error::argument("logistic::fit", "C", c, "finite and > 0"));
    }
    let mut beta = start;
    let mut residual = f64::INFINITY;
    for _ in 0..NEWTON_STEPS {
        let local = Local::at(rows, c, &beta);
        if !local.objective.is_finite() {
            return Err(Error::argument("logistic::fit", "objective", local.objective, "finite"));
        }
        residual = local.residual(&beta);
        // Sums of this size are not known better than this.
        if residual <= TOLERANCE.max(4.0 * f64::EPSILON * c * local.magnitude) {
            return Ok(beta);
        }
        let step = local.lasso_step(&beta);
        let Some(next) = line_search(rows, c, &beta, &step, &local) else { break };
        beta = next;
    }
    Err(Error::argument(
        "logistic::fit",
        format!("distance from the optimum at C = {c}"),
        residual,
        format!("at most {TOLERANCE} after {NEWTON_STEPS} steps"),
    ))
}

/// Gradient and curvature of the smooth part.
struct Local<const K: usize> {
    objective: f64,
    gradient: [f64; K],
    curvature: [[f64; K]; K],
    /// Σ of the absolute terms of the largest gradient entry, before C.
    magnitude: f64,
}

impl<const K: usize> Local<K> {
    fn at(rows: &[&Observation<K>], c: f64, beta: &[f64; K]) -> Self {
        let (mut gradient, mut curvature, mut sizes) = ([0.0; K], [[0.0; K]; K], [0.0; K]);
        for row in rows {
            let x = &row.features;
            let p = sigmoid(dot(x, beta));
            for j in 0..K {
                gradient[j] += c * row.weight * (p - row.positive) * x[j];
                sizes[j] += row.weight * x[j].abs();
                let bend = c * row.weight * p * (1.0 - p) * x[j];
                curvature[j].iter_mut().zip(x).for_each(|(h, x)| *h += bend * x);
            }
        }
        let magnitude = sizes.into_iter().fold(0.0, f64::max);
        Self { objective: objective(rows, c, beta), gradient, curvature, magnitude }
    }

    /// The largest violation of the optimum's condition.
    fn residual(&self, beta: &[f64; K]) -> f64 {
        let violation = |(&b, &g): (&f64, &f64)| match b {
            0.0 => (g.abs() - 1.0).max(0.0),
            _ => (g + b.signum()).abs(),
        };
        beta.iter().zip(&self.gradient).map(violation).fold(0.0, f64::max)
    }

    /// Minimises the quadratic model plus ‖β + step‖₁, one coordinate at a time.
    fn lasso_step(&self, beta: &[f64; K]) -> [f64; K] {
        let mut step = [0.0; K];
        for _ in 0..SWEEPS {
            let mut moved = 0.0f64;
            for j in 0..K {
                // A feature that is 0 everywhere has no curvature and stays at 0.
                let Some(h) = Some(self.curvature[j][j]).filter(|&h| h > 0.0) else { continue };
                let slope = self.gradient[j] + dot(&self.curvature[j], &step) - h * step[j];
                let target = h * beta[j] - slope;
                let new = target.signum() * (target.abs() - 1.0).max(0.0) / h - beta[j];
                moved = moved.max((new - step[j]).abs() / (1.0 + beta[j].abs()));
                step[j] = new;
            }
            if moved < 1e-15 {
                break;
            }
        }
        step
    }
}

/// The first of β + step, β + step/2, … that decreases the objective enough; near the optimum, where
/// the decrease drowns in rounding, one that does not increase it by more than that.
fn line_search<const K: usize>(
    rows: &[&Observation<K>],
    c: f64,
    beta: &[f64; K],
    step: &[f64; K],
    local: &Local<K>,
) -> Option<[f64; K]> {
    let moved = |t: f64| -> [f64; K] {
        std::array::from_fn(|j| {
            // A full step to 0 is exactly 0.
            if t == 1.0 && beta[j] == -step[j] { 0.0 } else { beta[j] + t * step[j] }
        })
    };
    let decrease = dot(&local.gradient, step) + l1(&moved(1.0)) - l1(beta);
    let rounding = 64.0 * f64::EPSILON * local.objective.abs();
    (0..60).map(|halvings| 0.5f64.powi(halvings)).find_map(|t| {
        let next = moved(t);
        (objective(rows, c, &next) <= local.objective + 1e-4 * t * decrease + rounding).then_some(next)
    })
}

fn objective<const K: usize>(rows: &[&Observation<K>], c: f64, beta: &[f64; K]) -> f64 {
    let loss = |row: &&Observation<K>| row.weight * loss(row.positive, dot(&row.features, beta));
    l1(beta) + c * rows.iter().map(loss).sum::<f64>()
}

/// Cross-entropy of σ(z) from the soft label p.
fn loss(p: f64, z: f64) -> f64 {
    -p * log_sigmoid(z) - (1.0 - p) * log_sigmoid(-z)
}

fn l1<const K: usize>(beta: &[f64; K]) -> f64 {
    beta.iter().map(|b| b.abs()).sum()
}

fn dot<const K: usize>(a: &[f64; K], b: &[f64; K]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What cross-validation chose, and the fit to all rows with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen<const K: usize> {
    pub c: f64,
    pub coefficients: [f64; K],
}

pub const FOLDS: usize = 5;

/// scikit-learn's ten values of C, 1e-4 to 1e4.
pub fn grid() -> impl Iterator<Item = f64> {
    (0..10).map(|i| 10f64.powf(-4.0 + 8.0 * f64::from(i) / 9.0))
}

/// C by five-fold cross-validation, then the fit to all rows.
///
/// As scikit-learn's `LogisticRegressionCV` with `GroupKFold(5)` on AlpacaEval's duplicated rows:
/// all groups have one size, so they are dealt to the folds in turn, the last row first; a C's score
/// is the mean over folds of the fold's mean loss, a row's loss counting its weight; of equal scores
/// the smallest C.
///
/// Errors: fewer rows than folds; as [`fit`].
pub fn fit_cross_validated<const K: usize>(rows: &[Observation<K>]) -> Result<Chosen<K>> {
    if rows.len() < FOLDS {
        return Err(Error::argument("logistic::fit", "rows", rows.len(), format!("at least {FOLDS}")));
    }
    let fold = |i: usize| (rows.len() - 1 - i) % FOLDS;
    let mut losses = [0.0; 10];
    for held_out in 0..FOLDS {
        let (tested, trained): (Vec<_>, Vec<_>) =
            rows.iter().enumerate().partition(|&(i, _)| fold(i) == held_out);
        let trained: Vec<_> = trained.into_iter().map(|(_, row)| row).collect();
        let mut beta = [0.0; K];
        for (total, c) in losses.iter_mut().zip(grid()) {
            beta = fit_from(&trained, c, beta)?;
            let loss = |&(_, row): &(_, &Observation<K>)| {
                row.weight * loss(row.positive, clip(dot(&row.features, &beta)))
            };
            *total += tested.iter().map(loss).sum::<f64>() / tested.len() as f64;
        }
    }
    let first_best = |a: (f64, f64), b: (f64, f64)| if b.1 < a.1 { b } else { a };
    let (c, _) = grid().zip(losses).reduce(first_best).unwrap_or((1.0, 0.0));
    Ok(Chosen { c, coefficients: fit(rows, c)? })
}

/// AlpacaEval scores probabilities clipped to [1e-15, 1 − 1e-15].
fn clip(z: f64) -> f64 {
    let limit = (1e15 - 1.0f64).ln();
    z.clamp(-limit, limit)
}
