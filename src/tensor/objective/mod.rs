//! The preference objectives on batches of sequence log-probabilities.

mod dpo;
mod ipo;
mod simpo;

pub use dpo::dpo_loss;
pub use ipo::ipo_loss;
pub use simpo::{simpo_loss, simpo_margin};

use crate::config::Objective;
use crate::{Error, Result};
use candle_core::Tensor;

/// Sequence log-probabilities of a batch of pairs. Shapes: each [B]. Units: nats, summed.
#[derive(Debug, Clone)]
pub struct PairLogps {
    pub chosen: Tensor,
    pub rejected: Tensor,
}

/// Number of tokens of each completion, [B], in the dtype of the log-probabilities.
#[derive(Debug, Clone)]
pub struct PairLengths {
    pub chosen: Tensor,
    pub rejected: Tensor,
}

/// Δ: the difference of the two log-ratios to the reference.
///
/// Source: (5). Twin: `spec::objective::margin`. Shapes: four [B] → [B]. Units: nats.
pub fn margin(policy: &PairLogps, reference: &PairLogps) -> Result<Tensor> {
    let chosen = (&policy.chosen - &reference.chosen)?;
    let rejected = (&policy.rejected - &reference.rejected)?;
    Ok((chosen - rejected)?)
}

/// What an objective makes of a batch: its loss and the margin its loss is a function of.
pub struct PairLoss {
    /// [B]
    pub loss: Tensor,
    /// [B]: Δ of (5) for DPO and IPO, the whole argument of σ in (12) for SimPO.
    pub margin: Tensor,
}

/// Loss and margin of each pair under `objective`.
///
/// Twin: `spec::objective::objective_loss`.
/// Errors: an objective that needs a reference without one; a parameter out of range.
pub fn objective_loss(
    objective: Objective,
    policy: &PairLogps,
    reference: Option<&PairLogps>,
    lengths: &PairLengths,
) -> Result<PairLoss> {
    let referenced = || {
        let reference = reference.ok_or_else(|| no_reference("objective_loss"))?;
        margin(policy, reference)
    };
    match objective {
        Objective::Dpo { beta } => {
            let margin = referenced()?;
            Ok(PairLoss { loss: dpo_loss(beta, &margin)?, margin })
        }
        Objective::Ipo { ipo_tau } => {
            let margin = referenced()?;
            Ok(PairLoss { loss: ipo_loss(ipo_tau, &margin)?, margin })
        }
        Objective::Simpo { beta, gamma } => {
            let margin = simpo_margin(beta, gamma, policy, lengths)?;
            Ok(PairLoss { loss: simpo_loss(&margin)?, margin })
        }
    }
}

/// Implicit rewards of both completions, up to a term that only the prompt decides.
///
/// Source: (4): β·log-ratio for DPO; τ·log-ratio for IPO, whose regulariser τ is; β·mean token
/// log-prob for SimPO. Twin: `spec::objective::implicit_rewards`. Shapes: [B]. Units: nats · β.
/// Errors: an objective that needs a reference without one.
pub fn implicit_rewards(
    objective: Objective,
    policy: &PairLogps,
    reference: Option<&PairLogps>,
    lengths: &PairLengths,
) -> Result<PairRewards> {
    let log_ratios = |scale: f64| {
        let reference = reference.ok_or_else(|| no_reference("implicit_rewards"))?;
        Ok(PairRewards {
            chosen: ((&policy.chosen - &reference.chosen)? * scale)?,
            rejected: ((&policy.rejected - &reference.rejected)? * scale)?,
        })
    };
    match objective {
        Objective::Dpo { beta } => log_ratios(beta),
        Objective::Ipo { ipo_tau } => log_ratios(ipo_tau),
        Objective::Simpo { beta, .. } => Ok(PairRewards {
            chosen: ((&policy.chosen / &lengths.chosen)? * beta)?,
            rejected: ((&policy.rejected / &lengths.rejected)? * beta)?,
        }),
    }
}

/// Implicit rewards of a batch of pairs. Shapes: each [B].
#[derive(Debug, Clone)]
pub struct PairRewards {
    pub chosen: Tensor,
    pub rejected: Tensor,
}

fn no_reference(op: &'static str) -> Error {
    Error::argument(op, "reference", "none", "log-probabilities of the reference model")
}

fn require_positive(op: &'static str, argument: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(Error::argument(op, argument, value, "finite and > 0"))
    }
}
