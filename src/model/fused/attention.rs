//! Attention over rows of any lengths, forward and backward, without keeping the weights: the
//! backward pass rebuilds them from queries, keys and each row's log-normaliser.

use crate::model::rows::TokenRows;
use crate::tensor::exp::{dot, exp_in_place, max, sum, wide};
use crate::tensor::gemm::{Matrix, Threads, product};
use rayon::prelude::*;
use std::ops::Range;

/// Queries worked on at a time: bounds the buffer of scores and skips most of the future.
const QUERIES: usize = 64;

/// Where one row's tokens may look, as two ranges of that row a token.
pub struct Sight {
    /// Index of the row's first token in the batch.
    start: usize,
    tokens: Vec<[Range<usize>; 2]>,
}

/// What the batch looks like to one attention layer.
pub struct Heads {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub tokens: usize,
}

/// Result and log-normalisers of a forward pass.
pub struct Mixed {
    /// [heads, tokens, head_dim]
    pub out: Vec<f32>,
    /// [heads, tokens]
    pub normalisers: Vec<f32>,
}

/// The rows' sights under a sliding window. Segment 0 comes first in a row, the others follow.
pub fn sights(rows: &TokenRows, window: Option<usize>) -> Vec<Sight> {
    rows.iter()
        .map(|(start, row)| {
            let prompt = row.segments.iter().take_while(|&&s| s == 0).count();
            let mut own = 0;
            let tokens = (0..row.ids.len())
                .map(|i| {
                    if i > 0 && row.segments[i] != row.segments[i - 1] {
                        own = i;
                    }
                    let reach = window.unwrap_or(usize::MAX);
                    let position = row.positions[i] as usize;
                    let before = (position + 1).saturating_sub(reach).min(prompt);
                    let shared = if own == 0 { 0..0 } else { before..prompt };
                    [shared, (i + 1).saturating_sub(reach).max(own)..i + 1]
                })
                .collect();
            Sight { start, tokens }
        })
        .collect()
}

impl Heads {
    fn head<'a>(&self, x: &'a [f32], head: usize) -> &'a [f32] {
        &x[head * self.tokens * self.head_dim..][..self.tokens * self.head_dim]
    }

    fn kv_head(&self, head: usize) -> usize {
        head / (self.heads / self.kv_heads)
    }

    fn scale(&self) -> f32 {
        (self.head_dim as f64).powf(-0.5) as f32
    }

    /// Scores of a block of queries against the row's keys up to the block's end.
    fn scores(&self, q: &[f32], k: &[f32], start: usize, block: &Range<usize>, scores: &mut Vec<f32>) {
        let hd = self.head_dim;
        scores.resize(block.len() * block.end, 0.0);
        let q = Matrix::new(&q[(start + block.start) * hd..(start + block.end) * hd], block.len(), hd);
        let k = Matrix::new(&k[start * hd..(start + block.end) * hd], block.end, hd);
        product(q, k.t(), scores, false, Threads::One);
    }

    /// Softmax of q·kᵀ/√head_dim over each token's sight, applied to v.
    pub fn forward(&self, q: &[f32], k: &[f32], v: &[f32], sights: &[Sight]) -> Mixed {
        let (n, hd, scale) = (self.tokens, self.head_dim, self.scale());
        let mut out = vec![0f32; self.heads * n * hd];
        let mut normalisers = vec![0f32; self.heads * n];
        out.par_chunks_mut(n * hd).zip(normalisers.par_chunks_mut(n)).enumerate().for_each(
            |(head, (out, norms))| {
                let (q, kv) = (self.head(q, head), self.kv_head(head));
                let (k, v) = (self.head(k, kv), self.head(v, kv));
                let mut scores = vec![];
                for sight in sights {
                    for block in blocks(sight.tokens.len()) {
                        self.scores(q, k, sight.start, &block, &mut scores);
                        for (i, row) in block.clone().zip(scores.chunks_mut(block.end)) {
                            norms[sight.start + i] = softmax_within(row, &sight.tokens[i], scale);
                        }
                        let v =
                            Matrix::new(&v[sight.start * hd..(sight.start + block.end) * hd], block.end, hd);
                        let out = &mut out[(sight.start + block.start) * hd..(sight.start + block.end) * hd];
                        product(Matrix::new(&scores, block.len(), block.end), v, out, false, Threads::One);
                    }
                }
            },
        );
        Mixed { out, normalisers }
    }

    /// Gradients of q [heads, ..], k and v [kv heads, ..] from that of the result.
    pub fn backward(
        &self,
        d_out: &[f32],
        mixed: &Mixed,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        sights: &[Sight],
    ) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let (n, hd) = (self.tokens, self.head_dim);
        let mut dq = vec![0f32; self.heads * n * hd];
        // Each query head's share of its key head, added up in order afterwards.
        let (mut dk, mut dv) = (vec![0f32; dq.len()], vec![0f32; dq.len()]);
        dq.par_chunks_mut(n * hd)
            .zip(dk.par_chunks_mut(n * hd))
            .zip(dv.par_chunks_mut(n * hd))
            .enumerate()
            .for_each(|(head, ((dq, dk), dv))| {
                let kv = self.kv_head(head);
                let (q, k, v) = (self.head(q, head), self.head(k, kv), self.head(v, kv));
                let (d_out, out) = (self.head(d_out, head), self.head(&mixed.out, head));
                let norms = &mixed.normalisers[head * n..(head + 1) * n];
                self.head_backward(d_out, out, norms, q, k, v, sights, dq, dk, dv);
            });
        let sum_groups = |x: Vec<f32>| -> Vec<f32> {
            let group = self.heads / self.kv_heads;
            if group == 1 {
                return x;
            }
            let mut total = vec![0f32; self.kv_heads * n * hd];
            for (kv, total) in total.chunks_mut(n * hd).enumerate() {
                for head in kv * group..(kv + 1) * group {
                    total.iter_mut().zip(self.head(&x, head)).for_each(|(a, b)| *a += b);
                }
            }
            total
        };
        (dq, sum_groups(dk), sum_groups(dv))
    }

    #[expect(clippy::too_many_arguments, reason = "the operands of one formula")]
    fn head_backward(
        &self,
        d_out: &[f32],
        out: &[f32],
        norms: &[f32],
        q: &[f32],
        k: &[f32],
        v: &[f32],
        sights: &[Sight],
        dq: &mut [f32],
        dk: &mut [f32],
        dv: &mut [f32],
    ) {
        let (hd, scale) = (self.head_dim, self.scale());
        let (mut weights, mut d_weights) = (vec![], vec![]);
        for sight in sights {
            let start = sight.start;
            for block in blocks(sight.tokens.len()) {
                let queries = (start + block.start) * hd..(start + block.end) * hd;
                let keys = start * hd..(start + block.end) * hd;
                self.scores(q, k, start, &block, &mut weights);
                d_weights.resize(weights.len(), 0.0);
                let d_block = Matrix::new(&d_out[queries.clone()], block.len(), hd);
                let v = Matrix::new(&v[keys.clone()], block.end, hd);
                product(d_block, v.t(), &mut d_weights, false, Threads::One);
                for (i, (p, dp)) in
                    block.clone().zip(weights.chunks_mut(block.end).zip(d_weights.chunks_mut(block.end)))
                {
                    let at = (start + i) * hd..(start + i + 1) * hd;
                    let inner = dot(&d_out[at.clone()], &out[at]);
                    weights_within(p, &sight.tokens[i], scale, norms[start + i]);
                    // Softmax: ds = p (dp − Σ p dp), and Σ p dp = d_out · out.
                    wide(|| dp.iter_mut().zip(&*p).for_each(|(dp, p)| *dp = p * (*dp - inner) * scale));
                }
                let p = Matrix::new(&weights, block.len(), block.end);
                let ds = Matrix::new(&d_weights, block.len(), block.end);
                let k = Matrix::new(&k[keys.clone()], block.end, hd);
                product(ds, k, &mut dq[queries.clone()], false, Threads::One);
                product(
                    ds.t(),
                    Matrix::new(&q[queries], block.len(), hd),
                    &mut dk[keys.clone()],
                    true,
                    Threads::One,
                );
                product(p.t(), d_block, &mut dv[keys], true, Threads::One);
            }
        }
    }
}

fn blocks(tokens: usize) -> impl Iterator<Item = Range<usize>> {
    (0..tokens).step_by(QUERIES).map(move |start| start..(start + QUERIES).min(tokens))
}

/// Scores → weights in place: softmax of scale · score inside the sight, 0 outside. Returns
/// the log-normaliser.
fn softmax_within(row: &mut [f32], sight: &[Range<usize>; 2], scale: f32) -> f32 {
    let shift = sight.iter().map(|r| max(&row[r.clone()])).fold(f32::NEG_INFINITY, f32::max) * scale;
    clear_outside(row, sight);
    let mut total = 0f64;
    for range in sight {
        exp_in_place(&mut row[range.clone()], scale, shift);
        total += sum(&row[range.clone()]);
    }
    let inverse = total.recip() as f32;
    for range in sight {
        wide(|| row[range.clone()].iter_mut().for_each(|s| *s *= inverse));
    }
    shift + total.ln() as f32
}

/// Scores → weights in place, from the log-normaliser.
fn weights_within(row: &mut [f32], sight: &[Range<usize>; 2], scale: f32, normaliser: f32) {
    clear_outside(row, sight);
    for range in sight {
        exp_in_place(&mut row[range.clone()], scale, normaliser);
    }
}

fn clear_outside(row: &mut [f32], [shared, own]: &[Range<usize>; 2]) {
    let n = row.len();
    // An empty shared range is 0..0, or ends at the prompt's end with nothing in it.
    row[..shared.start.min(own.start)].fill(0.0);
    row[shared.end.min(own.start)..own.start].fill(0.0);
    row[own.end..n].fill(0.0);
}
