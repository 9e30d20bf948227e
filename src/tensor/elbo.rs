//! The latent objectives (7), (12) and (13): an expectation under sampled codes plus λ·KL.

use crate::config::Objective;
use crate::tensor::codebook::{latent, mix_codes};
use crate::tensor::gumbel::gumbel_softmax;
use crate::tensor::latent::kl_divergence;
use crate::tensor::numerics::softmax;
use crate::tensor::objective::{PairLengths, PairLogps, PairLoss, objective_loss};
use crate::{Error, Result};
use candle_core::{D, Tensor};

/// Draws for a batch: standard Gumbel for codes, [B, K] each; standard normal for Gaussians, [B, D] each.
#[derive(Debug, Clone)]
pub struct SampleNoise {
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
/// Shapes: logits and noise [B, K] each, codebook [K, d] → see [`LatentDraw`].
/// Units: the divergence in nats, of the categoricals themselves: neither τ nor α enters it.
/// Errors: τ not finite and > 0; α outside [0, 1]; shapes that do not fit.
/// Numerics: those of [`gumbel_softmax`] and [`kl_divergence`]; finite logits give finite values.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::tensor::elbo::{SampleNoise, draw_latent};
/// let row = |a: f64, b: f64| Tensor::new(&[[a, b]], &Cpu);
/// let noise = SampleNoise { prior: row(1.0, 0.0)?, posterior: row(0.0, 0.0)? };
/// let codebook = Tensor::new(&[[2f64, 0.0], [0.0, 4.0]], &Cpu)?;
/// // Both samples are (1/2, 1/2): the prior's noise makes up for its logits.
/// let draw = draw_latent(&row(0.0, 1.0)?, &row(0.0, 0.0)?, &noise, &codebook, 1.0, 0.3)?;
/// let h_z = draw.latent.to_vec2::<f64>()?;
/// assert!((h_z[0][0] - 1.0).abs() < 1e-12 && (h_z[0][1] - 2.0).abs() < 1e-12);
/// // q = (1/2, 1/2), p = (1, e)/(1 + e): KL = ln(1 + e) − 1/2 − ln 2.
/// let expected = 1f64.exp().ln_1p() - 0.5 - 2f64.ln();
/// assert!((draw.kl.to_vec1::<f64>()?[0] - expected).abs() < 1e-12);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn draw_latent(
    prior_logits: &Tensor,
    posterior_logits: &Tensor,
    noise: &SampleNoise,
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
/// Units: nats for −log σ objectives; IPO adds λ·nats to nats².
/// Errors: λ negative or not finite; an objective that needs a reference without one; β or τ not
/// finite and > 0; γ not finite; shapes that differ.
/// Numerics: a bound on (6) only for −log σ objectives, λ = 1, α = 0 and discrete codes.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::{config::Objective, tensor::{elbo::negative_elbo_sampled, objective::{PairLengths, PairLogps}}};
/// let one = |x: f64| Tensor::new(&[x], &Cpu);
/// let policy = PairLogps { chosen: one(-5.0)?, rejected: one(-7.0)? };
/// let lengths = PairLengths { chosen: one(2.0)?, rejected: one(3.0)? };
/// // The policy is its reference, so that DPO's loss is ln 2.
/// let objective = Objective::Dpo { beta: 0.1 };
/// let loss = negative_elbo_sampled(objective, &policy, Some(&policy), &lengths, &one(3.0)?, 0.05)?.loss;
/// assert!((loss.to_vec1::<f64>()?[0] - (2f64.ln() + 0.15)).abs() < 1e-12);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn negative_elbo_sampled(
    objective: Objective,
    policy: &PairLogps,
    reference: Option<&PairLogps>,
    lengths: &PairLengths,
    kl: &Tensor,
    kl_weight: f64,
) -> Result<PairLoss> {
    require_kl_weight("negative_elbo_sampled", kl_weight)?;
    let PairLoss { loss, margin } = objective_loss(objective, policy, reference, lengths)?;
    Ok(PairLoss { loss: (loss + (kl * kl_weight)?)?, margin })
}

/// Σ_k q_k ℓ_k + λ·KL(q ‖ p): (7), (12) and (13) with the expectation taken over every code.
///
/// Source: (7), (12), (13). Twin: `spec::elbo::negative_elbo_exact`.
/// Shapes: code_losses, posterior_logits and prior_logits [B, K] each → [B].
/// Units: nats for −log σ objectives; IPO adds λ·nats to nats².
/// Errors: λ negative or not finite; shapes that differ.
/// Numerics: with ℓ_k = −log σ(β·Δ_k), a bound on (6) for λ ≥ 1 and none below.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::tensor::elbo::negative_elbo_exact;
/// let row = |a: f64, b: f64| Tensor::new(&[[a, b]], &Cpu);
/// // q = (3/4, 1/4), p = (1/2, 1/2).
/// let loss = negative_elbo_exact(&row(1.0, 5.0)?, &row(3f64.ln(), 0.0)?, &row(0.0, 0.0)?, 0.1)?;
/// let expected = 2.0 + 0.1 * (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln());
/// assert!((loss.to_vec1::<f64>()?[0] - expected).abs() < 1e-12);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn negative_elbo_exact(
    code_losses: &Tensor,
    posterior_logits: &Tensor,
    prior_logits: &Tensor,
    kl_weight: f64,
) -> Result<Tensor> {
    require_kl_weight("negative_elbo_exact", kl_weight)?;
    let expected = expectation(posterior_logits, code_losses)?;
    Ok((expected + (kl_divergence(posterior_logits, prior_logits)? * kl_weight)?)?)
}

/// The mean of what each code has, under the codes' distribution.
///
/// Source: the expectations of (7). Twin: none; `spec` takes dot products.
/// Shapes: logits and values [B, K] → [B]. Units: those of the values. Errors: shapes that differ.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let (logits, values) = (Tensor::new(&[[3f64.ln(), 0.0]], &Cpu)?, Tensor::new(&[[1f64, 5.0]], &Cpu)?);
/// let mean = lpc::tensor::elbo::expectation(&logits, &values)?.to_vec1::<f64>()?;
/// assert!((mean[0] - 2.0).abs() < 1e-15);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn expectation(logits: &Tensor, values: &Tensor) -> Result<Tensor> {
    Ok((softmax(logits)? * values)?.sum(D::Minus1)?)
}

fn require_kl_weight(op: &'static str, kl_weight: f64) -> Result<()> {
    if kl_weight.is_finite() && kl_weight >= 0.0 {
        Ok(())
    } else {
        Err(Error::argument(op, "kl_weight", kl_weight, "finite and >= 0"))
    }
}
