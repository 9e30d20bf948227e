//! The head's own operation. Both passes work on e^(score − peak), which the forward pass keeps
//! where it is not too large, so that no score is calculated twice; with bf16 factors they are kept
//! rounded, because the backward pass multiplies them so in any case.

use super::chunks;
use crate::config::Precision;
use crate::machine::exp::{exp_in_place, max, sum, wide};
use crate::machine::gemm::bf16::{Factor, Numbers};
use crate::machine::gemm::{Matrix, Prepared, Threads, multiplied, multiply};
use crate::tensor::slices::{Held, contiguous};
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use half::bf16;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;

/// The most exponentials that are kept, 256 MiB in bf16; of a larger batch they are calculated again.
pub const KEPT: usize = 1 << 27;

pub struct FusedTokenLogps {
    tokens: Vec<u32>,
    precision: Precision,
    keeps: bool,
    saved: OnceLock<Saved>,
}

/// What the forward pass leaves for the backward pass.
struct Saved {
    /// Σ_v e^(score − peak), [N].
    sums: Vec<f32>,
    /// e^(score − peak), [N, V].
    exponentials: Option<Exponentials>,
}

enum Exponentials {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl Exponentials {
    /// As a left factor: these rows by the vocabulary, or the vocabulary by these rows.
    fn left(&self, rows: Range<usize>, vocab: usize, transposed: bool) -> Prepared<'_> {
        let cells = rows.start * vocab..rows.end * vocab;
        match self {
            Self::F32(values) => {
                let matrix = Matrix::new(&values[cells], rows.len(), vocab);
                Precision::F32.left(if transposed { matrix.t() } else { matrix })
            }
            Self::Bf16(values) => {
                let (outer, summed) = if transposed { (vocab, rows.len()) } else { (rows.len(), vocab) };
                let numbers = Numbers::Bf16(&values[cells]);
                Prepared::Bf16(Factor::left(numbers, outer, summed, transposed, Threads::All))
            }
        }
    }
}

/// Finite numbers to the nearest bf16.
pub fn round(values: &[f32], out: &mut [bf16]) {
    let nearest = |x: f32| {
        let bits = x.to_bits();
        bf16::from_bits(((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16)
    };
    wide!(out.iter_mut().zip(values).for_each(|(out, &x)| *out = nearest(x)));
}

/// One row of scores, as exponentials.
struct Row {
    /// score − peak of the token that follows.
    own: f32,
    sum: f32,
}

/// Turns scores [rows, V] to e^(score − peak).
fn exponentials(scores: &mut [f32], tokens: &[u32]) -> Vec<Row> {
    let vocab = scores.len() / tokens.len();
    let row = |(row, &token): (&mut [f32], &u32)| {
        let peak = max(row);
        let own = row[token as usize] - peak;
        exp_in_place(row, 1.0, peak);
        Row { own, sum: sum(row) as f32 }
    };
    scores.par_chunks_mut(vocab).zip(tokens).map(row).collect()
}

impl FusedTokenLogps {
    /// With `keeps`, a backward pass is expected.
    pub fn new(tokens: &[u32], precision: Precision, keeps: bool) -> Self {
        Self { tokens: tokens.to_vec(), precision, keeps, saved: OnceLock::new() }
    }

    /// Room for what is kept of `n` · `vocab` exponentials.
    fn room(&self, vocab: usize) -> Option<Exponentials> {
        let n = self.tokens.len() * vocab;
        match self.precision {
            _ if !self.keeps => None,
            Precision::F32 => (n <= KEPT / 2).then(|| Exponentials::F32(vec![0.0; n])),
            Precision::Bf16 => (n <= KEPT).then(|| Exponentials::Bf16(vec![bf16::ZERO; n])),
        }
    }

    /// Rows whose scores are calculated at a time: all where they are kept as they are.
    fn stretches(&self, kept: Option<&Exponentials>, vocab: usize) -> Vec<Range<usize>> {
        let n = self.tokens.len();
        match kept {
            Some(Exponentials::F32(_)) => std::iter::once(0..n).collect(),
            _ => chunks(n, vocab).collect(),
        }
    }

    /// e^(score − peak) of some rows in `out`, given the head as a right factor.
    fn score(&self, hidden: &[f32], rows: &Range<usize>, head: &Prepared<'_>, out: &mut [f32]) -> Vec<Row> {
        let d = hidden.len() / self.tokens.len();
        let states = Matrix::new(&hidden[rows.start * d..rows.end * d], rows.len(), d);
        multiply(&self.precision.left(states), head, out, false);
        exponentials(out, &self.tokens[rows.clone()])
    }
}

impl CustomOp2 for FusedTokenLogps {
    fn name(&self) -> &'static str {
        "token-logps"
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
        let head = self.precision.right(Matrix::new(head, vocab, d).t());
        let (mut logps, mut sums) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let mut kept = self.room(vocab);
        let mut buffer = vec![];
        for rows in self.stretches(kept.as_ref(), vocab) {
            let cells = rows.start * vocab..rows.end * vocab;
            let scored = if let Some(Exponentials::F32(all)) = &mut kept {
                self.score(hidden, &rows, &head, &mut all[cells])
            } else {
                buffer.resize(cells.len(), 0f32);
                let scored = self.score(hidden, &rows, &head, &mut buffer);
                if let Some(Exponentials::Bf16(all)) = &mut kept {
                    let rows = all[cells].par_chunks_mut(vocab).zip(buffer.par_chunks(vocab));
                    rows.for_each(|(kept, row)| round(row, kept));
                }
                scored
            };
            for row in scored {
                logps.push(row.own - row.sum.ln());
                sums.push(row.sum);
            }
        }
        // A second forward pass of the same operation would find the same.
        let _ = self.saved.set(Saved { sums, exponentials: kept });
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
            candle_core::bail!("token-logps: backward before forward")
        };
        let (vocab, d) = head.dims2()?;
        let n = self.tokens.len();
        let upstream = grad.to_vec1::<f32>()?;
        let scales: Vec<f32> = upstream.iter().zip(sums).map(|(g, sum)| -g / sum).collect();
        let mut d_hidden = vec![0f32; n * d];
        let mut d_head;
        {
            let (hidden, head) = (Held::new(hidden)?, Held::new(head)?);
            let (hidden, head) = (hidden.slice(), head.slice());
            let mut scaled = hidden.to_vec();
            scaled.chunks_mut(d).zip(&scales).for_each(|(row, c)| row.iter_mut().for_each(|x| *x *= c));
            let w = Matrix::new(head, vocab, d);
            let head_rows = self.precision.right(w);
            match kept {
                Some(kept) => {
                    for rows in self.stretches(Some(kept), vocab) {
                        let d_hidden = &mut d_hidden[rows.start * d..rows.end * d];
                        multiply(&kept.left(rows, vocab, false), &head_rows, d_hidden, false);
                    }
                    // One product: a pass over the gradient costs more than its sums.
                    let scaled = self.precision.right(Matrix::new(&scaled, n, d));
                    d_head = multiplied(&kept.left(0..n, vocab, true), &scaled);
                }
                None => {
                    d_head = vec![0f32; vocab * d];
                    let head_columns = self.precision.right(w.t());
                    let mut buffer = vec![];
                    for rows in chunks(n, vocab) {
                        buffer.resize(rows.len() * vocab, 0f32);
                        self.score(hidden, &rows, &head_columns, &mut buffer);
                        let values = Matrix::new(&buffer, rows.len(), vocab);
                        let states = rows.start * d..rows.end * d;
                        let d_hidden = &mut d_hidden[states.clone()];
                        multiply(&self.precision.left(values), &head_rows, d_hidden, false);
                        let scaled = self.precision.right(Matrix::new(&scaled[states], rows.len(), d));
                        multiply(&self.precision.left(values.t()), &scaled, &mut d_head, true);
                    }
                }
            }
            for (t, &token) in self.tokens.iter().enumerate() {
                let (g, c, own) = (upstream[t], scales[t], token as usize * d..(token as usize + 1) * d);
                let (d_hidden, hidden) = (&mut d_hidden[t * d..(t + 1) * d], &hidden[t * d..(t + 1) * d]);
                d_hidden.iter_mut().zip(&head[own.clone()]).for_each(|(x, w)| *x = *x * c + g * w);
                d_head[own].iter_mut().zip(hidden).for_each(|(x, h)| *x += g * h);
            }
        }
        Ok((
            Some(Tensor::from_vec(d_hidden, hidden.shape(), hidden.device())?),
            Some(Tensor::from_vec(d_head, head.shape(), head.device())?),
        ))
    }
}
