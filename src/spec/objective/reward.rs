//! Reward, optimal policy and implicit reward on an enumerated space of completions: (1)–(4).
//!
//! With a latent code the same functions hold for every z apart: (14)–(20).

use super::{PairLengths, PairLogps, simpo::mean_logps};
use crate::config::Objective;
use crate::error::Result;
use crate::spec::{check, latent, numerics};
use ndarray::{Array1, ArrayRef1};

/// P(y_w ≻ y_l | x) = σ(r(x, y_w) − r(x, y_l)).
///
/// Source: (2). Twin: none; training has it inside (5).
///
/// Errors: a reward that is not finite.
///
/// ```
/// use lpc::spec::objective::bradley_terry;
/// assert_eq!(bradley_terry(3.0, 3.0)?, 0.5);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn bradley_terry(chosen_reward: f64, rejected_reward: f64) -> Result<f64> {
    check::finite("bradley_terry", "chosen_reward", chosen_reward)?;
    check::finite("bradley_terry", "rejected_reward", rejected_reward)?;
    Ok(numerics::sigmoid(chosen_reward - rejected_reward))
}

/// β log( π_θ(y|x) / π_ref(y|x) ): the reward (4) up to β log Z(x), which depends on x alone.
///
/// Source: (4). Twin: none of its own; [`implicit_rewards`] has one.
///
/// Units: summed log-probabilities in nats. Errors: `beta` not finite and > 0; a log-probability
/// that is not finite.
pub fn implicit_reward(beta: f64, policy_logps: f64, reference_logps: f64) -> Result<f64> {
    check::positive("implicit_reward", "beta", beta)?;
    check::finite("implicit_reward", "policy_logps", policy_logps)?;
    check::finite("implicit_reward", "reference_logps", reference_logps)?;
    Ok(beta * (policy_logps - reference_logps))
}

/// The rewards by which an objective ranks the two completions, up to a term of x alone: (4) for DPO
/// and GPO; IPO's with τ_IPO for β, since its (1) is regularised by τ_IPO KL; SimPO's β log π_θ(y|x)/|y|,
/// which is no (4).
///
/// Source: (4), (12), (13). Twin: `tensor::objective::implicit_rewards`.
///
/// Units: those of the parameter times nats (SimPO: nats a token). SimPO reads `lengths` and not
/// `reference`; all others the reverse.
///
/// Errors: as [`implicit_reward`]; for SimPO as [`super::simpo_margin`].
pub fn implicit_rewards(
    objective: Objective,
    policy: PairLogps,
    reference: PairLogps,
    lengths: PairLengths,
) -> Result<PairLogps> {
    let log_ratios = |scale: f64| {
        Ok(PairLogps {
            chosen: implicit_reward(scale, policy.chosen, reference.chosen)?,
            rejected: implicit_reward(scale, policy.rejected, reference.rejected)?,
        })
    };
    match objective {
        Objective::Dpo { beta } | Objective::Gpo { beta, .. } => log_ratios(beta),
        Objective::Ipo { ipo_tau } => log_ratios(ipo_tau),
        Objective::Simpo { beta, .. } => {
            check::positive("implicit_rewards", "beta", beta)?;
            let mean = mean_logps("implicit_rewards", policy, lengths)?;
            Ok(PairLogps { chosen: beta * mean.chosen, rejected: beta * mean.rejected })
        }
    }
}

/// E_{y~π} r(x, y) − β KL(π ‖ π_ref): what alignment maximises.
///
/// Source: (1). Twin: none; the audit needs it, training does not.
///
/// Shapes: one element a completion, all [Y] → scalar. Logits of π and π_ref are normalised here.
///
/// Errors: `beta` not finite and > 0; mismatched vectors; a value that is not finite.
pub fn regularised_reward(
    beta: f64,
    policy_logits: &ArrayRef1<f64>,
    reference_logits: &ArrayRef1<f64>,
    rewards: &ArrayRef1<f64>,
) -> Result<f64> {
    check::positive("regularised_reward", "beta", beta)?;
    check::shape("regularised_reward", "rewards", rewards, policy_logits.shape())?;
    check::all_finite("regularised_reward", "rewards", rewards)?;
    let kl = latent::kl_divergence(policy_logits, reference_logits)?;
    Ok(numerics::softmax(policy_logits).dot(rewards) - beta * kl)
}

/// log Z(x) = log Σ_y π_ref(y|x) e^{r(x,y)/β}.
///
/// Source: (3). Twin: none, as for [`regularised_reward`].
///
/// Shapes: [Y], [Y] → scalar. Errors: as [`regularised_reward`].
pub fn log_partition(beta: f64, reference_logits: &ArrayRef1<f64>, rewards: &ArrayRef1<f64>) -> Result<f64> {
    Ok(numerics::logsumexp(&tilted("log_partition", beta, reference_logits, rewards)?))
}

/// log π*(y|x) = log π_ref(y|x) + r(x, y)/β − log Z(x): the maximiser of (1).
///
/// Source: (3). Twin: none, as for [`regularised_reward`].
///
/// Shapes: [Y], [Y] → [Y]. Errors: as [`regularised_reward`].
pub fn optimal_policy_logps(
    beta: f64,
    reference_logits: &ArrayRef1<f64>,
    rewards: &ArrayRef1<f64>,
) -> Result<Array1<f64>> {
    Ok(numerics::log_softmax(&tilted("optimal_policy_logps", beta, reference_logits, rewards)?))
}

/// log π_ref + r/β.
fn tilted(
    op: &'static str,
    beta: f64,
    reference_logits: &ArrayRef1<f64>,
    rewards: &ArrayRef1<f64>,
) -> Result<Array1<f64>> {
    check::positive(op, "beta", beta)?;
    check::vector(op, "reference_logits", reference_logits)?;
    check::shape(op, "rewards", rewards, reference_logits.shape())?;
    check::all_finite(op, "rewards", rewards)?;
    Ok(numerics::log_softmax(reference_logits) + &(rewards / beta))
}
