//! The LM head under every code at once, (10), for the exact likelihood (6) and bound (7).
//!
//! A code is a bias over the vocabulary: its scores are a_tv + b_kv, a = h·Wᵀ and b = e·Wᵀ. So
//! log Σ_v e^(a_tv + b_kv) = m_t + n_k + log S_tk, with S = e^(a−m)·e^(b−n)ᵀ one matrix product
//! of [N, V] by [V, K]: K/d of the head's own cost, backwards too.

use crate::Result;
use crate::config::Precision;
use crate::machine::exp::{exp, exp_in_place, max, wide};
use crate::machine::gemm::bf16::{Factor, Numbers};
use crate::machine::gemm::{Matrix, Prepared, Threads, multiplied, multiply, product};
use crate::tensor::lm_head::fused::{KEPT, round};
use crate::tensor::lm_head::{chunks, logsumexp};
use crate::tensor::logprob::{check_codes, code_logps};
use crate::tensor::numerics::rounded;
use crate::tensor::slices::{Held, contiguous};
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};
use half::bf16;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Below it S may have lost more than one part in 10⁶ to terms under the smallest normal number
/// (1.2e-38 each, fewer than 10⁶ of them): such a cell is enumerated instead.
const SAFE_SUM: f32 = 1e-26;

/// [`code_logps`] with the same values and gradients in bounded memory.
///
/// Source: (6), (10). Twin: `spec::logprob::code_logps`.
/// Shapes: hidden [N, d] (no h_z added), lm_head [V, d], codebook [K, d], tokens [N] → [N, K].
/// Units: nats.
/// Errors: those of [`code_logps`]; numbers that are not f32 on the CPU.
/// Numerics: f32, each state's and each code's largest score subtracted. Where their peaks lie so
/// far apart that the product underflows, the cell is summed term by term. With bf16, factors of
/// the products with the head are rounded to it.
///
/// ```
/// use candle_core::{Device::Cpu, Tensor};
/// let (hidden, head) = (Tensor::new(&[[0f32]], &Cpu)?, Tensor::new(&[[1f32], [0.0]], &Cpu)?);
/// let codebook = Tensor::new(&[[0f32], [3f32.ln()]], &Cpu)?;
/// use lpc::{config::Precision::F32, tensor::code_head::code_logps_fused};
/// let logps = code_logps_fused(&hidden, &head, &codebook, &[0], F32)?;
/// let logps = logps.to_vec2::<f32>()?; // 1 against 1, then 3 against 1
/// assert!((logps[0][0] - 0.5f32.ln()).abs() < 1e-6 && (logps[0][1] - 0.75f32.ln()).abs() < 1e-6);
/// # Ok::<(), lpc::Error>(())
/// ```
pub fn code_logps_fused(
    hidden: &Tensor,
    lm_head: &Tensor,
    codebook: &Tensor,
    tokens: &[u32],
    precision: Precision,
) -> Result<Tensor> {
    check_codes(hidden, lm_head, codebook, tokens)?;
    let op = FusedCodeLogps { tokens: tokens.to_vec(), precision, saved: OnceLock::new() };
    Ok(hidden.contiguous()?.apply_op3(&lm_head.contiguous()?, &codebook.contiguous()?, op)?)
}

/// [`code_logps`] of factors rounded to the precision: any device, scores in the dtype of `hidden`.
pub fn code_logps_composed(
    hidden: &Tensor,
    lm_head: &Tensor,
    codebook: &Tensor,
    tokens: &[u32],
    precision: Precision,
) -> Result<Tensor> {
    let tokens = Tensor::new(tokens, hidden.device())?;
    let round = |x: &Tensor| rounded(x, precision);
    code_logps(&round(hidden)?, &round(lm_head)?, &round(codebook)?, &tokens)
}

struct FusedCodeLogps {
    tokens: Vec<u32>,
    precision: Precision,
    saved: OnceLock<Saved>,
}

/// What the forward pass leaves for the backward pass.
struct Saved {
    biases: Biases,
    /// m_t.
    peaks: Vec<f32>,
    /// S, [N, K]; 0 marks a cell that was enumerated.
    sums: Vec<f32>,
    /// A, [N, V], where products round it in any case and it is not too large.
    exponentials: Option<Vec<bf16>>,
}

/// b = e·Wᵀ, [K, V], and n_k.
struct Biases {
    raw: Vec<f32>,
    peaks: Vec<f32>,
}

impl Biases {
    fn row(&self, code: usize) -> &[f32] {
        let vocab = self.raw.len() / self.peaks.len();
        &self.raw[code * vocab..(code + 1) * vocab]
    }

    /// e^(b − n).
    fn exponentials(&self) -> Vec<f32> {
        let mut values = self.raw.clone();
        let vocab = values.len() / self.peaks.len();
        let rows = values.par_chunks_mut(vocab).zip(&self.peaks);
        rows.for_each(|(row, &peak)| exp_in_place(row, 1.0, peak));
        values
    }
}

/// The scores of one state under one code, afresh: only for cells that underflow.
fn scores_of(hidden: &[f32], head: &[f32], bias: &[f32]) -> Vec<f32> {
    let mut scores = bias.to_vec();
    let head = Matrix::new(head, bias.len(), hidden.len());
    product(Matrix::new(hidden, 1, hidden.len()), head.t(), &mut scores, true, Threads::One);
    scores
}

impl CustomOp3 for FusedCodeLogps {
    fn name(&self) -> &'static str {
        "code-logps"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (hidden, head, codebook) = (contiguous(s1, l1)?, contiguous(s2, l2)?, contiguous(s3, l3)?);
        let (n, d, vocab, codes) = (self.tokens.len(), l1.dims()[1], l2.dims()[0], l3.dims()[0]);
        // The codes come with the first states: one pass over the head for both.
        let stacked = [codebook, hidden].concat();
        let mut biases = Biases { raw: vec![], peaks: vec![] };
        let mut bias_exponentials = vec![];
        let mut scores = vec![];
        let (mut own, mut peaks) = (vec![0f32; n], vec![0f32; n]);
        let (mut sums, mut logps) = (vec![0f32; n * codes], vec![0f32; n * codes]);
        let head_columns = self.precision.right(Matrix::new(head, vocab, d).t());
        let keeps = self.precision == Precision::Bf16 && n * vocab <= KEPT;
        let mut exponentials = keeps.then(|| vec![bf16::ZERO; n * vocab]);
        for rows in chunks(n, vocab) {
            let above = if rows.start == 0 { codes } else { 0 };
            scores.resize((above + rows.len()) * vocab, 0f32);
            let states = &stacked[(codes - above + rows.start) * d..(codes + rows.end) * d];
            let states = self.precision.left(Matrix::new(states, above + rows.len(), d));
            multiply(&states, &head_columns, &mut scores, false);
            let (code_scores, scores) = scores.split_at_mut(above * vocab);
            if above > 0 {
                let raw = code_scores.to_vec();
                biases = Biases { peaks: raw.par_chunks(vocab).map(max).collect(), raw };
                bias_exponentials = biases.exponentials();
            }
            let (own, tokens) = (&mut own[rows.clone()], &self.tokens[rows.clone()]);
            let states = scores.par_chunks_mut(vocab).zip(peaks[rows.clone()].par_iter_mut());
            states.zip(own.par_iter_mut()).zip(tokens).for_each(|(((row, peak), own), &token)| {
                *peak = max(row);
                *own = row[token as usize] - *peak;
                exp_in_place(row, 1.0, *peak);
            });
            if let Some(kept) = &mut exponentials {
                let kept = kept[rows.start * vocab..rows.end * vocab].par_chunks_mut(vocab);
                scores.par_chunks(vocab).zip(kept).for_each(|(row, kept)| round(row, kept));
            }
            let cells = rows.start * codes..rows.end * codes;
            let (sums, logps) = (&mut sums[cells.clone()], &mut logps[cells]);
            let b = Matrix::new(&bias_exponentials, codes, vocab);
            product(Matrix::new(scores, rows.len(), vocab), b.t(), sums, false, Threads::All);
            let cells = sums.par_chunks_mut(codes).zip(logps.par_chunks_mut(codes)).enumerate();
            cells.for_each(|(i, (sums, logps))| {
                let token = tokens[i] as usize;
                for (k, (sum, logp)) in sums.iter_mut().zip(logps).enumerate() {
                    if *sum >= SAFE_SUM {
                        *logp = own[i] + (biases.row(k)[token] - biases.peaks[k]) - sum.ln();
                    } else {
                        let state = rows.start + i;
                        let mut row = scores_of(&hidden[state * d..(state + 1) * d], head, biases.row(k));
                        *logp = row[token] - logsumexp(&mut row);
                        *sum = 0.0;
                    }
                }
            });
        }
        // A second forward pass of the same operation would find the same.
        let _ = self.saved.set(Saved { biases, peaks, sums, exponentials });
        Ok((CpuStorage::F32(logps), Shape::from((n, codes))))
    }

    /// d logp_tk / d a_tv = d logp_tk / d b_kv = 1[v = token] − P_tkv, P_tkv = A_tv B_kv / S_tk.
    /// Over all codes of a state, and all states of a code, that is a product each.
    fn bwd(
        &self,
        hidden: &Tensor,
        head: &Tensor,
        codebook: &Tensor,
        logps: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(Saved { biases, peaks, sums, exponentials: kept }) = self.saved.get() else {
            candle_core::bail!("code-logps: backward before forward")
        };
        let (n, codes) = logps.dims2()?;
        let (vocab, d) = head.dims2()?;
        let upstream = grad.flatten_all()?.to_vec1::<f32>()?;
        let logps = logps.flatten_all()?.to_vec1::<f32>()?;
        let bias_exponentials = biases.exponentials();
        // g / S where the product holds.
        let per_sum: Vec<f32> =
            upstream.iter().zip(sums).map(|(g, &s)| if s > 0.0 { g / s } else { 0.0 }).collect();
        let stacked = [Held::new(codebook)?.slice(), Held::new(hidden)?.slice()].concat();
        let mut d_stacked = vec![0f32; (codes + n) * d];
        // Rounded, all of them multiply the head and the states at once: a pass over the head's
        // gradient costs more than its sums.
        let mut d_scores = kept.is_some().then(|| vec![bf16::ZERO; (codes + n) * vocab]);
        let mut d_head = vec![0f32; if kept.is_some() { 0 } else { vocab * d }];
        let mut d_bias = vec![0f32; codes * vocab];
        // What a code's enumerated cells add to d_bias: kept apart, for it is not scaled by B.
        let mut enumerated: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
        let mut buffer = vec![];
        let mut mixtures = vec![];
        let held_head = Held::new(head)?;
        let head_values = held_head.slice();
        let w = Matrix::new(head_values, vocab, d);
        let head_rows = self.precision.right(w);
        let head_columns = kept.is_none().then(|| self.precision.right(w.t()));
        // Backwards, so that every state has told the codes by the time that they come.
        for rows in chunks(n, vocab).rev() {
            let above = if rows.start == 0 { codes } else { 0 };
            buffer.resize((above + rows.len()) * vocab, 0f32);
            let scores = &mut buffer[above * vocab..];
            if let Some(kept) = kept {
                let kept = kept[rows.start * vocab..rows.end * vocab].par_chunks(vocab);
                scores.par_chunks_mut(vocab).zip(kept).for_each(|(row, kept)| {
                    wide!({
                        row.iter_mut()
                            .zip(kept)
                            .for_each(|(a, kept)| *a = f32::from_bits(u32::from(kept.to_bits()) << 16))
                    });
                });
            } else if let Some(head_columns) = &head_columns {
                let states = &stacked[(codes + rows.start) * d..(codes + rows.end) * d];
                let states = self.precision.left(Matrix::new(states, rows.len(), d));
                multiply(&states, head_columns, scores, false);
                let of_state = scores.par_chunks_mut(vocab).zip(&peaks[rows.clone()]);
                of_state.for_each(|(row, &peak)| exp_in_place(row, 1.0, peak));
            }
            let weights = Matrix::new(&per_sum[rows.start * codes..rows.end * codes], rows.len(), codes);
            let exponentials = Matrix::new(scores, rows.len(), vocab);
            product(weights.t(), exponentials, &mut d_bias, true, Threads::All);
            mixtures.resize(rows.len() * vocab, 0f32);
            let b = Matrix::new(&bias_exponentials, codes, vocab);
            product(weights, b, &mut mixtures, false, Threads::All);
            scores.par_chunks_mut(vocab).zip(mixtures.par_chunks(vocab)).for_each(|(row, mixture)| {
                wide!(row.iter_mut().zip(mixture).for_each(|(a, m)| *a *= -m));
            });
            for (t, row) in rows.clone().zip(scores.chunks_mut(vocab)) {
                let cells = t * codes..(t + 1) * codes;
                let token = self.tokens[t] as usize;
                for (k, cell) in cells.clone().enumerate().filter(|&(_, cell)| sums[cell] == 0.0) {
                    let state = &stacked[(codes + t) * d..(codes + t + 1) * d];
                    let mut p = scores_of(state, head_values, biases.row(k));
                    let normaliser = p[token] - logps[cell];
                    wide!(p.iter_mut().for_each(|s| *s = -upstream[cell] * exp(*s - normaliser)));
                    row.iter_mut().zip(&p).for_each(|(a, p)| *a += p);
                    let sum = enumerated.entry(k).or_insert_with(|| vec![0f32; vocab]);
                    sum.iter_mut().zip(p).for_each(|(sum, p)| *sum += p);
                }
                row[token] += upstream[cells].iter().sum::<f32>();
            }
            if above > 0 {
                d_bias.par_iter_mut().zip(&bias_exponentials).for_each(|(sum, b)| *sum *= -b);
                for (k, cells) in &enumerated {
                    let row = &mut d_bias[k * vocab..(k + 1) * vocab];
                    row.iter_mut().zip(cells).for_each(|(sum, cell)| *sum += cell);
                }
                for (g, &token) in upstream.chunks(codes).zip(&self.tokens) {
                    g.iter().enumerate().for_each(|(k, g)| d_bias[k * vocab + token as usize] += g);
                }
                buffer[..codes * vocab].copy_from_slice(&d_bias);
            }
            let states = codes - above + rows.start..codes + rows.end;
            if let Some(d_scores) = &mut d_scores {
                let d_scores = d_scores[states.start * vocab..states.end * vocab].par_chunks_mut(vocab);
                buffer.par_chunks(vocab).zip(d_scores).for_each(|(row, rounded)| round(row, rounded));
                continue;
            }
            let d_scores = Matrix::new(&buffer, states.len(), vocab);
            let states = states.start * d..states.end * d;
            multiply(&self.precision.left(d_scores), &head_rows, &mut d_stacked[states.clone()], false);
            let states = self.precision.right(Matrix::new(&stacked[states], buffer.len() / vocab, d));
            multiply(&self.precision.left(d_scores.t()), &states, &mut d_head, true);
        }
        if let Some(d_scores) = d_scores {
            let left = |rows: usize, summed: usize, transposed: bool| {
                let numbers = Numbers::Bf16(&d_scores);
                Prepared::Bf16(Factor::left(numbers, rows, summed, transposed, Threads::All))
            };
            multiply(&left(codes + n, vocab, false), &head_rows, &mut d_stacked, false);
            let states = self.precision.right(Matrix::new(&stacked, codes + n, d));
            d_head = multiplied(&left(vocab, codes + n, true), &states);
        }
        let d_hidden = d_stacked.split_off(codes * d);
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        Ok((Some(tensor(d_hidden, hidden)?), Some(tensor(d_head, head)?), Some(tensor(d_stacked, codebook)?)))
    }
}
