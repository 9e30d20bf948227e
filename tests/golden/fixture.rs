//! Reading the fixtures and comparing with them.

use lpc::config::Objective;
use lpc::spec::gradient::{LatentRule, LpcGradients, LpcPair, LpcSettings, lpc_loss};
use lpc::spec::objective::PairLogps;
use ndarray::{Array1, Array2};
use serde::Deserialize;
use std::path::PathBuf;

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden")
}

/// The `cases` of one fixture file.
pub fn read<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    #[derive(Deserialize)]
    struct File<T> {
        cases: T,
    }
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    serde_json::from_str::<File<T>>(&text).unwrap_or_else(|e| panic!("{name}: {e}")).cases
}

/// How close is close: relative, with an absolute floor for values that cancel to nearly nothing.
#[derive(Clone, Copy)]
pub struct Tolerance {
    pub relative: f64,
    /// Times the largest expected magnitude beside it, at least 1: a difference of terms of size s
    /// carries the rounding of s however small it turns out.
    pub floor: f64,
}

impl Tolerance {
    #[track_caller]
    pub fn check<'a>(
        &self,
        what: &str,
        got: impl IntoIterator<Item = &'a f64>,
        expected: impl IntoIterator<Item = &'a f64>,
    ) {
        let (got, expected): (Vec<f64>, Vec<f64>) =
            (got.into_iter().copied().collect(), expected.into_iter().copied().collect());
        assert_eq!(got.len(), expected.len(), "{what}");
        let scale = expected.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
        for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
            let allowed = self.relative * e.abs() + self.floor * scale;
            assert!(
                (g - e).abs() <= allowed,
                "{what}[{i}]: got {g}, expected {e}, off by {:e}",
                (g - e).abs()
            );
        }
    }

    #[track_caller]
    pub fn check_one(&self, what: &str, got: f64, expected: f64) {
        self.check(what, &[got], &[expected]);
    }
}

pub type Vector = Vec<f64>;
pub type Matrix = Vec<Vec<f64>>;

pub fn vector(values: &[f64]) -> Array1<f64> {
    Array1::from(values.to_vec())
}

pub fn matrix(rows: &[Vec<f64>]) -> Array2<f64> {
    Array2::from_shape_vec((rows.len(), rows[0].len()), rows.concat()).unwrap()
}

/// Inputs of the whole loss.
#[derive(Deserialize)]
pub struct Pair {
    pub chosen_hidden: Matrix,
    pub rejected_hidden: Matrix,
    pub chosen_tokens: Vec<u32>,
    pub rejected_tokens: Vec<u32>,
    pub lm_head: Matrix,
    pub codebook: Matrix,
    pub prior_logits: Vector,
    pub posterior_logits: Vector,
    pub prior_noise: Vector,
    pub posterior_noise: Vector,
    pub reference_chosen: f64,
    pub reference_rejected: f64,
}

impl Pair {
    /// Calls `f` with the pair as arrays.
    pub fn with<T>(&self, f: impl FnOnce(&LpcPair) -> T) -> T {
        f(&LpcPair {
            chosen_hidden: &matrix(&self.chosen_hidden),
            rejected_hidden: &matrix(&self.rejected_hidden),
            chosen_tokens: &self.chosen_tokens,
            rejected_tokens: &self.rejected_tokens,
            lm_head: &matrix(&self.lm_head),
            codebook: &matrix(&self.codebook),
            prior_logits: &vector(&self.prior_logits),
            posterior_logits: &vector(&self.posterior_logits),
            prior_noise: &vector(&self.prior_noise),
            posterior_noise: &vector(&self.posterior_noise),
            reference: PairLogps { chosen: self.reference_chosen, rejected: self.reference_rejected },
        })
    }
}

#[derive(Deserialize)]
pub struct Settings {
    pub objective: Objective,
    pub gumbel_tau: f64,
    pub prior_weight: f64,
    pub kl_weight: f64,
}

#[derive(Deserialize)]
pub struct Gradients {
    pub chosen_hidden: Matrix,
    pub rejected_hidden: Matrix,
    pub lm_head: Matrix,
    pub codebook: Matrix,
    pub prior_logits: Vector,
    pub posterior_logits: Vector,
}

/// The whole loss, as both peers store it.
#[derive(Deserialize)]
pub struct Lpc {
    pub pair: Pair,
    pub settings: Settings,
    pub loss: f64,
    pub kl: f64,
    pub policy_logps: Vector,
    pub code_weights: Vector,
    pub gradients: Gradients,
}

impl Lpc {
    pub fn settings(&self) -> LpcSettings {
        let Settings { objective, gumbel_tau, prior_weight, kl_weight } = self.settings;
        LpcSettings { objective, latent: LatentRule::Gumbel { gumbel_tau, prior_weight, kl_weight } }
    }

    pub fn check(&self, tolerance: Tolerance) {
        let got = self.pair.with(|pair| lpc_loss(pair, &self.settings()).unwrap());
        let LpcGradients {
            chosen_hidden,
            rejected_hidden,
            lm_head,
            codebook,
            prior_logits,
            posterior_logits,
        } = &got.gradients;
        tolerance.check_one("loss", got.loss, self.loss);
        tolerance.check_one("kl", got.kl, self.kl);
        tolerance.check("policy_logps", &[got.policy.chosen, got.policy.rejected], &self.policy_logps);
        tolerance.check("code_weights", &got.code_weights, &self.code_weights);
        let g = &self.gradients;
        tolerance.check("∂chosen_hidden", chosen_hidden, g.chosen_hidden.iter().flatten());
        tolerance.check("∂rejected_hidden", rejected_hidden, g.rejected_hidden.iter().flatten());
        tolerance.check("∂lm_head", lm_head, g.lm_head.iter().flatten());
        tolerance.check("∂codebook", codebook, g.codebook.iter().flatten());
        tolerance.check("∂prior_logits", prior_logits, &g.prior_logits);
        tolerance.check("∂posterior_logits", posterior_logits, &g.posterior_logits);
    }
}
