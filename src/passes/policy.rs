//! The policy: a decoder, LPC's heads where the objective has a latent, and who computes with them.

use super::Passes;
use crate::Result;
use crate::config::{Latent, Precision};
use crate::latent::{self, CodeHeads, Heads, Seen};
use crate::model::batch::PairBatch;
use crate::model::config::DecoderConfig;
use crate::model::decoder::Decoder;
use crate::model::parameters::Parameters;
use crate::model::rows::TokenRows;
use crate::tensor::logprob::{add_latent, completion_logps_sum};
use crate::tensor::objective::PairLogps;
use candle_core::Tensor;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub struct Policy {
    pub decoder: Decoder,
    pub heads: Option<Arc<dyn Heads>>,
    pub passes: &'static dyn Passes,
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
    /// h_{x,y_<t} for every completion token, [N, d]
    pub predictor_hidden: Tensor,
}

impl PairStates {
    /// Picks the states out of `hidden` [tokens, d].
    pub fn select(hidden: &Tensor, batch: &PairBatch) -> Result<Self> {
        let at = |index: &Tensor| hidden.index_select(index, 0);
        Ok(Self {
            prompt_hidden: at(&batch.prompt_last)?,
            chosen_hidden: at(&batch.chosen_last)?,
            rejected_hidden: at(&batch.rejected_last)?,
            predictor_hidden: at(&batch.predictors)?,
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

    /// Codebook and networks, of a policy with discrete codes.
    pub fn codes(&self) -> Option<&CodeHeads> {
        self.heads.as_ref()?.codes()
    }

    /// [`Passes::hidden`] of its decoder.
    pub fn hidden(&self, rows: &TokenRows) -> Result<Tensor> {
        self.passes.hidden(&self.decoder, rows)
    }

    /// Sequence log-probabilities, with h_z [B, d] added to every predicting state if given.
    ///
    /// Source: (10). Units: nats, summed over each completion's tokens.
    pub fn pair_logps(
        &self,
        states: &PairStates,
        batch: &PairBatch,
        latent: Option<&Tensor>,
    ) -> Result<PairLogps> {
        let hidden = match latent {
            Some(latent) => add_latent(&states.predictor_hidden, latent, &batch.token_pair)?,
            None => states.predictor_hidden.clone(),
        };
        completion_sums(&self.passes.token_logps(&self.decoder, &hidden, &batch.targets)?, batch)
    }

    /// Sequence log-probabilities under each code alone, [B, K].
    ///
    /// Source: (6), (10). Units: nats, summed over each completion's tokens.
    pub fn code_pair_logps(
        &self,
        states: &PairStates,
        batch: &PairBatch,
        codebook: &Tensor,
    ) -> Result<PairLogps> {
        let (decoder, hidden) = (&self.decoder, &states.predictor_hidden);
        completion_sums(&self.passes.code_logps(decoder, hidden, codebook, &batch.targets)?, batch)
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
