//! The preference objectives on batches of sequence log-probabilities.

pub mod dpo;
pub mod gpo;
pub mod ipo;
pub mod reward;
pub mod simpo;

pub use dpo::dpo_loss;
pub use gpo::gpo_loss;
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
/// Errors: shapes that differ.
/// Numerics: each completion's ratio first, so that policy = reference gives exactly 0.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::tensor::objective::{PairLogps, margin};
/// let logps = |c: f64, r: f64| -> lpc::Result<_> {
///     Ok(PairLogps { chosen: Tensor::new(&[c], &Cpu)?, rejected: Tensor::new(&[r], &Cpu)? })
/// };
/// let delta = margin(&logps(-1.0, -6.0)?, &logps(-3.0, -2.0)?)?; // 2 − (−4)
/// assert_eq!(delta.to_vec1::<f64>()?, [6.0]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn margin(policy: &PairLogps, reference: &PairLogps) -> Result<Tensor> {
    let chosen = (&policy.chosen - &reference.chosen)?;
    let rejected = (&policy.rejected - &reference.rejected)?;
    Ok((chosen - rejected)?)
}

/// What an objective makes of a batch: its loss and the margin its loss is a function of.
pub struct PairLoss {
    /// [B]
    pub loss: Tensor,
    /// [B]: Δ of (5), for SimPO the whole argument of σ in (12).
    pub margin: Tensor,
}

/// Loss and margin of each pair under `objective`.
///
/// Source: (5), (12), (13), GPO. Twin: `spec::objective::objective_loss`.
/// Shapes: every log-probability and length [B] → [B] each.
/// Units: loss in nats, for IPO nats², for GPO the member's own; margin in nats, for SimPO nats times β.
/// Errors: an objective that needs a reference without one; β or τ not finite and > 0; γ not
/// finite; shapes that differ.
/// Numerics: those of [`dpo_loss`], [`ipo_loss`], [`simpo_loss`] and [`gpo_loss`].
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::{config::Objective, tensor::objective::{PairLengths, PairLogps, objective_loss}};
/// let one = |x: f64| Tensor::new(&[x], &Cpu);
/// let policy = PairLogps { chosen: one(-1.0)?, rejected: one(-4.0)? };
/// let reference = PairLogps { chosen: one(-3.0)?, rejected: one(-4.0)? };
/// let lengths = PairLengths { chosen: one(1.0)?, rejected: one(1.0)? };
/// let ipo = objective_loss(Objective::Ipo { ipo_tau: 0.5 }, &policy, Some(&reference), &lengths)?;
/// assert_eq!(ipo.margin.to_vec1::<f64>()?, [2.0]);
/// assert_eq!(ipo.loss.to_vec1::<f64>()?, [1.0]); // (2 − 1/(2·0.5))²
/// # Ok::<(), lpc::Error>(())
/// ```
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
        Objective::Gpo { member, beta } => {
            let margin = referenced()?;
            Ok(PairLoss { loss: gpo_loss(member, beta, &margin)?, margin })
        }
        Objective::Simpo { beta, gamma } => {
            let margin = simpo_margin(beta, gamma, policy, lengths)?;
            Ok(PairLoss { loss: simpo_loss(&margin)?, margin })
        }
    }
}

/// Loss and margin of each pair under every code at once.
///
/// Source: (6), (7): ℓ_k and Δ_k. The reference never sees a code. Twin: none; `spec` calls
/// `objective_loss` code by code.
/// Shapes: policy [B, K]; reference and lengths [B] → [B, K] each.
/// Units, errors, numerics: those of [`objective_loss`].
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// use lpc::{config::Objective, tensor::objective::{PairLengths, PairLogps, code_losses}};
/// let one = |x: f64| Tensor::new(&[x], &Cpu);
/// let codes = |a: f64, b: f64| Tensor::new(&[[a, b]], &Cpu);
/// let policy = PairLogps { chosen: codes(-3.0, -2.0)?, rejected: codes(-5.0, -8.0)? };
/// let reference = PairLogps { chosen: one(-3.0)?, rejected: one(-5.0)? };
/// let lengths = PairLengths { chosen: one(1.0)?, rejected: one(1.0)? };
/// let losses = code_losses(Objective::Ipo { ipo_tau: 0.5 }, &policy, Some(&reference), &lengths)?;
/// assert_eq!(losses.margin.to_vec2::<f64>()?, [[0.0, 4.0]]);
/// assert_eq!(losses.loss.to_vec2::<f64>()?, [[1.0, 9.0]]);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn code_losses(
    objective: Objective,
    policy: &PairLogps,
    reference: Option<&PairLogps>,
    lengths: &PairLengths,
) -> Result<PairLoss> {
    let shape = policy.chosen.shape();
    let every_code = |x: &Tensor| -> Result<Tensor> { Ok(x.unsqueeze(1)?.broadcast_as(shape)?) };
    let reference = match reference {
        Some(PairLogps { chosen, rejected }) => {
            Some(PairLogps { chosen: every_code(chosen)?, rejected: every_code(rejected)? })
        }
        None => None,
    };
    let lengths =
        PairLengths { chosen: every_code(&lengths.chosen)?, rejected: every_code(&lengths.rejected)? };
    objective_loss(objective, policy, reference.as_ref(), &lengths)
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
