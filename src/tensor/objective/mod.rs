//! The preference objectives on batches of sequence log-probabilities.

pub mod dpo;
pub mod ipo;
pub mod reward;
pub mod simpo;

pub use dpo::dpo_loss;
pub use ipo::ipo_loss;
pub use reward::{PairRewards, implicit_rewards};
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
