//! Attention over rows of any lengths, forward and backward, without keeping the weights: the
//! backward pass rebuilds them from queries, keys and each row's log-normaliser.

use crate::machine::exp::{LANES, dot, exp, folded, wide};
use crate::machine::gemm::{Matrix, Threads, product, product_strided};
use crate::model::rows::Sight;
use rayon::prelude::*;
use std::ops::Range;

/// Queries worked on at a time: bounds the buffer of scores and skips most of the future.
const QUERIES: usize = 64;

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

    /// Scores of a block of queries against the row's keys up to the block's end, in rows of
    /// [`width`] numbers.
    fn scores(&self, q: &[f32], k: &[f32], start: usize, block: &Range<usize>, scores: &mut Vec<f32>) {
        let hd = self.head_dim;
        scores.resize(block.len() * width(block), 0.0);
        let q = Matrix::new(&q[(start + block.start) * hd..(start + block.end) * hd], block.len(), hd);
        let k = Matrix::new(&k[start * hd..(start + block.end) * hd], block.end, hd);
        product_strided(q, k.t(), scores, width(block), Threads::One);
    }

    /// Softmax of q·kᵀ/√head_dim over each token's sight, applied to v.
    pub fn forward(&self, q: &[f32], k: &[f32], v: &[f32], sights: &[Sight]) -> Mixed {
        let (n, hd, scale) = (self.tokens, self.head_dim, self.scale());
        let mut normalisers = vec![0f32; self.heads * n];
        let mut out = vec![0f32; self.heads * n * hd];
        assert_eq!(n, sights.iter().map(|s| s.tokens.len()).sum::<usize>(), "tokens of the rows");
        out.par_chunks_mut(n * hd).zip(normalisers.par_chunks_mut(n)).enumerate().for_each(
            |(head, (out, norms))| {
                let (q, kv) = (self.head(q, head), self.kv_head(head));
                let (k, v) = (self.head(k, kv), self.head(v, kv));
                let mut scores = vec![];
                for sight in sights {
                    for block in blocks(sight.tokens.len()) {
                        let queries = sight.start + block.start..sight.start + block.end;
                        self.scores(q, k, sight.start, &block, &mut scores);
                        wide!({
                            let rows = norms[queries.clone()].iter_mut().zip(&sight.tokens[block.clone()]);
                            for ((norm, own), row) in rows.zip(scores.chunks_mut(width(&block))) {
                                *norm = softmax_within(row, own, scale);
                            }
                        });
                        let v =
                            Matrix::new(&v[sight.start * hd..(sight.start + block.end) * hd], block.end, hd);
                        let weights = Matrix::strided(&scores, block.len(), block.end, width(&block));
                        let out = &mut out[queries.start * hd..queries.end * hd];
                        product(weights, v, out, false, Threads::One);
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
                let width = width(&block);
                d_weights.resize(weights.len(), 0.0);
                let d_block = Matrix::new(&d_out[queries.clone()], block.len(), hd);
                let v = Matrix::new(&v[keys.clone()], block.end, hd);
                product_strided(d_block, v.t(), &mut d_weights, width, Threads::One);
                wide!({
                    let rows = weights.chunks_mut(width).zip(d_weights.chunks_mut(width));
                    for (i, (p, dp)) in block.clone().zip(rows) {
                        let at = (start + i) * hd..(start + i + 1) * hd;
                        let inner = dot(&d_out[at.clone()], &out[at]);
                        weights_within(p, &sight.tokens[i], scale, norms[start + i]);
                        // Softmax: ds = p (dp − Σ p dp), and Σ p dp = d_out · out.
                        dp.iter_mut().zip(&*p).for_each(|(dp, p)| *dp = p * (*dp - inner) * scale);
                    }
                });
                let p = Matrix::strided(&weights, block.len(), block.end, width);
                let ds = Matrix::strided(&d_weights, block.len(), block.end, width);
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

/// Length of a row of a block's scores: whole lanes, so that no loop over it has a rest.
fn width(block: &Range<usize>) -> usize {
    block.end.next_multiple_of(LANES)
}

/// The lanes of a row that a token sees any of.
#[inline(always)]
fn seen<'a>(row: &'a mut [f32], [shared, own]: &[Range<usize>; 2]) -> (usize, &'a mut [[f32; LANES]]) {
    let first = if shared.is_empty() { own.start } else { shared.start };
    let (first, last) = (first / LANES, own.end.div_ceil(LANES));
    let lanes = row.as_chunks_mut::<LANES>().0;
    lanes[..first].fill([0.0; LANES]);
    lanes[last..].fill([0.0; LANES]);
    (first, &mut lanes[first..last])
}

/// Whether a token with this sight sees a key.
#[inline(always)]
fn inside(key: usize, sight: &[Range<usize>; 2]) -> bool {
    let within = |r: &Range<usize>| (key as u32).wrapping_sub(r.start as u32) < r.len() as u32;
    within(&sight[0]) | within(&sight[1])
}

/// Scores → weights in place: softmax of scale · score inside the sight, 0 outside. Returns
/// the log-normaliser.
#[inline(always)]
fn softmax_within(row: &mut [f32], sight: &[Range<usize>; 2], scale: f32) -> f32 {
    let (first, seen) = seen(row, sight);
    let mut peaks = [f32::NEG_INFINITY; LANES];
    for (n, lanes) in seen.iter_mut().enumerate() {
        for (i, (x, peak)) in lanes.iter_mut().zip(&mut peaks).enumerate() {
            *x = if inside((first + n) * LANES + i, sight) { *x } else { f32::NEG_INFINITY };
            *peak = if *x > *peak { *x } else { *peak };
        }
    }
    let shift = folded(peaks, |a, b| if b > a { b } else { a }) * scale;
    // In f32 over short stretches, stretches in f64.
    let mut total = 0f64;
    for stretch in seen.chunks_mut(64) {
        let mut sums = [0f32; LANES];
        for lanes in stretch {
            for (x, sum) in lanes.iter_mut().zip(&mut sums) {
                *x = exp(*x * scale - shift);
                *sum += *x;
            }
        }
        total += folded(sums.map(f64::from), |a, b| a + b);
    }
    let inverse = total.recip() as f32;
    for lanes in seen {
        lanes.iter_mut().for_each(|x| *x *= inverse);
    }
    shift + total.ln() as f32
}

/// Scores → weights in place, from the log-normaliser.
#[inline(always)]
fn weights_within(row: &mut [f32], sight: &[Range<usize>; 2], scale: f32, normaliser: f32) {
    let (first, seen) = seen(row, sight);
    for (n, lanes) in seen.iter_mut().enumerate() {
        for (i, x) in lanes.iter_mut().enumerate() {
            let weight = exp(*x * scale - normaliser);
            *x = if inside((first + n) * LANES + i, sight) { weight } else { 0.0 };
        }
    }
}
