//! The policy: a decoder, LPC's heads where the objective has a latent, and who computes with them.

use super::gpu::Run;
use super::{Passes, Pending, tracked};
use crate::config::{Latent, Precision};
use crate::latent::{self, CodeHeads, Heads, Seen};
use crate::model::batch::PairBatch;
use crate::model::config::DecoderConfig;
use crate::model::decoder::Decoder;
use crate::model::parameters::Parameters;
use crate::model::rows::TokenRows;
use crate::tensor::logprob::{add_latent, completion_logps_sum};
use crate::tensor::objective::PairLogps;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;

/// What training and scoring ask of a policy, wherever its decoder lies.
pub trait PairPolicy {
    /// None of a plain policy.
    fn heads(&self) -> Option<&dyn Heads>;

    /// Whether rows may be padded to the longest beside them.
    fn pads(&self) -> bool;

    /// Where the tensors are that it takes and gives.
    fn device(&self) -> &Device;

    /// Of those tensors.
    fn dtype(&self) -> DType;

    /// The states of pairs, for values only.
    fn states(&self, batch: &PairBatch) -> Result<PairStates>;

    /// [`Self::states`] that autograd begins with, and what its backward pass needs. `recompute` as in
    /// [`Passes::forward`].
    fn forward<'a>(
        &'a self,
        batch: &'a PairBatch,
        recompute: bool,
    ) -> Result<(PairStates, Box<dyn Pending + 'a>)>;

    /// log π of every completion token, with h_z [B, d] added to the state that predicts it. Shapes: → [N].
    ///
    /// Source: (10).
    fn token_logps(&self, states: &PairStates, batch: &PairBatch, latent: Option<&Tensor>) -> Result<Tensor>;

    /// [`Self::token_logps`] under each code alone. Shapes: codebook [K, d] → [N, K].
    ///
    /// Source: (6), (10).
    fn code_logps(&self, states: &PairStates, batch: &PairBatch, codebook: &Tensor) -> Result<Tensor>;

    /// Codebook and networks, of a policy with discrete codes.
    fn codes(&self) -> Option<&CodeHeads> {
        self.heads()?.codes()
    }

    /// Sequence log-probabilities, with h_z [B, d] added to every predicting state if given.
    ///
    /// Source: (10). Units: nats, summed over each completion's tokens.
    fn pair_logps(
        &self,
        states: &PairStates,
        batch: &PairBatch,
        latent: Option<&Tensor>,
    ) -> Result<PairLogps> {
        completion_sums(&self.token_logps(states, batch, latent)?, batch)
    }

    /// Sequence log-probabilities under each code alone, [B, K].
    ///
    /// Source: (6), (10). Units: nats, summed over each completion's tokens.
    fn code_pair_logps(
        &self,
        states: &PairStates,
        batch: &PairBatch,
        codebook: &Tensor,
    ) -> Result<PairLogps> {
        completion_sums(&self.code_logps(states, batch, codebook)?, batch)
    }
}

fn completion_sums(logps: &Tensor, batch: &PairBatch) -> Result<PairLogps> {
    let sums = completion_logps_sum(logps, &batch.token_completion, 2 * batch.pairs)?;
    Ok(PairLogps {
        chosen: sums.narrow(0, 0, batch.pairs)?,
        rejected: match &batch.rejected_rows {
            None => sums.narrow(0, batch.pairs, batch.pairs)?,
            Some(rows) => sums.index_select(rows, 0)?,
        },
    })
}

/// The hidden states a pair's loss is made of.
#[derive(Debug, Clone)]
pub struct PairStates {
    /// h_x, [B, d]
    pub prompt_hidden: Tensor,
    /// h_{x,y_w}, [B, d]
    pub chosen_hidden: Tensor,
    /// h_{x,y_l}, [B, d]
    pub rejected_hidden: Tensor,
    pub predictors: Predictors,
}

/// h_{x,y_<t} for every completion token.
#[derive(Debug, Clone)]
pub enum Predictors {
    /// [N, d]
    Hidden(Tensor),
    /// They stay where a pass for GPUs has made them.
    OnDevice(Run),
}

impl PairStates {
    /// Picks the states out of `hidden` [tokens, d].
    pub fn select(hidden: &Tensor, batch: &PairBatch) -> Result<Self> {
        let at = |index: &Tensor| hidden.index_select(index, 0);
        Ok(Self {
            prompt_hidden: at(&batch.prompt_last)?,
            chosen_hidden: at(&batch.chosen_last)?,
            rejected_hidden: at(&batch.rejected_last)?,
            predictors: Predictors::Hidden(at(&batch.predictors)?),
        })
    }

    /// What a latent is made of.
    pub fn seen<'a>(&'a self, batch: &'a PairBatch) -> Seen<'a> {
        Seen {
            prompt_hidden: &self.prompt_hidden,
            chosen_hidden: &self.chosen_hidden,
            rejected_hidden: &self.rejected_hidden,
            factor_weights: batch.factor_weights.as_ref(),
        }
    }

    /// The same values, which autograd does not follow.
    pub fn detached(&self) -> Self {
        Self {
            prompt_hidden: self.prompt_hidden.detach(),
            chosen_hidden: self.chosen_hidden.detach(),
            rejected_hidden: self.rejected_hidden.detach(),
            predictors: match &self.predictors {
                Predictors::Hidden(hidden) => Predictors::Hidden(hidden.detach()),
                Predictors::OnDevice(run) => Predictors::OnDevice(*run),
            },
        }
    }

    fn predictor_hidden(&self) -> Result<&Tensor> {
        match &self.predictors {
            Predictors::Hidden(hidden) => Ok(hidden),
            Predictors::OnDevice(_) => {
                Err(Error::argument("policy", "states", "those of another policy", "its own"))
            }
        }
    }
}

/// A decoder in candle's tensors, with LPC's heads if it has any.
#[derive(Debug, Clone)]
pub struct Policy {
    pub decoder: Decoder,
    pub heads: Option<Arc<dyn Heads>>,
    pub passes: &'static dyn Passes,
}

impl Policy {
    pub fn new(
        config: &DecoderConfig,
        parameters: &Parameters,
        latent: &Latent,
        precision: Precision,
    ) -> Result<Self> {
        let heads = latent::heads(parameters, config.hidden_size, latent)?;
        let decoder = Decoder::new(config, parameters, precision)?;
        Ok(Self { decoder, heads, passes: super::of(parameters) })
    }

    /// [`Passes::hidden`] of its decoder.
    pub fn hidden(&self, rows: &TokenRows) -> Result<Tensor> {
        self.passes.hidden(&self.decoder, rows)
    }
}

impl PairPolicy for Policy {
    fn heads(&self) -> Option<&dyn Heads> {
        self.heads.as_deref()
    }

    fn pads(&self) -> bool {
        true
    }

    fn device(&self) -> &Device {
        self.decoder.device()
    }

    fn dtype(&self) -> DType {
        self.decoder.dtype()
    }

    fn states(&self, batch: &PairBatch) -> Result<PairStates> {
        PairStates::select(&self.hidden(&batch.rows)?, batch)
    }

    fn forward<'a>(
        &'a self,
        batch: &'a PairBatch,
        recompute: bool,
    ) -> Result<(PairStates, Box<dyn Pending + 'a>)> {
        let (hidden, pass) = tracked(self.passes, &self.decoder, &batch.rows, recompute)?;
        Ok((PairStates::select(&hidden, batch)?, pass))
    }

    fn token_logps(&self, states: &PairStates, batch: &PairBatch, latent: Option<&Tensor>) -> Result<Tensor> {
        let hidden = states.predictor_hidden()?;
        match latent {
            Some(latent) => {
                let hidden = add_latent(hidden, latent, &batch.token_pair)?;
                self.passes.token_logps(&self.decoder, &hidden, &batch.targets)
            }
            None => self.passes.token_logps(&self.decoder, hidden, &batch.targets),
        }
    }

    fn code_logps(&self, states: &PairStates, batch: &PairBatch, codebook: &Tensor) -> Result<Tensor> {
        self.passes.code_logps(&self.decoder, states.predictor_hidden()?, codebook, &batch.targets)
    }
}
