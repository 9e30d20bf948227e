//! Latents that LPC is compared with, against PyTorch's modules, distributions and reverse mode.

use crate::cases::Network;
use crate::fixture::{Matrix, Pair, Tolerance, Vector, matrix, read, vector};
use lpc::config::Objective;
use lpc::spec::codebook::{linear_latent, linear_latent_gradient};
use lpc::spec::elbo::negative_elbo_sampled;
use lpc::spec::gaussian::*;
use lpc::spec::gradient::{LatentLoss, loss_at_latent};
use lpc::spec::latent::{control_latent, control_latent_gradient};
use serde::Deserialize;
use std::sync::LazyLock;

pub static BASELINES: LazyLock<Baselines> = LazyLock::new(|| read("baselines.json"));

#[derive(Deserialize)]
pub struct Baselines {
    pub control: Vec<Control>,
    pub gaussian: Vec<Gaussian>,
    pub factors: Vec<Factors>,
}

#[derive(Deserialize)]
pub struct Control {
    pub pair: Pair,
    pub objective: Objective,
    pub prompt_hidden: Vector,
    pub network: Network,
    pub latent: Vector,
    pub loss: f64,
    pub latent_gradient: Vector,
    pub network_gradient: Network,
    pub gradients: Gradients,
}

#[derive(Deserialize)]
pub struct Gaussian {
    pub pair: Pair,
    pub objective: Objective,
    pub prior_weight: f64,
    pub kl_weight: f64,
    pub prior_outputs: Vector,
    pub posterior_outputs: Vector,
    pub projection: Matrix,
    pub prior_noise: Vector,
    pub posterior_noise: Vector,
    pub latent: Vector,
    pub kl: f64,
    pub loss: f64,
    pub latent_gradient: Vector,
    pub gradients: Gradients,
}

#[derive(Deserialize)]
pub struct Factors {
    pub pair: Pair,
    pub objective: Objective,
    pub weights: Vector,
    pub vectors: Matrix,
    pub latent: Vector,
    pub loss: f64,
    pub gradients: Gradients,
}

/// Of the loss, those of the states and the LM head always.
#[derive(Deserialize)]
pub struct Gradients {
    pub chosen_hidden: Matrix,
    pub rejected_hidden: Matrix,
    pub lm_head: Matrix,
    #[serde(default)]
    pub prompt_hidden: Vector,
    #[serde(default)]
    pub prior_outputs: Vector,
    #[serde(default)]
    pub posterior_outputs: Vector,
    #[serde(default)]
    pub projection: Matrix,
    #[serde(default)]
    pub vectors: Matrix,
}

impl Gradients {
    fn check(&self, got: &LatentLoss) {
        TORCH.check("∂chosen_hidden", &got.chosen_hidden, self.chosen_hidden.iter().flatten());
        TORCH.check("∂rejected_hidden", &got.rejected_hidden, self.rejected_hidden.iter().flatten());
        TORCH.check("∂lm_head", &got.lm_head, self.lm_head.iter().flatten());
    }
}

/// 1e-10: sums in another order on both sides, a few dozen roundings through the chain rule.
const TORCH: Tolerance = Tolerance { relative: 1e-10, floor: 1e-14 };

#[test]
fn controls() {
    for c in &BASELINES.control {
        let (network, prompt) = (c.network.mlp(), vector(&c.prompt_hidden));
        let h_z = control_latent(&network, &prompt).unwrap();
        TORCH.check("h_z", &h_z, &c.latent);
        let at = c.pair.with(|pair| loss_at_latent(pair, c.objective, &h_z).unwrap());
        TORCH.check_one("loss", at.loss, c.loss);
        TORCH.check("∂h_z", &at.latent, &c.latent_gradient);
        c.gradients.check(&at);
        let (to_network, to_prompt) = control_latent_gradient(&network, &prompt, &at.latent).unwrap();
        c.network_gradient.check(&to_network);
        TORCH.check("∂prompt_hidden", &to_prompt, &c.gradients.prompt_hidden);
    }
}

#[test]
fn gaussians() {
    for c in &BASELINES.gaussian {
        let (p, q) = (vector(&c.prior_outputs), vector(&c.posterior_outputs));
        let (p_noise, q_noise) = (vector(&c.prior_noise), vector(&c.posterior_noise));
        let prior = gaussian_sample(&p, &p_noise).unwrap();
        let posterior = gaussian_sample(&q, &q_noise).unwrap();
        let z = mix_samples(&prior, &posterior, c.prior_weight).unwrap();
        let projection = matrix(&c.projection);
        let h_z = linear_latent(&z, &projection).unwrap();
        TORCH.check("h_z", &h_z, &c.latent);
        let kl = gaussian_kl(&q, &p).unwrap();
        TORCH.check_one("kl", kl, c.kl);
        let at = c.pair.with(|pair| loss_at_latent(pair, c.objective, &h_z).unwrap());
        TORCH.check_one("loss", negative_elbo_sampled(at.loss, kl, c.kl_weight).unwrap(), c.loss);
        TORCH.check("∂h_z", &at.latent, &c.latent_gradient);
        c.gradients.check(&at);

        let (to_z, to_projection) = linear_latent_gradient(&z, &projection, &at.latent).unwrap();
        TORCH.check("∂projection", &to_projection, c.gradients.projection.iter().flatten());
        let (to_prior, to_posterior) = mix_samples_gradient(c.prior_weight, &to_z).unwrap();
        let (kl_posterior, kl_prior) = gaussian_kl_gradient(&q, &p).unwrap();
        let prior = gaussian_sample_gradient(&p, &p_noise, &to_prior).unwrap() + c.kl_weight * kl_prior;
        let posterior =
            gaussian_sample_gradient(&q, &q_noise, &to_posterior).unwrap() + c.kl_weight * kl_posterior;
        TORCH.check("∂prior_outputs", &prior, &c.gradients.prior_outputs);
        TORCH.check("∂posterior_outputs", &posterior, &c.gradients.posterior_outputs);
    }
}

#[test]
fn true_factors() {
    for c in &BASELINES.factors {
        let (weights, vectors) = (vector(&c.weights), matrix(&c.vectors));
        let h_z = linear_latent(&weights, &vectors).unwrap();
        TORCH.check("h_z", &h_z, &c.latent);
        let at = c.pair.with(|pair| loss_at_latent(pair, c.objective, &h_z).unwrap());
        TORCH.check_one("loss", at.loss, c.loss);
        c.gradients.check(&at);
        let (_, to_vectors) = linear_latent_gradient(&weights, &vectors, &at.latent).unwrap();
        TORCH.check("∂vectors", &to_vectors, c.gradients.vectors.iter().flatten());
    }
}
