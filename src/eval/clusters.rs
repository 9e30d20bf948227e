//! Measures how well points cluster by their labels, compared with labels in random order.

use crate::error::{Error, Result};
use crate::eval::stats::LEVEL;
use crate::seed::permutation;
use ndarray::{Array2, ArrayView2};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Euclidean distances between rows. Shapes: [n, d] → [n, n].
pub fn distances(points: ArrayView2<f64>) -> Array2<f64> {
    let n = points.nrows();
    let mut all = Array2::zeros((n, n));
    for i in 0..n {
        for j in 0..i {
            let (a, b) = (points.row(i), points.row(j));
            let distance = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
            (all[[i, j]], all[[j, i]]) = (distance, distance);
        }
    }
    all
}

/// Rousseeuw's silhouette of every point: (b − a)/max(a, b) with a its mean distance to its own label's
/// other points and b the least mean distance to another label's; 0 for a point alone.
///
/// Shapes: distances [n, n]; labels n, below `kinds`. Units: in [−1, 1].
///
/// ```
/// use lpc::eval::clusters::{distances, silhouettes};
/// let d = distances(ndarray::array![[0.0], [1.0], [4.0]].view());
/// assert_eq!(silhouettes(d.view(), &[0, 0, 1], 2), [0.75, 2.0 / 3.0, 0.0]);
/// ```
pub fn silhouettes(distances: ArrayView2<f64>, labels: &[usize], kinds: usize) -> Vec<f64> {
    let mut sizes = vec![0usize; kinds];
    labels.iter().for_each(|&l| sizes[l] += 1);
    let of = |i: usize| {
        let mut sums = vec![0.0; kinds];
        distances.row(i).iter().zip(labels).for_each(|(d, &l)| sums[l] += d);
        let own = labels[i];
        if sizes[own] == 1 {
            return 0.0;
        }
        let a = sums[own] / (sizes[own] - 1) as f64;
        let others = (0..kinds).filter(|&l| l != own && sizes[l] > 0);
        let b = others.map(|l| sums[l] / sizes[l] as f64).fold(f64::INFINITY, f64::min);
        if b.is_finite() && a.max(b) > 0.0 { (b - a) / a.max(b) } else { 0.0 }
    };
    (0..labels.len()).map(of).collect()
}

/// The `k` nearest other points of each point. Points at equal distances are taken in their order.
pub fn neighbours(distances: ArrayView2<f64>, k: usize) -> Vec<Vec<usize>> {
    let of = |i: usize| {
        let mut others: Vec<usize> = (0..distances.ncols()).filter(|&j| j != i).collect();
        others.sort_by(|&a, &b| distances[[i, a]].total_cmp(&distances[[i, b]]));
        others.truncate(k);
        others
    };
    (0..distances.nrows()).map(of).collect()
}

/// Whether each point's label is the commonest among its neighbours. If several are equally common, the smallest
/// counts.
pub fn votes_right(neighbours: &[Vec<usize>], labels: &[usize], kinds: usize) -> Vec<bool> {
    let vote = |near: &Vec<usize>| {
        let mut votes = vec![0usize; kinds];
        near.iter().for_each(|&j| votes[labels[j]] += 1);
        let most = votes.iter().max().copied().unwrap_or(0);
        votes.iter().position(|v| *v == most)
    };
    neighbours.iter().zip(labels).map(|(near, &label)| vote(near) == Some(label)).collect()
}

/// A statistic, and its values for labels in random order (the null).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgainstNull {
    pub value: f64,
    pub null_mean: f64,
    /// The interval that holds [`LEVEL`] of the null's values.
    pub null_low: f64,
    pub null_high: f64,
    /// Share of all orders, the real one included, whose value is at least as large.
    pub p_value: f64,
}

/// `statistic` of the labels as they are and in `permutations` random orders.
///
/// Errors: no permutation.
pub fn against_permutations(
    labels: &[usize],
    permutations: usize,
    rng: &mut impl Rng,
    statistic: impl Fn(&[usize]) -> f64,
) -> Result<AgainstNull> {
    if permutations == 0 {
        return Err(Error::argument("permutation null", "permutations", 0, "at least 1"));
    }
    let value = statistic(labels);
    let mut null: Vec<f64> = (0..permutations)
        .map(|_| {
            let order = permutation(rng, labels.len());
            statistic(&order.into_iter().map(|i| labels[i]).collect::<Vec<_>>())
        })
        .collect();
    null.sort_by(f64::total_cmp);
    let at = |q: f64| null[((q * (null.len() - 1) as f64).round() as usize).min(null.len() - 1)];
    let as_much = null.iter().filter(|v| **v >= value).count();
    Ok(AgainstNull {
        value,
        null_mean: null.iter().sum::<f64>() / null.len() as f64,
        null_low: at((1.0 - LEVEL) / 2.0),
        null_high: at((1.0 + LEVEL) / 2.0),
        p_value: (1 + as_much) as f64 / (1 + permutations) as f64,
    })
}

/// Mutual information of a label and a code that is `weights` [n, K] sure, in nats: of the joint
/// distribution Σ_i [label = l] w_ik / n.
///
/// Numerics: 0 ln 0 = 0; never below 0 but by rounding.
///
/// ```
/// let sure = ndarray::array![[1.0, 0.0], [0.0, 1.0]];
/// let bits = lpc::eval::clusters::mutual_information(&[0, 1], 2, sure.view());
/// assert!((bits - 2f64.ln()).abs() < 1e-15);
/// ```
pub fn mutual_information(labels: &[usize], kinds: usize, weights: ArrayView2<f64>) -> f64 {
    let n = labels.len() as f64;
    let mut joint = Array2::<f64>::zeros((kinds, weights.ncols()));
    for (row, &label) in weights.rows().into_iter().zip(labels) {
        joint.row_mut(label).zip_mut_with(&row, |j, w| *j += w / n);
    }
    let (by_label, by_code) = (joint.sum_axis(ndarray::Axis(1)), joint.sum_axis(ndarray::Axis(0)));
    let term = |((l, k), &p): ((usize, usize), &f64)| {
        if p > 0.0 { p * (p / (by_label[l] * by_code[k])).ln() } else { 0.0 }
    };
    joint.indexed_iter().map(term).sum()
}
