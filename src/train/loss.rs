//! The loss of a batch of pairs: the objective, plain or with a latent.

use crate::Result;
use crate::config::Objective;
use crate::latent::{CodeHeads, CodeOutputs, Divergence, Drawn, LatentInputs, Weighed};
use crate::model::batch::PairBatch;
use crate::passes::policy::{PairPolicy, PairStates};
use crate::tensor::elbo::{expectation, negative_elbo_sampled};
use crate::tensor::marginal::{bound_gap, marginal_loss};
use crate::tensor::numerics::softmax;
use crate::tensor::objective::{
    PairLogps, PairLoss, PairRewards, code_losses, implicit_rewards, objective_loss,
};
use candle_core::Tensor;

/// Loss of each pair and what led to it. Shapes: [B], weights [B, K].
pub struct PairOutputs {
    pub loss: Tensor,
    pub margin: Tensor,
    pub logps: PairLogps,
    pub rewards: PairRewards,
    pub latent: Option<LatentOutputs>,
}

pub struct LatentOutputs {
    /// KL(q ‖ p), [B]; where no q is trained, that of the true posterior.
    pub kl: Tensor,
    /// Where the latent has codes.
    pub codes: Option<CodeOutputs>,
}

/// The paper's loss for a batch: (5), (12), (13) plain; with the latent of (10), (11) and KL; or
/// (6) and (7) over every code.
///
/// Shapes: states as [`PairStates`] says → [B]. `inputs` are needed for sampled latents only.
pub fn pair_losses(
    policy: &dyn PairPolicy,
    states: &PairStates,
    batch: &PairBatch,
    reference: Option<&PairLogps>,
    objective: Objective,
    inputs: Option<&LatentInputs>,
) -> Result<PairOutputs> {
    let seen = states.seen(batch);
    let drawn = policy.heads().map(|heads| heads.draw(&seen, inputs)).transpose()?;
    let (PairLoss { loss, margin }, logps, latent) = match drawn {
        None => {
            let logps = policy.pair_logps(states, batch, None)?;
            (objective_loss(objective, &logps, reference, &batch.lengths)?, logps, None)
        }
        Some(Drawn::One { h_z, divergence, codes }) => {
            let logps = policy.pair_logps(states, batch, Some(&h_z))?;
            let lengths = &batch.lengths;
            match divergence {
                None => (objective_loss(objective, &logps, reference, lengths)?, logps, None),
                Some(Divergence { kl, weight }) => {
                    let loss = negative_elbo_sampled(objective, &logps, reference, lengths, &kl, weight)?;
                    (loss, logps, Some(LatentOutputs { kl, codes }))
                }
            }
        }
        Some(Drawn::EveryCode(heads, expectation)) => {
            let codes = EveryCode::score(policy, heads, states, batch, reference, objective)?;
            let weighed = expectation.weigh(heads, &codes.loss, &codes.prior, &seen)?;
            let (loss, logps, latent) = codes.means(weighed)?;
            (loss, logps, Some(latent))
        }
    };
    let rewards = implicit_rewards(objective, &logps, reference, &batch.lengths)?;
    Ok(PairOutputs { loss, margin, logps, rewards, latent })
}

/// What a policy's codes make of each pair, exactly, however they were trained. Shapes: [B].
pub struct ExactLatents {
    /// (6), in nats: a likelihood of the label for DPO, for other objectives a free energy.
    pub marginal_loss: Tensor,
    /// KL(q ‖ p(z | x, y_w ≻ y_l)): what (7) at λ = 1 has above it.
    pub bound_gap: Tensor,
}

/// The exact likelihood of each pair and the gap of its bound; none for a policy without codes.
pub fn exact_latents(
    policy: &dyn PairPolicy,
    states: &PairStates,
    batch: &PairBatch,
    reference: Option<&PairLogps>,
    objective: Objective,
) -> Result<Option<ExactLatents>> {
    let Some(heads) = policy.codes() else { return Ok(None) };
    let codes = EveryCode::score(policy, heads, states, batch, reference, objective)?;
    let q = heads.posterior_logits(&states.seen(batch))?;
    Ok(Some(ExactLatents {
        marginal_loss: marginal_loss(&codes.prior, &codes.loss)?,
        bound_gap: bound_gap(&q, &codes.prior, &codes.loss)?,
    }))
}

/// What each code makes of a batch. Shapes: [B, K].
struct EveryCode {
    logps: PairLogps,
    loss: Tensor,
    margin: Tensor,
    /// Logits.
    prior: Tensor,
}

impl EveryCode {
    fn score(
        policy: &dyn PairPolicy,
        heads: &CodeHeads,
        states: &PairStates,
        batch: &PairBatch,
        reference: Option<&PairLogps>,
        objective: Objective,
    ) -> Result<Self> {
        let logps = policy.code_pair_logps(states, batch, &heads.codebook)?;
        let PairLoss { loss, margin } = code_losses(objective, &logps, reference, &batch.lengths)?;
        Ok(Self { logps, loss, margin, prior: heads.prior_logits(&states.prompt_hidden)? })
    }

    /// For metrics, what a code has is averaged as the loss weighs the codes: by q in (7), by the
    /// true posterior in (6).
    fn means(self, weighed: Weighed) -> Result<(PairLoss, PairLogps, LatentOutputs)> {
        let Weighed { loss, weights, kl } = weighed;
        let codes = weights.detach();
        let mean = |values: &Tensor| expectation(&codes, &values.detach());
        let logps = PairLogps { chosen: mean(&self.logps.chosen)?, rejected: mean(&self.logps.rejected)? };
        let outputs = CodeOutputs { code_weights: softmax(&codes)?, prior: softmax(&self.prior)? };
        let latent = LatentOutputs { kl, codes: Some(outputs) };
        Ok((PairLoss { loss, margin: mean(&self.margin)? }, logps, latent))
    }
}
