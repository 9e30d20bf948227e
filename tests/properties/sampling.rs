//! Gumbel noise makes categorical draws. Fixed seeds: a failure is a defect, never bad luck.

use crate::support::Draw;
use lpc::spec::elbo::negative_elbo_exact;
use lpc::spec::gumbel::*;
use lpc::spec::numerics::softmax;
use ndarray::{Array1, array};
use statrs::distribution::{ChiSquared, ContinuousCDF};

const DRAWS: usize = 20_000;

/// Pearson's test of hard samples from `logits` against `probabilities`.
fn p_value(draw: &mut Draw, logits: &Array1<f64>, probabilities: &Array1<f64>) -> f64 {
    let k = logits.len();
    let counts = (0..DRAWS)
        .map(|_| hard_sample(logits, &draw.gumbel(k)).unwrap())
        .fold(Array1::<f64>::zeros(k), |sum, sample| sum + sample);
    let expected = probabilities * DRAWS as f64;
    let statistic: f64 = counts.iter().zip(&expected).map(|(c, e)| (c - e).powi(2) / e).sum();
    ChiSquared::new((k - 1) as f64).unwrap().sf(statistic)
}

#[test]
fn the_largest_perturbed_logit_is_a_categorical_draw() {
    for seed in 0..8 {
        let mut draw = Draw::new(seed);
        let logits = draw.vector(2 + seed as usize, 1.0);
        let p = p_value(&mut draw, &logits, &softmax(&logits));
        // Eight tests: one in about a thousand sets of seeds would fall below.
        assert!(p > 1e-4, "seed {seed}: p = {p:e}");
    }
}

/// The test has the power to notice: a distribution a tenth of a nat away is refused.
#[test]
fn a_slightly_wrong_categorical_is_noticed() {
    let mut draw = Draw::new(1);
    let logits = draw.vector(5, 1.0);
    let mut wrong = logits.clone();
    wrong[0] += 0.1;
    let p = p_value(&mut draw, &logits, &softmax(&wrong));
    assert!(p < 1e-4, "p = {p:e}");
}

/// Mean and standard error of `f` over draws of the noise.
fn estimate(draw: &mut Draw, k: usize, f: impl Fn(&Array1<f64>) -> f64) -> (f64, f64) {
    let values: Vec<f64> = (0..DRAWS).map(|_| f(&draw.gumbel(k))).collect();
    let mean = values.iter().sum::<f64>() / DRAWS as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (DRAWS - 1) as f64;
    (mean, (variance / DRAWS as f64).sqrt())
}

/// Discrete samples estimate E_q of (7) without bias; relaxed ones do not, since a relaxed g puts
/// the non-linear loss at a mixture of codes. Here log σ of the mixed margin, convex, so the
/// relaxed loss lies below, by many standard errors at τ = 1.
#[test]
fn relaxed_samples_estimate_something_else() {
    let mut draw = Draw::new(3);
    let (q, margins) = (draw.vector(4, 1.0), draw.vector(4, 4.0));
    let loss = |m: f64| lpc::spec::objective::dpo_loss(1.0, m).unwrap();
    let exact = negative_elbo_exact(&margins.mapv(loss), &q, &q, 1.0).unwrap();

    let (hard, error) = estimate(&mut draw, 4, |noise| loss(hard_sample(&q, noise).unwrap().dot(&margins)));
    assert!((hard - exact).abs() < 4.0 * error, "{hard} ± {error}, exact {exact}");

    let (relaxed, error) =
        estimate(&mut draw, 4, |noise| loss(gumbel_softmax(&q, noise, 1.0).unwrap().dot(&margins)));
    assert!(relaxed < exact - 10.0 * error, "{relaxed} ± {error}, exact {exact}");
}

/// Straight-through samples are codes: the mean of a linear function over the noise is its mean
/// over the codes, here for random logits, coefficients and τ.
#[test]
fn straight_through_values_are_unbiased() {
    for seed in 10..16 {
        let mut draw = Draw::new(seed);
        let k = 2 + seed as usize % 4;
        let (logits, c) = (draw.vector(k, 1.0), draw.vector(k, 2.0));
        let tau = draw.vector(1, 1.0)[0].exp();
        let (mean, error) =
            estimate(&mut draw, k, |noise| straight_through(&logits, noise, tau).unwrap().dot(&c));
        let exact = softmax(&logits).dot(&c);
        // Six tests at four standard errors: one in some 2,600 sets of seeds would fall outside.
        assert!((mean - exact).abs() < 4.0 * error, "seed {seed}: {mean} ± {error}, exact {exact}");
    }
}

/// The mean over the noise of the gradient's first component, for two codes, τ = 1 and the loss
/// c·z: an integral over a grid, since the difference of two Gumbel draws is ln u − ln(1 − u).
fn mean_straight_through(logit: f64, c: &Array1<f64>) -> f64 {
    const POINTS: usize = 10_000;
    let at = |i: usize| {
        let u = (i as f64 + 0.5) / POINTS as f64;
        let noise = array![u.ln() - (1.0 - u).ln(), 0.0];
        straight_through_gradient(&array![logit, 0.0], &noise, 1.0, c).unwrap()[0]
    };
    (0..POINTS).map(at).sum::<f64>() / POINTS as f64
}

/// By hand (`paper/derivations.md`, 8): with a = e^logit the true derivative of E[c·z] is
/// (c_0 − c_1) a/(1 + a)², and the estimator's mean (c_0 − c_1) a [(a + 1) ln a − 2 (a − 1)]/(a − 1)³:
/// less between codes that are nearly equal, more where one of them is rare.
#[test]
fn straight_through_gradients_are_biased() {
    let mut draw = Draw::new(20);
    let mut signs = vec![];
    for logit in [-4.0, -2.5, -1.0, 0.5, 1.5, 3.0] {
        let c = draw.vector(2, 1.0);
        let a = f64::exp(logit);
        let true_slope = (c[0] - c[1]) * a / (1.0 + a).powi(2);
        let mean = (c[0] - c[1]) * a * ((a + 1.0) * logit - 2.0 * (a - 1.0)) / (a - 1.0).powi(3);
        let measured = mean_straight_through(logit, &c);
        // The midpoint rule errs by at most |f″|/24/POINTS², and |f″| stays below 1e4 here.
        assert!((measured - mean).abs() < 1e-5 * mean.abs(), "{logit}: {measured}, by hand {mean}");
        let ratio = measured / true_slope;
        assert!((ratio - 1.0).abs() > 0.05, "{logit}: {ratio}");
        signs.push(ratio > 1.0);
    }
    assert_eq!(signs, [true, true, false, false, false, true]);
    // At equal logits the integral is that of g (1 − g) over a uniform g, 1/6; the truth is 1/4.
    let middle = mean_straight_through(0.0, &array![1.0, 0.0]);
    assert!((middle - 1.0 / 6.0).abs() < 1e-8, "{middle}");
}
