//! The training loss of one pair, from hidden states to a number, and back: (7), (10)–(13).

use super::objective::{PairLengths, PairLogps, objective_loss};
use super::{codebook, elbo, gumbel, latent, logprob};
use crate::config::Objective;
use crate::error::Result;
use ndarray::{Array1, Array2, ArrayRef1, ArrayRef2, Axis};

/// What the loss of one pair is a function of. Hidden states are the last layer's, after the
/// final norm, at the positions that predict the completion's tokens.
#[derive(Debug, Clone, Copy)]
pub struct LpcPair<'a> {
    /// [T_w, d]
    pub chosen_hidden: &'a ArrayRef2<f64>,
    /// [T_l, d]
    pub rejected_hidden: &'a ArrayRef2<f64>,
    /// [T_w]
    pub chosen_tokens: &'a [u32],
    /// [T_l]
    pub rejected_tokens: &'a [u32],
    /// [V, d]
    pub lm_head: &'a ArrayRef2<f64>,
    /// [K, d]
    pub codebook: &'a ArrayRef2<f64>,
    /// [K], of (9)
    pub prior_logits: &'a ArrayRef1<f64>,
    /// [K], of (8)
    pub posterior_logits: &'a ArrayRef1<f64>,
    /// [K], Gumbel draws
    pub prior_noise: &'a ArrayRef1<f64>,
    /// [K], Gumbel draws of their own
    pub posterior_noise: &'a ArrayRef1<f64>,
    /// Summed log-probabilities under π_ref, which no code touches.
    pub reference: PairLogps,
}

/// What the recipe and the step decide.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LpcSettings {
    pub objective: Objective,
    pub gumbel_tau: f64,
    /// α.
    pub prior_weight: f64,
    /// λ.
    pub kl_weight: f64,
}

/// The loss and everything a record of the step needs.
#[derive(Debug, Clone, PartialEq)]
pub struct LpcLoss {
    /// objective + λ·KL.
    pub loss: f64,
    pub kl: f64,
    /// As in [`super::objective::ObjectiveLoss`].
    pub margin: f64,
    /// Summed log-probabilities under the policy at h_z.
    pub policy: PairLogps,
    /// [K]
    pub code_weights: Array1<f64>,
    pub gradients: LpcGradients,
}

/// ∂loss / ∂(each input), in the input's shape.
#[derive(Debug, Clone, PartialEq)]
pub struct LpcGradients {
    pub chosen_hidden: Array2<f64>,
    pub rejected_hidden: Array2<f64>,
    pub lm_head: Array2<f64>,
    pub codebook: Array2<f64>,
    pub prior_logits: Array1<f64>,
    pub posterior_logits: Array1<f64>,
}

/// objective( log π_θ(y_w | x, h_z), log π_θ(y_l | x, h_z) ) + λ·KL(q ‖ p), with
/// h_z = Σ_k [(1 − α) g^q_k + α g^p_k] e_k. Both completions share one h_z.
///
/// Source: (7), (10)–(13). Twin: `train::loss::pair_losses`, which composes `tensor`'s functions.
///
/// Shapes: see [`LpcPair`]. Units: nats.
///
/// Errors: those of the formulas it is made of, each under its own name.
pub fn lpc_loss(pair: &LpcPair, settings: &LpcSettings) -> Result<LpcLoss> {
    let LpcSettings { objective, gumbel_tau, prior_weight, kl_weight } = *settings;

    // (11): samples, mixture, latent.
    let prior_sample = gumbel::gumbel_softmax(pair.prior_logits, pair.prior_noise, gumbel_tau)?;
    let posterior_sample = gumbel::gumbel_softmax(pair.posterior_logits, pair.posterior_noise, gumbel_tau)?;
    let code_weights = codebook::mix_codes(&prior_sample, &posterior_sample, prior_weight)?;
    let h_z = codebook::latent(&code_weights, pair.codebook)?;

    // (10): the policy at h_z.
    let chosen = logprob::add_latent(pair.chosen_hidden, &h_z)?;
    let rejected = logprob::add_latent(pair.rejected_hidden, &h_z)?;
    let policy = PairLogps {
        chosen: logprob::completion_logps_sum(&chosen, pair.lm_head, pair.chosen_tokens)?,
        rejected: logprob::completion_logps_sum(&rejected, pair.lm_head, pair.rejected_tokens)?,
    };

    // (5), (12) or (13), then (7).
    let lengths = PairLengths { chosen: pair.chosen_tokens.len(), rejected: pair.rejected_tokens.len() };
    let outcome = objective_loss(objective, policy, pair.reference, lengths)?;
    let kl = latent::kl_divergence(pair.posterior_logits, pair.prior_logits)?;
    let loss = elbo::negative_elbo_sampled(outcome.loss, kl, kl_weight)?;

    // Backwards through (10): scale each completion's gradient by the objective's slope.
    let slope = outcome.policy_gradient;
    let (chosen_hidden, chosen_lm_head) =
        logprob::completion_logps_sum_gradient(&chosen, pair.lm_head, pair.chosen_tokens)?;
    let (rejected_hidden, rejected_lm_head) =
        logprob::completion_logps_sum_gradient(&rejected, pair.lm_head, pair.rejected_tokens)?;
    let chosen_hidden = slope.chosen * chosen_hidden;
    let rejected_hidden = slope.rejected * rejected_hidden;
    let lm_head = slope.chosen * chosen_lm_head + slope.rejected * rejected_lm_head;
    let h_z = chosen_hidden.sum_axis(Axis(0)) + rejected_hidden.sum_axis(Axis(0));

    // Backwards through (11); the KL reaches both sets of logits directly.
    let (code_weights_gradient, codebook) = codebook::latent_gradient(&code_weights, pair.codebook, &h_z)?;
    let (to_prior, to_posterior) = codebook::mix_codes_gradient(prior_weight, &code_weights_gradient)?;
    let (kl_posterior, kl_prior) = latent::kl_divergence_gradient(pair.posterior_logits, pair.prior_logits)?;
    let prior_logits =
        gumbel::gumbel_softmax_gradient(&prior_sample, gumbel_tau, &to_prior)? + kl_weight * kl_prior;
    let posterior_logits = gumbel::gumbel_softmax_gradient(&posterior_sample, gumbel_tau, &to_posterior)?
        + kl_weight * kl_posterior;

    let gradients =
        LpcGradients { chosen_hidden, rejected_hidden, lm_head, codebook, prior_logits, posterior_logits };
    Ok(LpcLoss { loss, kl, margin: outcome.margin, policy, code_weights, gradients })
}
