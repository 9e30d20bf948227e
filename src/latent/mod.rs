//! What enters the policy beside the prompt. Each kind of latent has a file with its parameters, its draw in
//! training, its draw at test and what a saved model says of it; [`kind`] is the list of them.
//!
//! | file | what it holds |
//! |---|---|
//! | `codes` | LPC's latent of discrete codes: relaxed samples, or exact sums over all codes |
//! | `control`, `gaussian`, `factors` | the latents that LPC is compared with |
//! | `input` | what the networks read: hidden states, or what statistics of the base model make of them |
//! | `layout` | names, shapes and initial values of a latent's parameters |
//! | `noise` | random draws that depend on names alone |
//! | `save`, `words` | a policy's files, and what they say of the latent |
//!
//! A new kind also touches files of other modules: `CONTRIBUTING.md` lists them.

mod codes;
mod control;
mod factors;
mod gaussian;
mod input;
mod layout;
mod noise;
mod save;
mod words;

pub use codes::{CodeHeads, Expectation, Weighed};
pub use factors::FACTORS;
pub use input::{FIXED, RIDGE, States, insert_statistics};
pub use layout::{Layout, Reader, heads_count, init_heads};
pub use noise::{Noise, noise_rows};
pub use save::{HEADS, HEADS_CONFIG, save_policy};
pub use words::Words;

use crate::config::{Latent, LatentAtTest};
use crate::model::parameters::Parameters;
use crate::tensor::elbo::SampleNoise;
use crate::{Error, Result};
use candle_core::Tensor;
use codes::CodeRule;
use std::fmt::Debug;
use std::sync::Arc;

/// Names of the heads' parameters begin with this.
pub const PREFIX: &str = "lpc.";

/// What the parameters of the two networks begin with.
pub const NETWORKS: [&str; 2] = ["lpc.prior.", "lpc.posterior."];

/// The one list of latents; none for a plain policy.
pub fn kind(latent: &Latent) -> Option<Box<dyn Kind>> {
    let input = latent.heads_input();
    Some(match *latent {
        Latent::None {} => return None,
        Latent::Gumbel { codes, gumbel_tau, kl_weight, codebook_std, .. } => {
            codes::kind(codes, codebook_std, CodeRule::Gumbel { gumbel_tau, kl_weight }, input)
        }
        Latent::ExactElbo { codes, kl_weight, codebook_std, .. } => {
            codes::kind(codes, codebook_std, CodeRule::Every(Expectation::Elbo { kl_weight }), input)
        }
        Latent::Marginal { codes, codebook_std, .. } => {
            codes::kind(codes, codebook_std, CodeRule::Every(Expectation::Marginal), input)
        }
        Latent::Control { match_codes, output_std, .. } => control::kind(match_codes, output_std, input),
        Latent::Gaussian { dimension, kl_weight, output_std, .. } => {
            gaussian::kind(dimension, kl_weight, output_std, input)
        }
        Latent::Factors { output_std, .. } => factors::kind(output_std),
    })
}

/// A latent by its settings alone.
pub trait Kind {
    /// Its parameters in the order in which they are drawn.
    fn layout(&self, hidden_size: usize) -> Layout;

    /// Its parameters at work. Errors: one that is missing or has another shape, by name.
    fn heads(&self, parameters: &Reader<'_>) -> Result<Arc<dyn Heads>>;

    /// What a saved model says of it.
    fn words(&self) -> Words;
}

/// A latent at work: what makes h_z of what is known.
pub trait Heads: Debug + Send + Sync {
    /// The draws that training needs for each pair and network; none where nothing is sampled.
    fn noise(&self) -> Option<Noise> {
        None
    }

    /// h_z in training, when the pair is known.
    ///
    /// Errors: what this latent needs of `seen` or `inputs` is not there.
    fn draw(&self, seen: &Seen<'_>, inputs: Option<&LatentInputs>) -> Result<Drawn<'_>>;

    /// h_z at test, when only the prompt is known; `noise` gives each row's draws.
    ///
    /// Errors: `at_test` asks for every code's likelihood of a latent without codes.
    fn at_test(
        &self,
        at_test: LatentAtTest,
        prompt_hidden: &Tensor,
        factor_weights: Option<&Tensor>,
        noise: &mut dyn FnMut(Noise) -> Result<Tensor>,
    ) -> Result<PriorLatent>;

    /// Whether h_z follows from the true factor weights, which no prompt outside the built-in world has.
    fn needs_factor_weights(&self) -> bool {
        false
    }

    /// Codebook and networks, of a latent of discrete codes.
    fn codes(&self) -> Option<&CodeHeads> {
        None
    }
}

/// What a pair shows of itself, [B, d]: h_x, h_{x,y_w} and h_{x,y_l}.
pub struct Seen<'a> {
    pub prompt_hidden: &'a Tensor,
    pub chosen_hidden: &'a Tensor,
    pub rejected_hidden: &'a Tensor,
    /// The true weights of the prompt's factors, [B, F], where known.
    pub factor_weights: Option<&'a Tensor>,
}

/// What the latent needs beside the model: noise, and α of this step.
#[derive(Debug, Clone)]
pub struct LatentInputs {
    pub noise: SampleNoise,
    pub prior_weight: f64,
}

/// What training puts into the policy.
pub enum Drawn<'a> {
    /// One h_z a pair, [B, d].
    One { h_z: Tensor, divergence: Option<Divergence>, codes: Option<CodeOutputs> },
    /// Every code alone, and how their losses become one.
    EveryCode(&'a CodeHeads, Expectation),
}

/// λ·KL(q ‖ p), for (7).
pub struct Divergence {
    /// [B], nats.
    pub kl: Tensor,
    /// λ.
    pub weight: f64,
}

/// For metrics. Shapes: [B, K].
pub struct CodeOutputs {
    pub code_weights: Tensor,
    /// softmax of the prior's logits.
    pub prior: Tensor,
}

/// What prompts say of z.
pub enum PriorLatent {
    /// h_z [B, d].
    Latent(Tensor),
    /// log p(k|x), [B][K]: likelihoods are mixtures of the codes'.
    Mixture(Vec<Vec<f64>>),
}

/// The latent's heads among `parameters`; none for a plain policy.
///
/// Errors: a parameter that is missing or has another shape, by name.
pub fn heads(parameters: &Parameters, hidden_size: usize, latent: &Latent) -> Result<Option<Arc<dyn Heads>>> {
    kind(latent).map(|kind| kind.heads(&Reader::new(parameters, kind.layout(hidden_size)))).transpose()
}

fn missing(what: &str) -> Error {
    Error::argument("pair_losses", what, "none", "what the recipe's latent needs")
}
