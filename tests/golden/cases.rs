//! What the fixture files hold.

use crate::fixture::{Lpc, Matrix, Pair, Vector, read};
use lpc::config::Gpo;
use serde::Deserialize;
use std::sync::LazyLock;

pub static MPMATH: LazyLock<Mpmath> = LazyLock::new(|| read("mpmath.json"));
pub static TORCH: LazyLock<Torch> = LazyLock::new(|| read("torch.json"));
pub static TRAINERS: LazyLock<Vec<Trainer>> = LazyLock::new(|| read("trainers.json"));

#[derive(Deserialize)]
pub struct Mpmath {
    pub sigmoid: Vec<Sigmoid>,
    pub softmax: Vec<Softmax>,
    pub dpo: Vec<Dpo>,
    pub ipo: Vec<Ipo>,
    pub gpo: Vec<Member>,
    pub simpo: Vec<Simpo>,
    pub codes: Vec<Codes>,
    pub rewards: Vec<Rewards>,
    pub lpc: Vec<Lpc>,
}

#[derive(Deserialize)]
pub struct Sigmoid {
    pub x: f64,
    pub sigmoid: f64,
    pub log_sigmoid: f64,
}

#[derive(Deserialize)]
pub struct Softmax {
    pub x: Vector,
    pub logsumexp: f64,
    pub softmax: Vector,
    pub log_softmax: Vector,
}

#[derive(Deserialize)]
pub struct Dpo {
    pub beta: f64,
    pub margin: f64,
    pub loss: f64,
    pub gradient: f64,
}

#[derive(Deserialize)]
pub struct Ipo {
    pub ipo_tau: f64,
    pub margin: f64,
    pub loss: f64,
    pub gradient: f64,
}

#[derive(Deserialize)]
pub struct Member {
    pub family: String,
    pub beta: f64,
    pub margin: f64,
    pub loss: f64,
    pub gradient: f64,
}

impl Member {
    pub fn member(&self) -> Gpo {
        match self.family.as_str() {
            "logistic" => Gpo::Logistic,
            "squared" => Gpo::Squared,
            "hinge" => Gpo::Hinge,
            "exponential" => Gpo::Exponential,
            "truncated_squared" => Gpo::TruncatedSquared,
            "savage" => Gpo::Savage,
            other => panic!("{other}"),
        }
    }
}

#[derive(Deserialize)]
pub struct Simpo {
    pub beta: f64,
    pub gamma: f64,
    pub chosen_sum: f64,
    pub chosen_len: usize,
    pub rejected_sum: f64,
    pub rejected_len: usize,
    pub loss: f64,
    pub gradient: Vector,
}

#[derive(Deserialize)]
pub struct Codes {
    pub posterior_logits: Vector,
    pub prior_logits: Vector,
    pub noise: Vector,
    pub gumbel_tau: f64,
    pub upstream: Vector,
    pub beta: f64,
    pub margins: Vector,
    pub kl_weight: f64,
    pub code_losses: Vector,
    pub sample: Vector,
    pub sample_gradient: Vector,
    pub kl: f64,
    pub kl_posterior: Vector,
    pub kl_prior: Vector,
    pub kl_from_uniform: f64,
    pub marginal: f64,
    pub marginal_prior: Vector,
    pub marginal_margins: Vector,
    pub true_posterior_logps: Vector,
    pub bound_gap: f64,
    pub elbo: f64,
    pub elbo_losses: Vector,
    pub elbo_posterior: Vector,
    pub elbo_prior: Vector,
}

#[derive(Deserialize)]
pub struct Rewards {
    pub beta: f64,
    pub reference_logits: Vector,
    pub rewards: Vector,
    pub policy_logits: Vector,
    pub bradley_terry: f64,
    pub log_partition: f64,
    pub optimal_policy_logps: Vector,
    pub regularised_reward: f64,
}

#[derive(Deserialize)]
pub struct Torch {
    pub lpc: Vec<Lpc>,
    pub marginal: Vec<Marginal>,
    pub heads: Vec<Heads>,
}

#[derive(Deserialize)]
pub struct Marginal {
    pub pair: Pair,
    pub beta: f64,
    pub loss: f64,
    pub margins: Vector,
    pub gradients: MarginalGradients,
}

#[derive(Deserialize)]
pub struct MarginalGradients {
    pub chosen_hidden: Matrix,
    pub rejected_hidden: Matrix,
    pub lm_head: Matrix,
    pub codebook: Matrix,
    pub prior_logits: Vector,
}

#[derive(Deserialize)]
pub struct Network {
    pub inner_weight: Matrix,
    pub inner_bias: Vector,
    pub outer_weight: Matrix,
    pub outer_bias: Vector,
}

#[derive(Deserialize)]
pub struct Heads {
    pub prior: Network,
    pub posterior: Network,
    pub prompt_hidden: Vector,
    pub chosen_hidden: Vector,
    pub rejected_hidden: Vector,
    pub prior_upstream: Vector,
    pub posterior_upstream: Vector,
    pub prior_logits: Vector,
    pub posterior_logits: Vector,
    pub prior_gradient: Network,
    pub posterior_gradient: Network,
    pub prompt_gradient: Vector,
    pub chosen_gradient: Vector,
    pub rejected_gradient: Vector,
}

#[derive(Deserialize)]
pub struct Trainer {
    pub kind: String,
    pub beta: f64,
    pub gamma: f64,
    pub policy_chosen: f64,
    pub policy_rejected: f64,
    pub reference_chosen: f64,
    pub reference_rejected: f64,
    pub loss: f64,
    pub gradient: [f64; 2],
}
