//! Pairs as rows of tokens: the prompt once, both completions behind it, neither seeing the
//! other. Every index a step needs is computed here, once.

use crate::Result;
use crate::data::tokenize::TokenizedPair;
use crate::model::decoder::TokenRows;
use crate::tensor::objective::PairLengths;
use candle_core::{DType, Device, Tensor};

/// One row before padding. A token sees itself, earlier tokens of its own segment, and
/// segment 0.
#[derive(Debug, Clone, Default)]
pub struct Row {
    pub ids: Vec<u32>,
    pub positions: Vec<u32>,
    pub segments: Vec<u8>,
}

impl Row {
    /// Appends `tokens` as a segment whose first token stands at `position`.
    pub fn push(&mut self, tokens: &[u32], position: usize, segment: u8) {
        self.ids.extend(tokens);
        self.positions.extend((position..position + tokens.len()).map(|p| p as u32));
        self.segments.resize(self.ids.len(), segment);
    }

    /// A plain causal sequence.
    pub fn causal(tokens: &[u32]) -> Self {
        let mut row = Self::default();
        row.push(tokens, 0, 0);
        row
    }

    fn sees(&self, i: usize, j: usize, window: Option<usize>) -> bool {
        let related = self.segments[j] == 0 || self.segments[j] == self.segments[i];
        let near = || (self.positions[i] - self.positions[j]) as usize;
        j <= i && related && window.is_none_or(|w| near() < w)
    }
}

impl TokenRows {
    /// Pads the rows to the longest; a padding token sees only itself.
    pub fn new(rows: &[Row], window: Option<usize>, device: &Device) -> Result<Self> {
        let (b, t) = (rows.len(), rows.iter().map(|r| r.ids.len()).max().unwrap_or(0));
        let (mut ids, mut positions) = (vec![0u32; b * t], vec![0u32; b * t]);
        let mut mask = vec![f32::NEG_INFINITY; b * t * t];
        for (r, row) in rows.iter().enumerate() {
            let n = row.ids.len();
            ids[r * t..r * t + n].copy_from_slice(&row.ids);
            positions[r * t..r * t + n].copy_from_slice(&row.positions);
            for (i, looks) in mask[r * t * t..(r + 1) * t * t].chunks_mut(t).enumerate() {
                if i < n {
                    (0..=i).filter(|&j| row.sees(i, j, window)).for_each(|j| looks[j] = 0.0);
                } else {
                    looks[i] = 0.0;
                }
            }
        }
        Ok(Self {
            ids: Tensor::from_vec(ids, (b, t), device)?,
            positions: Tensor::from_vec(positions, (b, t), device)?,
            mask: Tensor::from_vec(mask, (b, 1, 1, t, t), device)?,
        })
    }
}

impl TokenRows {
    /// One new token at `position`, behind as many cached ones.
    pub fn next(token: u32, position: usize, window: Option<usize>, device: &Device) -> Result<Self> {
        let seen = position + 1;
        let far = |j: usize| window.is_some_and(|w| position - j >= w);
        let mask: Vec<f32> = (0..seen).map(|j| if far(j) { f32::NEG_INFINITY } else { 0.0 }).collect();
        Ok(Self {
            ids: Tensor::from_vec(vec![token], (1, 1), device)?,
            positions: Tensor::from_vec(vec![position as u32], (1, 1), device)?,
            mask: Tensor::from_vec(mask, (1, 1, 1, 1, seen), device)?,
        })
    }
}

/// A batch of B pairs, with N completion tokens in all.
#[derive(Debug, Clone)]
pub struct PairBatch {
    pub rows: TokenRows,
    /// [N] (u32): where, in the flattened [B·T] states, each completion token is predicted.
    pub predictors: Tensor,
    /// The N tokens predicted.
    pub targets: Vec<u32>,
    /// [N] (u32): the pair each token belongs to.
    pub token_pair: Tensor,
    /// N: the completion each token belongs to, chosen of pair i = i, rejected = B + i.
    pub token_completion: Vec<u32>,
    /// [B] (u32) each: the last token of x, of x‖y_w, of x‖y_l, in the flattened states.
    pub prompt_last: Tensor,
    pub chosen_last: Tensor,
    pub rejected_last: Tensor,
    pub lengths: PairLengths,
    pub pairs: usize,
    /// Tokens that went through the decoder, padding not counted.
    pub tokens: usize,
}

impl PairBatch {
    /// `window` is the decoder's sliding window. Every completion has at least one token
    /// (`data::tokenize` refuses the others).
    pub fn new(pairs: &[&TokenizedPair], window: Option<usize>, dtype: DType, device: &Device) -> Result<Self> {
        let rows: Vec<Row> = pairs.iter().map(|pair| pair_row(pair)).collect();
        let width = rows.iter().map(|r| r.ids.len()).max().unwrap_or(0);
        let (mut predictors, mut targets, mut token_pair, mut token_completion) = (vec![], vec![], vec![], vec![]);
        let mut last = [vec![], vec![], vec![]];
        for (b, pair) in pairs.iter().enumerate() {
            let prompt_last = b * width + pair.prompt.len() - 1;
            last[0].push(prompt_last as u32);
            let mut start = prompt_last + 1;
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
        let [prompt_last, chosen_last, rejected_last] = last;
        Ok(Self {
            tokens: rows.iter().map(|r| r.ids.len()).sum(),
            rows: TokenRows::new(&rows, window, device)?,
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
