//! Logistic regression with an L1 penalty on soft labels, and its penalty by cross-validation.
//!
//! AlpacaEval uses scikit-learn (liblinear). This solver finds the optimum of the same problem: each Newton step is a
//! small lasso problem, which is solved exactly.

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
const NEWTON_STEPS: usize = 1000;
/// Shares of the largest possible curvature. They are added to the real curvature one after the other until a step
/// improves. If rows are predicted with certainty, the real curvature is almost 0 and holds only very close by.
const DAMPING: [f64; 10] = [0.0, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1e-1, 1.0];
/// A set of features whose curvature has a smaller pivot, relative to its diagonal, is taken as dependent.
const INDEPENDENT: f64 = 1e-13;

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
    let mut local = Local::at(rows, c, &beta);
    for _ in 0..NEWTON_STEPS {
        if !local.objective.is_finite() {
            return Err(Error::argument("logistic::fit", "objective", local.objective, "finite"));
        }
        if local.residual(&beta) <= 1.0 {
            return Ok(beta);
        }
        let next = DAMPING.into_iter().find_map(|damping| improve(rows, c, &beta, &local, damping));
        let Some(next) = next else { break };
        (beta, local) = next;
    }
    Err(Error::argument(
        "logistic::fit",
        format!("distance from the optimum at C = {c}"),
        format!("{} tolerances", local.residual(&beta)),
        format!("at most 1 after {NEWTON_STEPS} steps"),
    ))
}

/// Gradient and curvature of the smooth part.
#[derive(Clone, Copy)]
struct Local<const K: usize> {
    objective: f64,
    gradient: [f64; K],
    curvature: [[f64; K]; K],
    /// A diagonal that no curvature exceeds, at whatever β.
    largest: [f64; K],
    /// What rounding leaves of a gradient entry: of its terms, and of x·β, which moves p by p (1 − p).
    rounding: [f64; K],
}

impl<const K: usize> Local<K> {
    fn at(rows: &[&Observation<K>], c: f64, beta: &[f64; K]) -> Self {
        let (mut gradient, mut curvature) = ([0.0; K], [[0.0; K]; K]);
        let (mut largest, mut sizes) = ([0.0; K], [0.0; K]);
        for row in rows {
            let x = &row.features;
            let p = sigmoid(dot(x, beta));
            let bend = p * (1.0 - p);
            let terms: f64 = x.iter().zip(beta).map(|(x, b)| (x * b).abs()).sum();
            for j in 0..K {
                gradient[j] += c * row.weight * (p - row.positive) * x[j];
                // p (1 − p) is at most 1/4, and a square of K terms at most K times their squares.
                largest[j] += c * row.weight * x[j] * x[j] / 4.0 * K as f64;
                sizes[j] += c * row.weight * x[j].abs() * (1.0 + bend * terms);
                curvature[j]
                    .iter_mut()
                    .zip(x)
                    .for_each(|(h, other)| *h += c * row.weight * bend * x[j] * other);
            }
        }
        let rounding = sizes.map(|size| 4.0 * f64::EPSILON * size);
        Self { objective: objective(rows, c, beta), gradient, curvature, largest, rounding }
    }

    /// The largest violation of the optimum's condition, in tolerances.
    fn residual(&self, beta: &[f64; K]) -> f64 {
        let violation = |j: usize| match (beta[j], self.gradient[j]) {
            (0.0, g) => (g.abs() - 1.0).max(0.0),
            (b, g) => (g + b.signum()).abs(),
        };
        (0..K).map(|j| violation(j) / TOLERANCE.max(self.rounding[j])).fold(0.0, f64::max)
    }

    fn damped(mut self, damping: f64) -> Self {
        (0..K).for_each(|j| self.curvature[j][j] += damping * self.largest[j]);
        self
    }

    /// Change of the quadratic model plus ‖β + step‖₁.
    fn change(&self, beta: &[f64; K], step: &[f64; K]) -> f64 {
        let bent: f64 = (0..K).map(|j| step[j] * dot(&self.curvature[j], step)).sum();
        let end: [f64; K] = std::array::from_fn(|j| beta[j] + step[j]);
        dot(&self.gradient, step) + bent / 2.0 + l1(&end) - l1(beta)
    }

    /// Minimises the quadratic model plus ‖β + step‖₁. For each choice of signs, zero included, the
    /// minimum is a linear system; the best of all these points is the minimum, however the features
    /// depend on each other: an optimum needs no dependent ones at once.
    fn lasso_step(&self, beta: &[f64; K]) -> [f64; K] {
        let signs = (0..3usize.pow(K as u32)).map(|choice| -> [f64; K] {
            std::array::from_fn(|j| (choice / 3usize.pow(j as u32) % 3) as f64 - 1.0)
        });
        let steps = signs.filter_map(|signs| self.step_within(beta, &signs));
        let best = steps.map(|step| (self.change(beta, &step), step)).min_by(|(a, _), (b, _)| a.total_cmp(b));
        best.map_or([0.0; K], |(_, step)| step)
    }

    /// The stationary point with the penalty's slope fixed at `signs`, β + step = 0 where a sign is 0:
    /// symmetric elimination. Nothing where the other features depend on each other.
    fn step_within(&self, beta: &[f64; K], signs: &[f64; K]) -> Option<[f64; K]> {
        let mut step: [f64; K] = std::array::from_fn(|j| if signs[j] == 0.0 { -beta[j] } else { 0.0 });
        let mut h = self.curvature;
        let mut right: [f64; K] =
            std::array::from_fn(|j| -(self.gradient[j] + signs[j] + dot(&self.curvature[j], &step)));
        let free: Vec<usize> = (0..K).filter(|&j| signs[j] != 0.0).collect();
        for (n, &i) in free.iter().enumerate() {
            if h[i][i].is_nan() || h[i][i] <= INDEPENDENT * self.curvature[i][i] {
                return None;
            }
            for &j in &free[n + 1..] {
                let factor = h[j][i] / h[i][i];
                for &k in &free[n..] {
                    h[j][k] -= factor * h[i][k];
                }
                right[j] -= factor * right[i];
            }
        }
        for (n, &i) in free.iter().enumerate().rev() {
            let known: f64 = free[n + 1..].iter().map(|&k| h[i][k] * step[k]).sum();
            step[i] = (right[i] - known) / h[i][i];
        }
        Some(step)
    }
}

/// A step, if it decreases the objective enough. If the decrease is below the rounding error, the step is taken if it
/// ends nearer to the condition of the optimum.
fn improve<const K: usize>(
    rows: &[&Observation<K>],
    c: f64,
    beta: &[f64; K],
    local: &Local<K>,
    damping: f64,
) -> Option<([f64; K], Local<K>)> {
    let model = local.damped(damping);
    let step = model.lasso_step(beta);
    // A full step to 0 is exactly 0.
    let next = std::array::from_fn(|j| beta[j] + step[j]);
    let there = Local::at(rows, c, &next);
    let rounding = 64.0 * f64::EPSILON * local.objective.abs();
    let enough = there.objective <= local.objective + 1e-4 * model.change(beta, &step) - rounding;
    let nearer =
        there.objective <= local.objective + rounding && there.residual(&next) < local.residual(beta);
    (enough || nearer).then_some((next, there))
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

const FOLDS: usize = 5;

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
        return Err(Error::argument(
            "logistic::fit",
            "rows with a verdict",
            rows.len(),
            format!("at least {FOLDS}"),
        ));
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
