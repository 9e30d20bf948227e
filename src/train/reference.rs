//! Log-probabilities of the reference model, computed once for a data set.

use crate::config::Training;
use crate::data::tokenize::TokenizedPair;
use crate::interrupt;
use crate::model::batch::PairBatch;
use crate::passes::policy::PairPolicy;
use crate::progress::Task;
use crate::train::micro_batches::micro_batches;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// log π_ref of a pair's completions. Units: nats, summed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceLogps {
    pub chosen: f32,
    pub rejected: f32,
}

/// Scores every pair with `policy` as it is, without a latent: π_ref never sees z.
///
/// As many pairs at a time as in training; each pair's numbers do not depend
/// on its batch beyond rounding.
pub fn reference_logps(
    policy: &dyn PairPolicy,
    pairs: &[TokenizedPair],
    training: &Training,
    progress: &Task,
) -> Result<Vec<ReferenceLogps>> {
    let mut logps = vec![ReferenceLogps { chosen: 0.0, rejected: 0.0 }; pairs.len()];
    for members in &micro_batches(&by_length(pairs), pairs, training, policy.pads()) {
        interrupt::check("reference log-probabilities")?;
        let chunk: Vec<&TokenizedPair> = members.iter().map(|&i| &pairs[i]).collect();
        let batch = PairBatch::new(&chunk, policy.dtype(), policy.device())?;
        let sums = policy.pair_logps(&policy.states(&batch)?, &batch, None)?;
        let (chosen, rejected) = (sums.chosen.to_vec1::<f32>()?, sums.rejected.to_vec1::<f32>()?);
        for (&i, (chosen, rejected)) in members.iter().zip(chosen.into_iter().zip(rejected)) {
            if !(chosen.is_finite() && rejected.is_finite()) {
                let got = format!("{chosen} and {rejected} for pair {i}");
                return Err(Error::argument("reference_logps", "log-probabilities", got, "finite"));
            }
            logps[i] = ReferenceLogps { chosen, rejected };
        }
        progress.advance(members.len(), String::new);
    }
    Ok(logps)
}

/// Indices of the pairs, shortest first.
pub fn by_length(pairs: &[TokenizedPair]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by_key(|&i| (pairs[i].row_tokens(), i));
    order
}
