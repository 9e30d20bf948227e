//! Logarithms of sums and of sigmoids that neither overflow nor cancel.

use ndarray::{Array1, Array2, ArrayRef1};

/// log σ(x) = −log(1 + e^−x).
///
/// Source: used by (2), (5), (12). Twin: `tensor::numerics::log_sigmoid`.
///
/// Numerics: min(x, 0) − log1p(e^−|x|): no overflow, and full relative accuracy at both ends,
/// where log(σ(x)) would give log(0) or log(1).
///
/// ```
/// use lpc::spec::numerics::log_sigmoid;
/// assert_eq!(log_sigmoid(0.0), -std::f64::consts::LN_2);
/// assert_eq!(log_sigmoid(-1e4), -1e4);
/// ```
pub fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

/// σ(x) = 1 / (1 + e^−x), by the branch whose exponential cannot overflow.
///
/// Twin: none; reverse mode finds it from `tensor::numerics::log_sigmoid`.
pub fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// log Σ_i e^{x_i}; −∞ for an empty vector.
///
/// Twin: `tensor::numerics::logsumexp`.
///
/// ```
/// use lpc::spec::numerics::logsumexp;
/// use ndarray::array;
/// assert_eq!(logsumexp(&array![1e4, 1e4]), 1e4 + std::f64::consts::LN_2);
/// ```
pub fn logsumexp(x: &ArrayRef1<f64>) -> f64 {
    let (peak, log_rest) = peak_and_rest(x);
    peak + log_rest
}

/// log softmax(x)_i = x_i − log Σ_j e^{x_j}.
///
/// Twin: `tensor::numerics::log_softmax`. Shapes: [K] → [K].
///
/// Numerics: (x − peak) is formed first, so a large common shift costs no digits.
pub fn log_softmax(x: &ArrayRef1<f64>) -> Array1<f64> {
    let (peak, log_rest) = peak_and_rest(x);
    x.mapv(|v| (v - peak) - log_rest)
}

/// softmax(x)_i = e^{x_i} / Σ_j e^{x_j}.
///
/// Twin: `tensor::numerics::softmax`. Shapes: [K] → [K].
pub fn softmax(x: &ArrayRef1<f64>) -> Array1<f64> {
    log_softmax(x).mapv_into(f64::exp)
}

/// a ⊗ b, [m] and [n] → [m, n].
pub(super) fn outer(a: &ArrayRef1<f64>, b: &ArrayRef1<f64>) -> Array2<f64> {
    Array2::from_shape_fn((a.len(), b.len()), |(i, j)| a[i] * b[j])
}

/// The largest element, and log Σ e^{x − peak}. The peak's own 1 is left to `ln_1p`, so that a
/// nearly certain outcome keeps its tiny log-probability instead of rounding to 0.
fn peak_and_rest(x: &ArrayRef1<f64>) -> (f64, f64) {
    let Some(top) = (0..x.len()).reduce(|a, b| if x[b] > x[a] { b } else { a }) else {
        return (f64::NEG_INFINITY, 0.0);
    };
    let peak = x[top];
    let rest: f64 = x.iter().enumerate().filter(|&(i, _)| i != top).map(|(_, v)| (v - peak).exp()).sum();
    (peak, rest.ln_1p())
}
