//! The latent objectives (7), (12) and (13): an expectation under sampled codes plus λ·KL.

use crate::config::Objective;
use crate::tensor::codebook::{latent, mix_codes};
use crate::tensor::gumbel::gumbel_softmax;
use crate::tensor::latent::kl_divergence;
use crate::tensor::objective::{PairLengths, PairLogps, PairLoss, objective_loss};
use crate::{Error, Result};
use candle_core::Tensor;

/// Standard Gumbel draws for a batch. Shapes: each [B, K].
#[derive(Debug, Clone)]
pub struct GumbelNoise {
    pub prior: Tensor,
    pub posterior: Tensor,
}

/// One draw of the latent: the mixed code weights, h_z, and the divergence of its two sources.
#[derive(Debug, Clone)]
pub struct LatentDraw {
    /// [B, K]
    pub code_weights: Tensor,
    /// h_z, [B, d]
    pub latent: Tensor,
    /// KL(q‖p), [B], nats
    pub kl: Tensor,
}

/// Samples both networks, mixes them by α and looks the mixture up in the codebook.
///
/// Source: (11). Twin: none; `spec::gradient::lpc_loss` composes the same steps.
/// Shapes: logits [B, K] each, codebook [K, d].
pub fn draw_latent(
    prior_logits: &Tensor,
    posterior_logits: &Tensor,
    noise: &GumbelNoise,
    codebook: &Tensor,
    gumbel_tau: f64,
    prior_weight: f64,
) -> Result<LatentDraw> {
    let prior_sample = gumbel_softmax(prior_logits, &noise.prior, gumbel_tau)?;
    let posterior_sample = gumbel_softmax(posterior_logits, &noise.posterior, gumbel_tau)?;
    let code_weights = mix_codes(&prior_sample, &posterior_sample, prior_weight)?;
    let latent = latent(&code_weights, codebook)?;
    Ok(LatentDraw { latent, code_weights, kl: kl_divergence(posterior_logits, prior_logits)? })
}

/// Objective at the sampled latent plus λ·KL(q‖p): a single-sample estimate of (7), (12), (13).
///
/// Source: (7), (12), (13). Twin: `spec::elbo::negative_elbo_sampled`.
/// Shapes: log-probabilities under the latent policy [B], kl [B] → loss [B].
/// Errors: λ negative or not finite.
/// Numerics: a bound on (6) only for −log σ objectives, λ = 1, α = 0 and discrete codes.
pub fn negative_elbo_sampled(
    objective: Objective,
    policy: &PairLogps,
    reference: Option<&PairLogps>,
    lengths: &PairLengths,
    kl: &Tensor,
    kl_weight: f64,
) -> Result<PairLoss> {
    if !(kl_weight.is_finite() && kl_weight >= 0.0) {
        return Err(Error::argument("negative_elbo_sampled", "kl_weight", kl_weight, "finite and >= 0"));
    }
    let PairLoss { loss, margin } = objective_loss(objective, policy, reference, lengths)?;
    Ok(PairLoss { loss: (loss + (kl * kl_weight)?)?, margin })
}
