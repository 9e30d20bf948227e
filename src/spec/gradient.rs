//! The loss of one pair, from hidden states to a number, and back: (6), (7), (10)–(13).
//!
//! By enumeration wherever codes are summed over: every code is scored on its own. This is what
//! a faster implementation is held against.

use super::objective::{ObjectiveLoss, PairLengths, PairLogps, objective_loss};
use super::{codebook, elbo, gumbel, latent, logprob, marginal};
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
    /// [K], Gumbel draws, which only [`LatentRule::Gumbel`] reads
    pub prior_noise: &'a ArrayRef1<f64>,
    /// [K], Gumbel draws of their own, likewise
    pub posterior_noise: &'a ArrayRef1<f64>,
    /// Summed log-probabilities under π_ref, which no code touches.
    pub reference: PairLogps,
}

/// What the recipe and the step decide.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LpcSettings {
    pub objective: Objective,
    pub latent: LatentRule,
}

/// How the code enters the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LatentRule {
    /// The plain objective: codebook, prior and posterior are not read.
    None,
    /// The paper's: the objective at one relaxed h_z of (11), plus λ·KL.
    Gumbel {
        gumbel_tau: f64,
        /// α.
        prior_weight: f64,
        /// λ.
        kl_weight: f64,
    },
    /// (7) with its expectation taken exactly: Σ_k q_k ℓ_k + λ·KL.
    ExactElbo {
        /// λ.
        kl_weight: f64,
    },
    /// (6): −log Σ_k p_k e^−ℓ_k. It reads no posterior, and none learns from it.
    Marginal,
}

/// The loss and everything a record of the step needs.
///
/// The exact rules have no single h_z. They report expectations under the distribution by which
/// the codes weigh in their gradient, `code_weights`: E_q under [`LatentRule::ExactElbo`], and under
/// [`LatentRule::Marginal`] the expectation under the true posterior.
#[derive(Debug, Clone, PartialEq)]
pub struct LpcLoss {
    pub loss: f64,
    /// KL(q ‖ p), also where the loss does not hold it; 0 without a latent.
    pub kl: f64,
    /// As in [`ObjectiveLoss`]: at h_z, or the expectation of the codes' margins.
    pub margin: f64,
    /// Summed log-probabilities under the policy: at h_z, or their expectation.
    pub policy: PairLogps,
    /// [K]: the mixture of (11), or q, or the true posterior. For the last two it is
    /// ∂loss/∂(codes' losses) as well. Empty without a latent.
    pub code_weights: Array1<f64>,
    /// Every code on its own, under any rule; nothing without a latent.
    pub codes: Option<Codes>,
    pub gradients: LpcGradients,
}

/// What the pair says of each code, h_z = e_k.
#[derive(Debug, Clone, PartialEq)]
pub struct Codes {
    /// [K]
    pub margins: Array1<f64>,
    /// [K], ℓ_k: the objective alone.
    pub losses: Array1<f64>,
    /// [K], p(z | x, y_w ≻ y_l): probabilities of [`marginal::true_posterior_logps`].
    pub exact_posterior: Array1<f64>,
    /// KL(q ‖ exact_posterior): by how much (7) at λ = 1 exceeds (6).
    pub bound_gap: f64,
}

/// ∂loss / ∂(each input), in the input's shape; zero for what the rule does not read.
#[derive(Debug, Clone, PartialEq)]
pub struct LpcGradients {
    pub chosen_hidden: Array2<f64>,
    pub rejected_hidden: Array2<f64>,
    pub lm_head: Array2<f64>,
    pub codebook: Array2<f64>,
    pub prior_logits: Array1<f64>,
    pub posterior_logits: Array1<f64>,
}

/// The loss of one pair under the recipe's objective and latent rule. Both completions share one
/// h_z, or one code at a time.
///
/// Source: (5), (12), (13) for [`LatentRule::None`]; (7), (10)–(13) for the next two; (6) for the last.
/// Twin: `train::loss::pair_losses`, which composes `tensor`'s functions.
///
/// Shapes: see [`LpcPair`]. Units: nats.
///
/// Errors: those of the formulas it is made of, each under its own name.
pub fn lpc_loss(pair: &LpcPair, settings: &LpcSettings) -> Result<LpcLoss> {
    let LpcSettings { objective, latent } = *settings;
    match latent {
        LatentRule::None => plain_loss(pair, objective),
        LatentRule::Gumbel { gumbel_tau, prior_weight, kl_weight } => {
            gumbel_loss(pair, objective, gumbel_tau, prior_weight, kl_weight)
        }
        LatentRule::ExactElbo { kl_weight } => {
            let codes = Enumeration::new(pair, objective)?;
            let (losses, q, p) = (&codes.losses(), pair.posterior_logits, pair.prior_logits);
            let loss = elbo::negative_elbo_exact(losses, q, p, kl_weight)?;
            let (to_losses, to_q, to_p) = elbo::negative_elbo_exact_gradient(losses, q, p, kl_weight)?;
            codes.weighted(pair, loss, to_losses, to_p, to_q)
        }
        LatentRule::Marginal => {
            let codes = Enumeration::new(pair, objective)?;
            let loss = marginal::marginal_loss(pair.prior_logits, &codes.losses())?;
            let (to_p, to_losses) = marginal::marginal_gradient(pair.prior_logits, &codes.losses())?;
            codes.weighted(pair, loss, to_losses, to_p, Array1::zeros(pair.posterior_logits.len()))
        }
    }
}

fn plain_loss(pair: &LpcPair, objective: Objective) -> Result<LpcLoss> {
    let Scored { outcome, policy, chosen_hidden, rejected_hidden, lm_head } =
        Scored::new(pair, objective, pair.chosen_hidden, pair.rejected_hidden)?;
    Ok(LpcLoss {
        loss: outcome.loss,
        kl: 0.0,
        margin: outcome.margin,
        policy,
        code_weights: Array1::zeros(0),
        codes: None,
        gradients: LpcGradients {
            chosen_hidden,
            rejected_hidden,
            lm_head,
            codebook: Array2::zeros(pair.codebook.dim()),
            prior_logits: Array1::zeros(pair.prior_logits.len()),
            posterior_logits: Array1::zeros(pair.posterior_logits.len()),
        },
    })
}

fn gumbel_loss(
    pair: &LpcPair,
    objective: Objective,
    gumbel_tau: f64,
    prior_weight: f64,
    kl_weight: f64,
) -> Result<LpcLoss> {
    // (11): samples, mixture, latent.
    let prior_sample = gumbel::gumbel_softmax(pair.prior_logits, pair.prior_noise, gumbel_tau)?;
    let posterior_sample = gumbel::gumbel_softmax(pair.posterior_logits, pair.posterior_noise, gumbel_tau)?;
    let code_weights = codebook::mix_codes(&prior_sample, &posterior_sample, prior_weight)?;
    let h_z = codebook::latent(&code_weights, pair.codebook)?;

    // (10) at h_z, the objective, then (7).
    let at = loss_at_latent(pair, objective, &h_z)?;
    let kl = latent::kl_divergence(pair.posterior_logits, pair.prior_logits)?;
    let loss = elbo::negative_elbo_sampled(at.loss, kl, kl_weight)?;

    // Backwards through (11); the KL reaches both sets of logits directly.
    let (to_code_weights, codebook) = codebook::latent_gradient(&code_weights, pair.codebook, &at.latent)?;
    let (to_prior, to_posterior) = codebook::mix_codes_gradient(prior_weight, &to_code_weights)?;
    let (kl_posterior, kl_prior) = latent::kl_divergence_gradient(pair.posterior_logits, pair.prior_logits)?;
    let prior_logits =
        gumbel::gumbel_softmax_gradient(&prior_sample, gumbel_tau, &to_prior)? + kl_weight * kl_prior;
    let posterior_logits = gumbel::gumbel_softmax_gradient(&posterior_sample, gumbel_tau, &to_posterior)?
        + kl_weight * kl_posterior;

    let codes = Some(Enumeration::new(pair, objective)?.codes(pair)?);
    let LatentLoss { margin, policy, chosen_hidden, rejected_hidden, lm_head, .. } = at;
    let gradients =
        LpcGradients { chosen_hidden, rejected_hidden, lm_head, codebook, prior_logits, posterior_logits };
    Ok(LpcLoss { loss, kl, margin, policy, code_weights, codes, gradients })
}

/// The objective of one pair at a given h_z, which both completions share, and its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentLoss {
    pub loss: f64,
    pub margin: f64,
    pub policy: PairLogps,
    /// ∂loss/∂h_z, [d].
    pub latent: Array1<f64>,
    pub chosen_hidden: Array2<f64>,
    pub rejected_hidden: Array2<f64>,
    pub lm_head: Array2<f64>,
}

/// The objective at `h_z`, whatever made it: a mixture of codes under [`LatentRule::Gumbel`], or one
/// of the latents that LPC is compared with. Codebook, prior and posterior are not read.
///
/// Source: (10) with (5), (12) or (13). Twin: `train::loss::pair_losses`, as for [`lpc_loss`].
///
/// Shapes: h_z [d]; the pair's as in [`LpcPair`]. Units: nats.
///
/// Errors: those of the formulas it is made of, each under its own name.
pub fn loss_at_latent(pair: &LpcPair, objective: Objective, h_z: &ArrayRef1<f64>) -> Result<LatentLoss> {
    let chosen = logprob::add_latent(pair.chosen_hidden, h_z)?;
    let rejected = logprob::add_latent(pair.rejected_hidden, h_z)?;
    let Scored { outcome, policy, chosen_hidden, rejected_hidden, lm_head } =
        Scored::new(pair, objective, &chosen, &rejected)?;
    let latent = chosen_hidden.sum_axis(Axis(0)) + rejected_hidden.sum_axis(Axis(0));
    let (loss, margin) = (outcome.loss, outcome.margin);
    Ok(LatentLoss { loss, margin, policy, latent, chosen_hidden, rejected_hidden, lm_head })
}

/// The objective at given states, and ∂loss/∂(those states, lm_head).
struct Scored {
    outcome: ObjectiveLoss,
    policy: PairLogps,
    chosen_hidden: Array2<f64>,
    rejected_hidden: Array2<f64>,
    lm_head: Array2<f64>,
}

impl Scored {
    fn new(
        pair: &LpcPair,
        objective: Objective,
        chosen: &ArrayRef2<f64>,
        rejected: &ArrayRef2<f64>,
    ) -> Result<Self> {
        let policy = PairLogps {
            chosen: logprob::completion_logps_sum(chosen, pair.lm_head, pair.chosen_tokens)?,
            rejected: logprob::completion_logps_sum(rejected, pair.lm_head, pair.rejected_tokens)?,
        };
        let outcome = objective_loss(objective, policy, pair.reference, lengths(pair))?;
        // Backwards through (10): each completion's gradient times the objective's slope.
        let slope = outcome.policy_gradient;
        let (chosen_hidden, chosen_lm_head) =
            logprob::completion_logps_sum_gradient(chosen, pair.lm_head, pair.chosen_tokens)?;
        let (rejected_hidden, rejected_lm_head) =
            logprob::completion_logps_sum_gradient(rejected, pair.lm_head, pair.rejected_tokens)?;
        Ok(Self {
            outcome,
            policy,
            chosen_hidden: slope.chosen * chosen_hidden,
            rejected_hidden: slope.rejected * rejected_hidden,
            lm_head: slope.chosen * chosen_lm_head + slope.rejected * rejected_lm_head,
        })
    }
}

/// The objective at every code alone.
struct Enumeration {
    /// [K], policy's summed log-probabilities
    chosen: Array1<f64>,
    /// [K]
    rejected: Array1<f64>,
    outcomes: Vec<ObjectiveLoss>,
}

impl Enumeration {
    fn new(pair: &LpcPair, objective: Objective) -> Result<Self> {
        let LpcPair { lm_head, codebook, .. } = *pair;
        let chosen = logprob::code_logps(pair.chosen_hidden, lm_head, codebook, pair.chosen_tokens)?;
        let rejected = logprob::code_logps(pair.rejected_hidden, lm_head, codebook, pair.rejected_tokens)?;
        let at = |(&chosen, &rejected)| {
            objective_loss(objective, PairLogps { chosen, rejected }, pair.reference, lengths(pair))
        };
        let outcomes = chosen.iter().zip(&rejected).map(at).collect::<Result<_>>()?;
        Ok(Self { chosen, rejected, outcomes })
    }

    fn losses(&self) -> Array1<f64> {
        self.outcomes.iter().map(|o| o.loss).collect()
    }

    fn codes(&self, pair: &LpcPair) -> Result<Codes> {
        let losses = self.losses();
        Ok(Codes {
            margins: self.outcomes.iter().map(|o| o.margin).collect(),
            exact_posterior: marginal::true_posterior_logps(pair.prior_logits, &losses)?.exp(),
            bound_gap: marginal::bound_gap(pair.posterior_logits, pair.prior_logits, &losses)?,
            losses,
        })
    }

    /// A loss that is a function of the codes' losses, and its gradient by way of each of them.
    fn weighted(
        self,
        pair: &LpcPair,
        loss: f64,
        to_losses: Array1<f64>,
        prior_logits: Array1<f64>,
        posterior_logits: Array1<f64>,
    ) -> Result<LpcLoss> {
        let LpcPair { lm_head, codebook, .. } = *pair;
        let slopes = |side: fn(&PairLogps) -> f64| -> Array1<f64> {
            let slope = |(weight, o): (&f64, &ObjectiveLoss)| weight * side(&o.policy_gradient);
            to_losses.iter().zip(&self.outcomes).map(slope).collect()
        };
        let (chosen_slopes, rejected_slopes) = (slopes(|s| s.chosen), slopes(|s| s.rejected));
        let (chosen_hidden, chosen_lm_head, chosen_codebook) = logprob::code_logps_gradient(
            pair.chosen_hidden,
            lm_head,
            codebook,
            pair.chosen_tokens,
            &chosen_slopes,
        )?;
        let (rejected_hidden, rejected_lm_head, rejected_codebook) = logprob::code_logps_gradient(
            pair.rejected_hidden,
            lm_head,
            codebook,
            pair.rejected_tokens,
            &rejected_slopes,
        )?;
        let codes = self.codes(pair)?;
        Ok(LpcLoss {
            loss,
            kl: latent::kl_divergence(pair.posterior_logits, pair.prior_logits)?,
            margin: to_losses.dot(&codes.margins),
            policy: PairLogps {
                chosen: to_losses.dot(&self.chosen),
                rejected: to_losses.dot(&self.rejected),
            },
            code_weights: to_losses,
            codes: Some(codes),
            gradients: LpcGradients {
                chosen_hidden,
                rejected_hidden,
                lm_head: chosen_lm_head + rejected_lm_head,
                codebook: chosen_codebook + rejected_codebook,
                prior_logits,
                posterior_logits,
            },
        })
    }
}

fn lengths(pair: &LpcPair) -> PairLengths {
    PairLengths { chosen: pair.chosen_tokens.len(), rejected: pair.rejected_tokens.len() }
}
