//! The same operation with bf16 factors. Its backward pass multiplies the probabilities rounded to
//! bf16 in any case, so the forward pass keeps e^(score − peak) so rounded, and no score is
//! calculated twice.

use super::{chunks, max, sum};
use crate::config::Precision;
use crate::tensor::exp::{exp, wide};
use crate::tensor::gemm::bf16::{Factor, Numbers, multiply as multiply_factors};
use crate::tensor::gemm::{Matrix, Prepared, Threads, multiplied, multiply};
use crate::tensor::slices::{Held, contiguous};
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use half::bf16;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;

/// The most exponentials that are kept, 256 MiB; of a larger batch they are calculated again.
pub const KEPT: usize = 1 << 27;

pub struct FusedTokenLogps {
    tokens: Vec<u32>,
    saved: OnceLock<Saved>,
}

/// What the forward pass leaves for the backward pass.
struct Saved {
    /// Σ_v e^(score − peak), [N].
    sums: Vec<f32>,
    /// e^(score − peak), [N, V].
    exponentials: Option<Vec<bf16>>,
}

impl FusedTokenLogps {
    pub fn new(tokens: &[u32]) -> Self {
        Self { tokens: tokens.to_vec(), saved: OnceLock::new() }
    }

    fn kept(&self, vocab: usize) -> bool {
        self.tokens.len() * vocab <= KEPT
    }
}

/// One row of scores, as exponentials.
struct Row {
    /// score − peak of the token that follows.
    own: f32,
    sum: f32,
}

/// Turns scores [rows, V] to e^(score − peak) in bf16.
fn exponentials(scores: &[f32], tokens: &[u32], out: &mut [bf16]) -> Vec<Row> {
    let vocab = scores.len() / tokens.len();
    let rows = scores.par_chunks(vocab).zip(out.par_chunks_mut(vocab)).zip(tokens);
    rows.map(|((scores, out), &token)| {
        let peak = max(scores);
        let mut total = 0f64;
        let mut buffer = [0f32; 1024];
        for (scores, out) in scores.chunks(buffer.len()).zip(out.chunks_mut(buffer.len())) {
            let buffer = &mut buffer[..scores.len()];
            wide(|| buffer.iter_mut().zip(scores).for_each(|(e, s)| *e = exp(s - peak)));
            total += sum(buffer);
            round(buffer, out);
        }
        Row { own: scores[token as usize] - peak, sum: total as f32 }
    })
    .collect()
}

/// Finite numbers to the nearest bf16.
pub fn round(values: &[f32], out: &mut [bf16]) {
    let nearest = |x: f32| {
        let bits = x.to_bits();
        bf16::from_bits(((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16)
    };
    wide(|| out.iter_mut().zip(values).for_each(|(out, &x)| *out = nearest(x)));
}

/// hidden·headᵀ of some rows, given the head as a right factor.
fn scores(hidden: &[f32], rows: &Range<usize>, d: usize, head: &Prepared<'_>, out: &mut [f32]) {
    let states = Matrix::new(&hidden[rows.start * d..rows.end * d], rows.len(), d);
    multiply(&Precision::Bf16.left(states), head, out, false);
}

impl CustomOp2 for FusedTokenLogps {
    fn name(&self) -> &'static str {
        "token-logps-bf16"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (hidden, head) = (contiguous(s1, l1)?, contiguous(s2, l2)?);
        let (n, d, vocab) = (self.tokens.len(), l1.dims()[1], l2.dims()[0]);
        let head = Precision::Bf16.right(Matrix::new(head, vocab, d).t());
        let kept = self.kept(vocab);
        let (mut logps, mut sums) = (vec![], vec![]);
        let mut all = vec![bf16::ZERO; if kept { n * vocab } else { 0 }];
        let (mut some, mut buffer) = (vec![], vec![]);
        for rows in chunks(n, vocab) {
            buffer.resize(rows.len() * vocab, 0f32);
            scores(hidden, &rows, d, &head, &mut buffer);
            let out = if kept {
                &mut all[rows.start * vocab..rows.end * vocab]
            } else {
                some.resize(rows.len() * vocab, bf16::ZERO);
                &mut some[..]
            };
            for row in exponentials(&buffer, &self.tokens[rows.clone()], out) {
                logps.push(row.own - row.sum.ln());
                sums.push(row.sum);
            }
        }
        // A second forward pass of the same operation would find the same.
        let _ = self.saved.set(Saved { sums, exponentials: kept.then_some(all) });
        Ok((CpuStorage::F32(logps), Shape::from(n)))
    }

    /// d logp_t / d score_v = 1[v = token] − e_v / Σe, chained through hidden·headᵀ. With
    /// c = −g / Σe, the gradients are c·e·W and eᵀ·(c·h), and g·W_token and g·h for the token.
    fn bwd(
        &self,
        hidden: &Tensor,
        head: &Tensor,
        _logps: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(Saved { sums, exponentials: kept }) = self.saved.get() else {
            candle_core::bail!("token-logps-bf16: backward before forward")
        };
        let (vocab, d) = head.dims2()?;
        let upstream = grad.to_vec1::<f32>()?;
        let mut d_hidden = vec![0f32; self.tokens.len() * d];
        let mut d_head;
        {
            let (hidden, head) = (Held::new(hidden)?, Held::new(head)?);
            let (hidden, head) = (hidden.slice(), head.slice());
            let w = Matrix::new(head, vocab, d);
            let columns = kept.is_none().then(|| Precision::Bf16.right(w.t()));
            let w = Factor::right(Numbers::F32(head), vocab, d, false, Threads::All);
            let (mut some, mut buffer) = (vec![], vec![]);
            // −g / Σe · h of every row.
            let mut scaled = hidden.to_vec();
            let scales = upstream.iter().zip(sums).map(|(g, sum)| -g / sum);
            scaled.chunks_mut(d).zip(scales).for_each(|(row, c)| row.iter_mut().for_each(|x| *x *= c));
            let d_head_of = |values: &[bf16], rows: Range<usize>| {
                let scaled = &scaled[rows.start * d..rows.end * d];
                let left = Factor::left(Numbers::Bf16(values), vocab, rows.len(), true, Threads::All);
                (left, Factor::right(Numbers::F32(scaled), rows.len(), d, false, Threads::All))
            };
            d_head = match kept {
                // One product: a pass over the gradient costs more than its sums.
                Some(all) => {
                    let (left, right) = d_head_of(all, 0..self.tokens.len());
                    multiplied(&Prepared::Bf16(left), &Prepared::Bf16(right))
                }
                None => vec![0f32; vocab * d],
            };
            for rows in chunks(self.tokens.len(), vocab) {
                let values = match (kept, &columns) {
                    (Some(all), _) => &all[rows.start * vocab..rows.end * vocab],
                    (None, Some(columns)) => {
                        buffer.resize(rows.len() * vocab, 0f32);
                        some.resize(rows.len() * vocab, bf16::ZERO);
                        scores(hidden, &rows, d, columns, &mut buffer);
                        exponentials(&buffer, &self.tokens[rows.clone()], &mut some);
                        let (left, right) = d_head_of(&some, rows.clone());
                        multiply_factors(&left, &right, &mut d_head, true, Threads::All);
                        &some[..]
                    }
                    (None, None) => unreachable!("columns are there where nothing was kept"),
                };
                let d_hidden = &mut d_hidden[rows.start * d..rows.end * d];
                let left = Factor::left(Numbers::Bf16(values), rows.len(), vocab, false, Threads::All);
                multiply_factors(&left, &w, d_hidden, false, Threads::All);
                for (d_hidden, t) in d_hidden.chunks_mut(d).zip(rows) {
                    let (g, token) = (upstream[t], self.tokens[t] as usize);
                    let c = -g / sums[t];
                    let w = &head[token * d..(token + 1) * d];
                    d_hidden.iter_mut().zip(w).for_each(|(x, w)| *x = *x * c + g * w);
                }
            }
            for ((state, &g), &token) in hidden.chunks(d).zip(&upstream).zip(&self.tokens) {
                let row = &mut d_head[token as usize * d..][..d];
                row.iter_mut().zip(state).for_each(|(x, h)| *x += g * h);
            }
        }
        Ok((
            Some(Tensor::from_vec(d_hidden, hidden.shape(), hidden.device())?),
            Some(Tensor::from_vec(d_head, head.shape(), head.device())?),
        ))
    }
}
