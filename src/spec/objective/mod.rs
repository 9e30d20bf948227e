//! Preference objectives on the log-probabilities of one pair: (2), (5), (12), (13), GPO.

pub mod dpo;
pub mod gpo;
pub mod ipo;
pub mod reward;
pub mod simpo;

pub use dpo::{dpo_gradient, dpo_loss};
pub use gpo::{gpo_gradient, gpo_loss};
pub use ipo::{ipo_gradient, ipo_loss};
pub use reward::{bradley_terry, implicit_reward, implicit_rewards};
pub use simpo::{simpo_gradient, simpo_loss, simpo_margin};

use super::check;
use crate::config::Objective;
use crate::error::Result;

/// One number for each completion of a pair: summed log-probabilities in nats, the derivative
/// with respect to them, or rewards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLogps {
    pub chosen: f64,
    pub rejected: f64,
}

/// Completion lengths in tokens. Only SimPO reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairLengths {
    pub chosen: usize,
    pub rejected: usize,
}

/// What an objective says about one pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObjectiveLoss {
    pub loss: f64,
    /// Δ of (5), the whole argument of σ in (12) for SimPO.
    pub margin: f64,
    /// ∂loss / ∂(policy's summed log-probabilities).
    pub policy_gradient: PairLogps,
}

/// Δ = [log π_θ(y_w|x) − log π_ref(y_w|x)] − [log π_θ(y_l|x) − log π_ref(y_l|x)].
///
/// Source: (5). Twin: `tensor::objective::margin`. Units: nats, from summed log-probabilities.
///
/// Errors: a log-probability that is not finite.
pub fn margin(policy: PairLogps, reference: PairLogps) -> Result<f64> {
    for (argument, v) in [
        ("policy.chosen", policy.chosen),
        ("policy.rejected", policy.rejected),
        ("reference.chosen", reference.chosen),
        ("reference.rejected", reference.rejected),
    ] {
        check::finite("margin", argument, v)?;
    }
    Ok((policy.chosen - reference.chosen) - (policy.rejected - reference.rejected))
}

/// The recipe's objective on one pair, with its gradient. SimPO reads `lengths` and not
/// `reference`, which may then be anything; all others the reverse.
///
/// Source: (5), (12), (13), GPO. Twin: `tensor::objective::objective_loss`.
///
/// Errors: those of the chosen objective.
///
/// ```
/// use lpc::config::Objective;
/// use lpc::spec::objective::{PairLengths, PairLogps, objective_loss};
/// let logps = PairLogps { chosen: -3.0, rejected: -5.0 };
/// let lengths = PairLengths { chosen: 2, rejected: 4 };
/// // A policy equal to its reference has margin 0.
/// let dpo = objective_loss(Objective::Dpo { beta: 0.1 }, logps, logps, lengths)?;
/// assert_eq!(dpo.loss, std::f64::consts::LN_2);
/// assert_eq!(dpo.policy_gradient.chosen, -0.05);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn objective_loss(
    objective: Objective,
    policy: PairLogps,
    reference: PairLogps,
    lengths: PairLengths,
) -> Result<ObjectiveLoss> {
    // The margin is linear in the two log-probabilities with slopes +1 and −1.
    let on_margin = |loss: f64, margin: f64, slope: f64| ObjectiveLoss {
        loss,
        margin,
        policy_gradient: PairLogps { chosen: slope, rejected: -slope },
    };
    match objective {
        Objective::Dpo { beta } => {
            let margin = margin(policy, reference)?;
            Ok(on_margin(dpo_loss(beta, margin)?, margin, dpo_gradient(beta, margin)?))
        }
        Objective::Ipo { ipo_tau } => {
            let margin = margin(policy, reference)?;
            Ok(on_margin(ipo_loss(ipo_tau, margin)?, margin, ipo_gradient(ipo_tau, margin)?))
        }
        Objective::Gpo { member, beta } => {
            let margin = margin(policy, reference)?;
            Ok(on_margin(gpo_loss(member, beta, margin)?, margin, gpo_gradient(member, beta, margin)?))
        }
        Objective::Simpo { beta, gamma } => {
            let margin = simpo_margin(beta, gamma, policy, lengths)?;
            let policy_gradient = simpo_gradient(beta, gamma, policy, lengths)?;
            Ok(ObjectiveLoss { loss: simpo_loss(margin)?, margin, policy_gradient })
        }
    }
}
