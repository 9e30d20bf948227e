//! Random inputs, and central differences to hold closed-form gradients against.

use lpc::config::{Gpo, Objective};
use lpc::seed;
use lpc::spec::gradient::{LatentRule, LpcPair, LpcSettings};
use lpc::spec::objective::PairLogps;
use ndarray::{Array1, Array2};
use proptest::prelude::*;
use rand_chacha::ChaCha12Rng;

/// A few roundings of f64 (2.2e-16 each) through sums of some ten terms.
pub const ROUNDING: f64 = 1e-13;

/// The default number of cases, which PROPTEST_CASES raises.
pub fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// |a − b| within `ROUNDING`, relative to the larger once that exceeds 1.
#[track_caller]
pub fn assert_close(a: f64, b: f64) {
    let scale = a.abs().max(b.abs()).max(1.0);
    assert!((a - b).abs() <= ROUNDING * scale, "{a} and {b} differ by {:e}", (a - b).abs());
}

#[track_caller]
pub fn assert_all_close<'a>(a: impl IntoIterator<Item = &'a f64>, b: impl IntoIterator<Item = &'a f64>) {
    let (a, b): (Vec<_>, Vec<_>) = (a.into_iter().collect(), b.into_iter().collect());
    assert_eq!(a.len(), b.len());
    a.into_iter().zip(b).for_each(|(a, b)| assert_close(*a, *b));
}

/// Arrays drawn from one seed.
pub struct Draw(ChaCha12Rng);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed::stream(seed, "properties"))
    }

    pub fn vector(&mut self, n: usize, scale: f64) -> Array1<f64> {
        Array1::from(seed::normal(&mut self.0, n)) * scale
    }

    pub fn matrix(&mut self, rows: usize, columns: usize, scale: f64) -> Array2<f64> {
        self.vector(rows * columns, scale).into_shape_with_order((rows, columns)).unwrap()
    }

    pub fn gumbel(&mut self, n: usize) -> Array1<f64> {
        Array1::from(seed::gumbel(&mut self.0, n))
    }

    pub fn tokens(&mut self, n: usize, vocabulary: usize) -> Vec<u32> {
        (0..n).map(|_| seed::below(&mut self.0, vocabulary) as u32).collect()
    }

    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        seed::permutation(&mut self.0, n)
    }
}

/// Every objective of the recipe, with its parameters.
pub fn objective() -> impl Strategy<Value = Objective> {
    prop_oneof![
        (0.02..4.0).prop_map(|beta| Objective::Dpo { beta }),
        (0.05..2.0).prop_map(|ipo_tau| Objective::Ipo { ipo_tau }),
        (0.02..4.0, -2.0..2.0).prop_map(|(beta, gamma)| Objective::Simpo { beta, gamma }),
        // Smooth and bounded by f64: differences meet no corner, and every margin has a loss.
        (prop::sample::select(vec![Gpo::Logistic, Gpo::Squared, Gpo::Savage]), 0.02..2.0)
            .prop_map(|(member, beta)| Objective::Gpo { member, beta }),
    ]
}

/// Every latent rule, with its parameters.
pub fn latent_rule() -> impl Strategy<Value = LatentRule> {
    let prior_weight = prop_oneof![Just(0.0), Just(1.0), 0.0..1.0];
    prop_oneof![
        1 => Just(LatentRule::None),
        3 => (0.4..3.0, prior_weight, 0.0..2.0).prop_map(|(gumbel_tau, prior_weight, kl_weight)| {
            LatentRule::Gumbel { gumbel_tau, prior_weight, kl_weight }
        }),
        2 => (0.0..2.0).prop_map(|kl_weight| LatentRule::ExactElbo { kl_weight }),
        2 => Just(LatentRule::Marginal),
    ]
}

pub fn settings() -> impl Strategy<Value = LpcSettings> {
    (objective(), latent_rule()).prop_map(|(objective, latent)| LpcSettings { objective, latent })
}

/// The owner of what an [`LpcPair`] borrows.
#[derive(Debug, Clone)]
pub struct Example {
    pub chosen_hidden: Array2<f64>,
    pub rejected_hidden: Array2<f64>,
    pub chosen_tokens: Vec<u32>,
    pub rejected_tokens: Vec<u32>,
    pub lm_head: Array2<f64>,
    pub codebook: Array2<f64>,
    pub prior_logits: Array1<f64>,
    pub posterior_logits: Array1<f64>,
    pub prior_noise: Array1<f64>,
    pub posterior_noise: Array1<f64>,
    pub reference: PairLogps,
}

impl Example {
    pub fn draw(
        seed: u64,
        chosen: usize,
        rejected: usize,
        vocabulary: usize,
        d: usize,
        codes: usize,
    ) -> Self {
        let mut draw = Draw::new(seed);
        let reference = draw.vector(2, 3.0);
        Self {
            chosen_hidden: draw.matrix(chosen, d, 1.0),
            rejected_hidden: draw.matrix(rejected, d, 1.0),
            chosen_tokens: draw.tokens(chosen, vocabulary),
            rejected_tokens: draw.tokens(rejected, vocabulary),
            lm_head: draw.matrix(vocabulary, d, 1.0),
            codebook: draw.matrix(codes, d, 1.0),
            prior_logits: draw.vector(codes, 1.5),
            posterior_logits: draw.vector(codes, 1.5),
            prior_noise: draw.gumbel(codes),
            posterior_noise: draw.gumbel(codes),
            reference: PairLogps { chosen: reference[0] - 5.0, rejected: reference[1] - 5.0 },
        }
    }

    pub fn pair(&self) -> LpcPair<'_> {
        LpcPair {
            chosen_hidden: &self.chosen_hidden,
            rejected_hidden: &self.rejected_hidden,
            chosen_tokens: &self.chosen_tokens,
            rejected_tokens: &self.rejected_tokens,
            lm_head: &self.lm_head,
            codebook: &self.codebook,
            prior_logits: &self.prior_logits,
            posterior_logits: &self.posterior_logits,
            prior_noise: &self.prior_noise,
            posterior_noise: &self.posterior_noise,
            reference: self.reference,
        }
    }
}

/// Pairs of 1–4 tokens a side, 2–6 words, width 1–4, 1–5 codes.
pub fn example() -> impl Strategy<Value = Example> {
    (any::<u64>(), 1usize..5, 1usize..5, 2usize..7, 1usize..5, 1usize..6)
        .prop_map(|(seed, chosen, rejected, v, d, k)| Example::draw(seed, chosen, rejected, v, d, k))
}

/// Step of the five-point stencil.
const STEP: f64 = 1e-3;
/// Truncation: STEP⁴/30 = 3e-14 of a fifth derivative, which cold samples and steep objectives
/// bring to some 1e7 times the first; the golden values hold the digits beyond.
const FROM_TRUNCATION: f64 = 1e-6;
/// Rounding of f divided by STEP, with room for f's own condition.
const FROM_ROUNDING: f64 = 1e-11;

/// Holds `closed` against central differences of `f` at `x`, component by component.
#[track_caller]
pub fn assert_gradient<'a>(
    what: &str,
    closed: impl IntoIterator<Item = &'a f64>,
    x: &[f64],
    f: impl Fn(&[f64]) -> f64,
) {
    let closed: Vec<f64> = closed.into_iter().copied().collect();
    assert_eq!(closed.len(), x.len(), "{what}: one derivative an input");
    let at = |i: usize, steps: f64| {
        let mut moved = x.to_vec();
        moved[i] += steps * STEP;
        f(&moved)
    };
    let numeric: Vec<f64> = (0..x.len())
        .map(|i| (8.0 * (at(i, 1.0) - at(i, -1.0)) - (at(i, 2.0) - at(i, -2.0))) / (12.0 * STEP))
        .collect();
    let scale = numeric.iter().fold(1e-3_f64, |m, v| m.max(v.abs()));
    let tolerance = FROM_TRUNCATION * scale + FROM_ROUNDING * f(x).abs().max(1.0);
    for (i, (c, n)) in closed.iter().zip(&numeric).enumerate() {
        assert!((c - n).abs() <= tolerance, "{what}[{i}]: closed {c}, numeric {n}, tolerance {tolerance:e}");
    }
}
