//! The rewards by which an objective ranks completions, (4).

use super::{PairLengths, PairLogps, no_reference, require_positive};
use crate::Result;
use crate::config::Objective;
use candle_core::Tensor;

/// Implicit rewards of a batch of pairs. Shapes: each [B].
#[derive(Debug, Clone)]
pub struct PairRewards {
    pub chosen: Tensor,
    pub rejected: Tensor,
}

/// Implicit rewards of both completions, up to a term that only the prompt decides.
///
/// Source: (4): β·log-ratio for DPO; τ·log-ratio for IPO, whose regulariser τ is; β·mean token
/// log-prob for SimPO. Twin: `spec::objective::implicit_rewards`. Shapes: [B]. Units: nats · β.
/// Errors: an objective that needs a reference without one; β or τ not finite and > 0.
pub fn implicit_rewards(
    objective: Objective,
    policy: &PairLogps,
    reference: Option<&PairLogps>,
    lengths: &PairLengths,
) -> Result<PairRewards> {
    let log_ratios = |name: &str, scale: f64| {
        require_positive("implicit_rewards", name, scale)?;
        let reference = reference.ok_or_else(|| no_reference("implicit_rewards"))?;
        Ok(PairRewards {
            chosen: ((&policy.chosen - &reference.chosen)? * scale)?,
            rejected: ((&policy.rejected - &reference.rejected)? * scale)?,
        })
    };
    match objective {
        Objective::Dpo { beta } => log_ratios("beta", beta),
        Objective::Ipo { ipo_tau } => log_ratios("ipo_tau", ipo_tau),
        Objective::Simpo { beta, .. } => {
            require_positive("implicit_rewards", "beta", beta)?;
            Ok(PairRewards {
                chosen: ((&policy.chosen / &lengths.chosen)? * beta)?,
                rejected: ((&policy.rejected / &lengths.rejected)? * beta)?,
            })
        }
    }
}
