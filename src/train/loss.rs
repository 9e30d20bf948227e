//! The loss of a batch of pairs: the objective, plain or with a latent.

use crate::config::{Latent, Objective};
use crate::model::batch::PairBatch;
use crate::model::heads::{CodeHeads, Heads};
use crate::passes::policy::{PairStates, Policy};
use crate::tensor::codebook::linear_latent;
use crate::tensor::elbo::{
    SampleNoise, draw_latent, expectation, negative_elbo_exact, negative_elbo_sampled,
};
use crate::tensor::gaussian::draw_gaussian;
use crate::tensor::latent::{control_latent, kl_divergence, posterior_logits, prior_logits};
use crate::tensor::marginal::{bound_gap, marginal_loss, true_posterior_logps};
use crate::tensor::numerics::softmax;
use crate::tensor::objective::{
    PairLogps, PairLoss, PairRewards, code_losses, implicit_rewards, objective_loss,
};
use crate::{Error, Result};
use candle_core::Tensor;

/// What the latent needs beside the model: noise, and α of this step.
#[derive(Debug, Clone)]
pub struct LatentInputs {
    pub noise: SampleNoise,
    pub prior_weight: f64,
}

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

pub struct CodeOutputs {
    pub code_weights: Tensor,
    /// softmax of the prior's logits.
    pub prior: Tensor,
}

/// The paper's loss for a batch: (5), (12), (13) plain; with the latent of (10), (11) and KL; or
/// (6) and (7) over every code.
///
/// Shapes: states as [`PairStates`] says → [B]. `inputs` are needed for sampled latents only.
pub fn pair_losses(
    policy: &Policy,
    states: &PairStates,
    batch: &PairBatch,
    reference: Option<&PairLogps>,
    objective: Objective,
    latent: Latent,
    inputs: Option<&LatentInputs>,
) -> Result<PairOutputs> {
    let no_heads = || missing("the policy's heads");
    let codes = || policy.codes().ok_or_else(no_heads);
    let finish = |PairLoss { loss, margin }, logps: PairLogps, latent| {
        let rewards = implicit_rewards(objective, &logps, reference, &batch.lengths)?;
        Ok(PairOutputs { loss, margin, logps, rewards, latent })
    };
    match latent {
        Latent::None {} => {
            let logps = policy.pair_logps(states, batch, None)?;
            let loss = objective_loss(objective, &logps, reference, &batch.lengths)?;
            finish(loss, logps, None)
        }
        Latent::Gumbel { gumbel_tau, kl_weight, .. } => {
            let LatentInputs { noise, prior_weight } = inputs.ok_or_else(|| missing("noise and α"))?;
            let heads = codes()?;
            let prior = prior_logits(&heads.prior, &states.prompt_hidden)?;
            let posterior =
                posterior_logits(&heads.posterior, &states.chosen_hidden, &states.rejected_hidden)?;
            let draw = draw_latent(&prior, &posterior, noise, &heads.codebook, gumbel_tau, *prior_weight)?;
            let logps = policy.pair_logps(states, batch, Some(&draw.latent))?;
            let loss =
                negative_elbo_sampled(objective, &logps, reference, &batch.lengths, &draw.kl, kl_weight)?;
            let codes = CodeOutputs { code_weights: draw.code_weights, prior: softmax(&prior)? };
            finish(loss, logps, Some(LatentOutputs { kl: draw.kl, codes: Some(codes) }))
        }
        Latent::Gaussian { kl_weight, .. } => {
            let LatentInputs { noise, prior_weight } = inputs.ok_or_else(|| missing("noise and α"))?;
            let Some(Heads::Gaussian(heads)) = &policy.heads else { return Err(no_heads()) };
            let prior = prior_logits(&heads.prior, &states.prompt_hidden)?;
            let posterior =
                posterior_logits(&heads.posterior, &states.chosen_hidden, &states.rejected_hidden)?;
            let draw = draw_gaussian(&prior, &posterior, noise, &heads.projection, *prior_weight)?;
            let logps = policy.pair_logps(states, batch, Some(&draw.latent))?;
            let loss =
                negative_elbo_sampled(objective, &logps, reference, &batch.lengths, &draw.kl, kl_weight)?;
            finish(loss, logps, Some(LatentOutputs { kl: draw.kl, codes: None }))
        }
        Latent::Factors { .. } => {
            let Some(Heads::Factors(vectors)) = &policy.heads else { return Err(no_heads()) };
            let weights =
                batch.factor_weights.as_ref().ok_or_else(|| missing("the pairs' factor weights"))?;
            let h_z = linear_latent(weights, vectors)?;
            let logps = policy.pair_logps(states, batch, Some(&h_z))?;
            let loss = objective_loss(objective, &logps, reference, &batch.lengths)?;
            finish(loss, logps, None)
        }
        Latent::Control { .. } => {
            let Some(Heads::Control(network)) = &policy.heads else {
                return Err(no_heads());
            };
            let h_z = control_latent(network, &states.prompt_hidden)?;
            let logps = policy.pair_logps(states, batch, Some(&h_z))?;
            let loss = objective_loss(objective, &logps, reference, &batch.lengths)?;
            finish(loss, logps, None)
        }
        Latent::ExactElbo { kl_weight, .. } => {
            let heads = codes()?;
            let codes = EveryCode::score(policy, heads, states, batch, reference, objective)?;
            let q = posterior_logits(&heads.posterior, &states.chosen_hidden, &states.rejected_hidden)?;
            let loss = negative_elbo_exact(&codes.loss, &q, &codes.prior, kl_weight)?;
            let kl = kl_divergence(&q, &codes.prior)?;
            let (loss, logps, latent) = codes.means(loss, &q, kl)?;
            finish(loss, logps, Some(latent))
        }
        Latent::Marginal { .. } => {
            let codes = EveryCode::score(policy, codes()?, states, batch, reference, objective)?;
            let loss = marginal_loss(&codes.prior, &codes.loss)?;
            let posterior = true_posterior_logps(&codes.prior, &codes.loss)?;
            let kl = kl_divergence(&posterior, &codes.prior)?;
            let (loss, logps, latent) = codes.means(loss, &posterior, kl)?;
            finish(loss, logps, Some(latent))
        }
    }
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
    policy: &Policy,
    states: &PairStates,
    batch: &PairBatch,
    reference: Option<&PairLogps>,
    objective: Objective,
) -> Result<Option<ExactLatents>> {
    let Some(heads) = policy.codes() else { return Ok(None) };
    let codes = EveryCode::score(policy, heads, states, batch, reference, objective)?;
    let q = posterior_logits(&heads.posterior, &states.chosen_hidden, &states.rejected_hidden)?;
    Ok(Some(ExactLatents {
        marginal_loss: marginal_loss(&codes.prior, &codes.loss)?,
        bound_gap: bound_gap(&q, &codes.prior, &codes.loss)?,
    }))
}

fn missing(what: &str) -> Error {
    Error::argument("pair_losses", what, "none", "what the recipe's latent needs")
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
        policy: &Policy,
        heads: &CodeHeads,
        states: &PairStates,
        batch: &PairBatch,
        reference: Option<&PairLogps>,
        objective: Objective,
    ) -> Result<Self> {
        let logps = policy.code_pair_logps(states, batch, &heads.codebook)?;
        let PairLoss { loss, margin } = code_losses(objective, &logps, reference, &batch.lengths)?;
        Ok(Self { logps, loss, margin, prior: prior_logits(&heads.prior, &states.prompt_hidden)? })
    }

    /// For metrics, what a code has is averaged as the loss weighs the codes: by q in (7), by the
    /// true posterior in (6).
    fn means(self, loss: Tensor, codes: &Tensor, kl: Tensor) -> Result<(PairLoss, PairLogps, LatentOutputs)> {
        let codes = codes.detach();
        let mean = |values: &Tensor| expectation(&codes, &values.detach());
        let logps = PairLogps { chosen: mean(&self.logps.chosen)?, rejected: mean(&self.logps.rejected)? };
        let outputs = CodeOutputs { code_weights: softmax(&codes)?, prior: softmax(&self.prior)? };
        let latent = LatentOutputs { kl, codes: Some(outputs) };
        Ok((PairLoss { loss, margin: mean(&self.margin)? }, logps, latent))
    }
}
