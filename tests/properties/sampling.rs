//! Gumbel noise makes categorical draws. Fixed seeds: a failure is a defect, never bad luck.

use crate::support::Draw;
use lpc::spec::elbo::negative_elbo_exact;
use lpc::spec::gumbel::{gumbel_softmax, hard_sample};
use lpc::spec::numerics::softmax;
use ndarray::Array1;
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
