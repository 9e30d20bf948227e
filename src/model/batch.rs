//! Pairs as rows of tokens: the prompt once, both completions behind it, neither seeing the
//! other. Every index a step needs is computed here, once.

use crate::Result;
use crate::data::tokenize::TokenizedPair;
use crate::model::rows::{Row, TokenRows};
use crate::tensor::objective::PairLengths;
use candle_core::{DType, Device, Tensor};

/// A batch of B pairs, with N completion tokens in all.
#[derive(Debug, Clone)]
pub struct PairBatch {
    pub rows: TokenRows,
    /// [N] (u32): the token whose state predicts each completion token.
    pub predictors: Tensor,
    /// The N tokens predicted.
    pub targets: Vec<u32>,
    /// [N] (u32): the pair each token belongs to.
    pub token_pair: Tensor,
    /// N: the completion each token belongs to, chosen of pair i = i, rejected = B + i.
    pub token_completion: Vec<u32>,
    /// [B] (u32) each: the last token of x, of x‖y_w, of x‖y_l.
    pub prompt_last: Tensor,
    pub chosen_last: Tensor,
    pub rejected_last: Tensor,
    pub lengths: PairLengths,
    /// [B] (u32): the completion, counted as in `token_completion`, whose log-probability the rejected one
    /// has. Where any pair's completions are the same tokens: rounding may not tell those two apart.
    pub rejected_rows: Option<Tensor>,
    /// [B, F]: the true weights of the prompts' factors, where every pair has them.
    pub factor_weights: Option<Tensor>,
    pub pairs: usize,
}

impl PairBatch {
    /// Every completion has at least one token (`data::tokenize` refuses the others).
    pub fn new(pairs: &[&TokenizedPair], dtype: DType, device: &Device) -> Result<Self> {
        let (mut predictors, mut targets, mut token_pair, mut token_completion) =
            (vec![], vec![], vec![], vec![]);
        let mut last = [vec![], vec![], vec![]];
        let mut start = 0;
        for (b, pair) in pairs.iter().enumerate() {
            let prompt_last = start + pair.prompt.len() - 1;
            last[0].push(prompt_last as u32);
            start = prompt_last + 1;
            for (side, completion) in [&pair.chosen, &pair.rejected].into_iter().enumerate() {
                predictors.push(prompt_last as u32);
                predictors.extend((start..start + completion.len() - 1).map(|p| p as u32));
                targets.extend(completion);
                token_pair.resize(targets.len(), b as u32);
                token_completion.resize(targets.len(), (side * pairs.len() + b) as u32);
                start += completion.len();
                last[side + 1].push(start as u32 - 1);
            }
        }
        let index = |v: Vec<u32>| Tensor::new(v, device);
        let lengths = |of: fn(&TokenizedPair) -> usize| {
            Tensor::new(pairs.iter().map(|p| of(p) as f64).collect::<Vec<_>>(), device)?.to_dtype(dtype)
        };
        let weights: Option<Vec<Vec<f64>>> = pairs.iter().map(|pair| pair.factor_weights.clone()).collect();
        let weights = weights.filter(|rows| !rows.is_empty());
        let weights = weights.map(|rows| Tensor::new(rows, device)?.to_dtype(dtype)).transpose()?;
        let [prompt_last, chosen_last, rejected_last] = last;
        let row = |(b, pair): (usize, &&TokenizedPair)| {
            if pair.is_identical() { b as u32 } else { (pairs.len() + b) as u32 }
        };
        let any_identical = pairs.iter().any(|pair| pair.is_identical());
        let rejected_rows = any_identical.then(|| index(pairs.iter().enumerate().map(row).collect()));
        Ok(Self {
            rows: TokenRows::new(pairs.iter().map(|pair| pair_row(pair)).collect()),
            predictors: index(predictors)?,
            targets,
            token_pair: index(token_pair)?,
            token_completion,
            prompt_last: index(prompt_last)?,
            chosen_last: index(chosen_last)?,
            rejected_last: index(rejected_last)?,
            lengths: PairLengths {
                chosen: lengths(|p| p.chosen.len())?,
                rejected: lengths(|p| p.rejected.len())?,
            },
            rejected_rows: rejected_rows.transpose()?,
            factor_weights: weights,
            pairs: pairs.len(),
        })
    }
}

fn pair_row(pair: &TokenizedPair) -> Row {
    let mut row = Row::causal(&pair.prompt);
    row.push(&pair.chosen, pair.prompt.len(), 1);
    row.push(&pair.rejected, pair.prompt.len(), 2);
    row
}
