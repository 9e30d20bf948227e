//! Rows of tokens for one forward pass, and which token may look at which.

use crate::Result;
use candle_core::{Device, Tensor};
use std::ops::Range;

/// One sequence, or a prompt with several continuations. A token sees itself, earlier tokens
/// of its own segment, and earlier tokens of segment 0.
#[derive(Debug, Clone, Default)]
pub struct Row {
    pub ids: Vec<u32>,
    /// Positions restart where a second continuation begins.
    pub positions: Vec<u32>,
    pub segments: Vec<u8>,
}

/// Several rows of any lengths. Token i of the batch is the i-th of the rows put end to end;
/// every [tokens, d] tensor and every token index of a batch is in that order.
#[derive(Debug, Clone, Default)]
pub struct TokenRows {
    rows: Vec<Row>,
    /// Where each row begins, and the total.
    offsets: Vec<usize>,
}

/// The rows padded to the longest, for implementations that need a rectangle.
pub struct Padded {
    /// [B, T], u32
    pub ids: Tensor,
    /// [B, T], u32
    pub positions: Tensor,
    /// [B, 1, 1, T, T]: 0 where a token may look, −∞ where not; padding sees only itself.
    pub mask: Tensor,
    /// [tokens], u32: where each token of the batch stands in the flattened [B·T].
    pub index: Tensor,
}

/// Where one row's tokens may look, as two ranges of that row a token.
pub struct Sight {
    /// Index of the row's first token in the batch.
    pub start: usize,
    pub tokens: Vec<[Range<usize>; 2]>,
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

    /// May token i look at token j? `window` counts the token itself, as in transformers.
    pub fn sees(&self, i: usize, j: usize, window: Option<usize>) -> bool {
        let related = self.segments[j] == 0 || self.segments[j] == self.segments[i];
        j <= i && related && window.is_none_or(|w| ((self.positions[i] - self.positions[j]) as usize) < w)
    }
}

impl Row {
    fn sight(&self, start: usize, window: Option<usize>) -> Sight {
        let prompt = self.segments.iter().take_while(|&&s| s == 0).count();
        let reach = window.unwrap_or(usize::MAX);
        let mut first = 0;
        let tokens = (0..self.ids.len())
            .map(|i| {
                if i > 0 && self.segments[i] != self.segments[i - 1] {
                    first = i;
                }
                let before = (self.positions[i] as usize + 1).saturating_sub(reach).min(prompt);
                let shared = if first == 0 { 0..0 } else { before..prompt };
                [shared, (i + 1).saturating_sub(reach).max(first)..i + 1]
            })
            .collect();
        Sight { start, tokens }
    }
}

impl TokenRows {
    pub fn new(rows: Vec<Row>) -> Self {
        let mut offsets = vec![0];
        rows.iter().for_each(|row| offsets.push(offsets[offsets.len() - 1] + row.ids.len()));
        Self { rows, offsets }
    }

    /// Tokens in all.
    pub fn tokens(&self) -> usize {
        self.offsets[self.rows.len()]
    }

    /// Each row with the index of its first token.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Row)> {
        self.offsets.iter().copied().zip(&self.rows)
    }

    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().flat_map(|row| row.ids.iter().copied())
    }

    pub fn positions(&self) -> impl Iterator<Item = u32> {
        self.rows.iter().flat_map(|row| row.positions.iter().copied())
    }

    /// The rows' sights under a sliding window. Segment 0 comes first in a row, the others follow.
    pub fn sights(&self, window: Option<usize>) -> Vec<Sight> {
        self.iter().map(|(start, row)| row.sight(start, window)).collect()
    }

    pub fn padded(&self, window: Option<usize>, device: &Device) -> Result<Padded> {
        let (b, t) = (self.rows.len(), self.rows.iter().map(|r| r.ids.len()).max().unwrap_or(0));
        let (mut ids, mut positions, mut index) = (vec![0u32; b * t], vec![0u32; b * t], vec![]);
        let mut mask = vec![f32::NEG_INFINITY; b * t * t];
        for (r, row) in self.rows.iter().enumerate() {
            let n = row.ids.len();
            ids[r * t..r * t + n].copy_from_slice(&row.ids);
            positions[r * t..r * t + n].copy_from_slice(&row.positions);
            index.extend((r * t..r * t + n).map(|i| i as u32));
            for (i, looks) in mask[r * t * t..(r + 1) * t * t].chunks_mut(t).enumerate() {
                if i < n {
                    (0..=i).filter(|&j| row.sees(i, j, window)).for_each(|j| looks[j] = 0.0);
                } else {
                    looks[i] = 0.0;
                }
            }
        }
        Ok(Padded {
            ids: Tensor::from_vec(ids, (b, t), device)?,
            positions: Tensor::from_vec(positions, (b, t), device)?,
            mask: Tensor::from_vec(mask, (b, 1, 1, t, t), device)?,
            index: Tensor::new(index, device)?,
        })
    }
}
