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
/// Source: (4): β·log-ratio for DPO and GPO; τ·log-ratio for IPO, whose regulariser τ is; β·mean token
/// log-prob for SimPO. Twin: `spec::objective::implicit_rewards`. Shapes: [B] each → [B] each.
/// Units: nats times β, for IPO nats times τ.
/// Errors: an objective that needs a reference without one; β or τ not finite and > 0; shapes that
/// differ.
/// Numerics: SimPO's γ is no reward: it shifts the margin, not the ranking.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::{config::Objective, tensor::objective::{PairLengths, PairLogps, implicit_rewards}};
/// let one = |x: f64| Tensor::new(&[x], &Cpu);
/// let policy = PairLogps { chosen: one(-6.0)?, rejected: one(-4.0)? };
/// let lengths = PairLengths { chosen: one(3.0)?, rejected: one(1.0)? };
/// let objective = Objective::Simpo { beta: 2.0, gamma: 1.0 };
/// let rewards = implicit_rewards(objective, &policy, None, &lengths)?;
/// assert_eq!(rewards.chosen.to_vec1::<f64>()?, [-4.0]); // 2 · (−6 / 3)
/// assert_eq!(rewards.rejected.to_vec1::<f64>()?, [-8.0]);
/// # Ok::<(), lpc::Error>(())
/// ```
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
        Objective::Dpo { beta } | Objective::Gpo { beta, .. } => log_ratios("beta", beta),
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
