//! Row-wise pieces of a block, forward and backward, on slices.

use super::exp::{dot, dot3, exp, sum, wide};
use super::slices::written;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Rows a task works on: also the fixed unit of sums over rows, so that they do not depend on
/// the number of threads.
const ROWS: usize = 64;

/// x / rms(x) · weight for each row of d; returns it with 1/rms of each row.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f64) -> (Vec<f32>, Vec<f32>) {
    let d = weight.len();
    let mut inverse = vec![0f32; x.len() / d];
    let write = |out: &mut [MaybeUninit<f32>]| {
        let rows = out.par_chunks_mut(ROWS * d).zip(x.par_chunks(ROWS * d));
        rows.zip(inverse.par_chunks_mut(ROWS)).for_each(|((out, x), inverse)| {
            wide!({
                for ((out, x), inverse) in out.chunks_mut(d).zip(x.chunks(d)).zip(inverse) {
                    *inverse = (dot(x, x) / d as f32 + eps as f32).sqrt().recip();
                    scale(out, x, weight, *inverse);
                }
            });
        });
    };
    assert_eq!(x.len() % d, 0, "rows of {d}");
    // SAFETY: every row of x is written, whole rows by the assertion.
    let out = unsafe { written(x.len(), write) };
    (out, inverse)
}

/// [`rms_norm`] given 1/rms.
pub fn rms_scaled(x: &[f32], weight: &[f32], inverse: &[f32]) -> Vec<f32> {
    let d = weight.len();
    let write = |out: &mut [MaybeUninit<f32>]| {
        let rows = out.par_chunks_mut(ROWS * d).zip(x.par_chunks(ROWS * d));
        rows.zip(inverse.par_chunks(ROWS)).for_each(|((out, x), inverse)| {
            wide!({
                for ((out, x), &inverse) in out.chunks_mut(d).zip(x.chunks(d)).zip(inverse) {
                    scale(out, x, weight, inverse);
                }
            });
        });
    };
    assert_eq!(inverse.len() * d, x.len(), "rows of {d}");
    // SAFETY: one inverse for each row of x, by the assertion, and as many numbers as x has.
    unsafe { written(x.len(), write) }
}

#[inline(always)]
fn scale(out: &mut [MaybeUninit<f32>], x: &[f32], weight: &[f32], inverse: f32) {
    out.iter_mut().zip(x).zip(weight).for_each(|((o, x), w)| _ = o.write(x * inverse * w));
}

/// [`rms_norm`] with 1/rms from sums in f64, into memory that is used again.
pub fn rms_norm_into(x: &[f32], weight: &[f32], eps: f64, out: &mut Vec<f32>) {
    let d = weight.len();
    out.clear();
    out.extend(x.iter().map(|x| x * x));
    for (row, x) in out.chunks_mut(d).zip(x.chunks(d)) {
        let inverse = (sum(row) / d as f64 + eps).sqrt().recip() as f32;
        row.iter_mut().zip(x).zip(weight).for_each(|((out, x), w)| *out = x * inverse * w);
    }
}

/// Adds to `dx` and `d_weight` what flows back through [`rms_norm`].
pub fn rms_norm_backward(
    d_out: &[f32],
    x: &[f32],
    inverse: &[f32],
    weight: &[f32],
    dx: &mut [f32],
    d_weight: &mut [f32],
) {
    let d = weight.len();
    let partial_sums: Vec<Vec<f32>> = dx
        .par_chunks_mut(ROWS * d)
        .zip(d_out.par_chunks(ROWS * d))
        .zip(x.par_chunks(ROWS * d))
        .zip(inverse.par_chunks(ROWS))
        .map(|(((dx, d_out), x), inverse)| {
            let mut d_weight = vec![0f32; d];
            wide!({
                for (((dx, d_out), x), &inverse) in
                    dx.chunks_mut(d).zip(d_out.chunks(d)).zip(x.chunks(d)).zip(inverse)
                {
                    d_weight.iter_mut().zip(d_out).zip(x).for_each(|((sum, g), x)| *sum += g * x * inverse);
                    // d rms⁻¹/dx brings the projection on x.
                    let along = dot3(d_out, weight, x) * inverse * inverse / d as f32;
                    for (((dx, g), x), w) in dx.iter_mut().zip(d_out).zip(x).zip(weight) {
                        *dx += inverse * (g * w - x * along);
                    }
                }
            });
            d_weight
        })
        .collect();
    for partial in partial_sums {
        d_weight.iter_mut().zip(partial).for_each(|(a, b)| *a += b);
    }
}

/// Numbers a task of [`swiglu`] works on.
const NUMBERS: usize = ROWS * 512;

/// silu(gate) · up.
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let write = |out: &mut [MaybeUninit<f32>]| {
        let parts = out.par_chunks_mut(NUMBERS).zip(gate.par_chunks(NUMBERS)).zip(up.par_chunks(NUMBERS));
        parts.for_each(|((out, gate), up)| {
            wide!(out.iter_mut().zip(gate).zip(up).for_each(|((o, &g), &u)| _ = o.write(g * sigmoid(g) * u)));
        });
    };
    assert_eq!(gate.len(), up.len(), "gate and up");
    // SAFETY: gate and up are of the length asked for.
    unsafe { written(gate.len(), write) }
}

/// gate becomes silu(gate) · up, by a division where [`swiglu`] has two products: the last bits differ.
pub fn swiglu_in_place(gate: &mut [f32], up: &[f32]) {
    gate.par_chunks_mut(4096).zip(up.par_chunks(4096)).for_each(|(gate, up)| {
        gate.iter_mut().zip(up).for_each(|(g, u)| *g = *g / (1.0 + exp(-*g)) * u);
    });
}

/// Turns the gradient of [`swiglu`]'s result into that result, and in place of gate and up leaves
/// their gradients.
pub fn swiglu_backward(d_out: &mut [f32], gate: &mut [f32], up: &mut [f32]) {
    let parts = gate.par_chunks_mut(NUMBERS).zip(up.par_chunks_mut(NUMBERS));
    parts.zip(d_out.par_chunks_mut(NUMBERS)).for_each(|((gate, up), d)| {
        wide!({
            for ((gate, up), d) in gate.iter_mut().zip(up).zip(d) {
                let (g, u, s, out) = (*gate, *up, sigmoid(*gate), *d);
                *gate = out * u * s * (1.0 + g * (1.0 - s));
                *up = out * g * s;
                *d = g * s * u;
            }
        });
    });
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Cosines and sines of each token's angles, [tokens, head_dim / 2] each.
pub struct Turns {
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

impl Turns {
    fn at(&self, token: usize, half: usize) -> (&[f32], &[f32]) {
        let own = token * half..(token + 1) * half;
        (&self.cos[own.clone()], &self.sin[own])
    }
}

/// [tokens, heads · head_dim] → [heads, tokens, head_dim], rotated by `turns` if given.
pub fn split_heads(x: &[f32], heads: usize, head_dim: usize, turns: Option<&Turns>) -> Vec<f32> {
    let width = heads * head_dim;
    let write = |out: &mut [MaybeUninit<f32>]| {
        let of_heads = out.par_chunks_mut(x.len() / heads).enumerate();
        of_heads.for_each(|(head, out)| {
            wide!({
                let rows = x.chunks_exact(width).map(|row| &row[head * head_dim..][..head_dim]);
                for (t, (x, out)) in rows.zip(out.chunks_exact_mut(head_dim)).enumerate() {
                    turn(x, out, turns.map(|turns| turns.at(t, head_dim / 2)), 1.0);
                }
            });
        });
    };
    assert_eq!(x.len() % width, 0, "rows of {heads} heads of {head_dim}");
    // SAFETY: every token's part of every head is written, whole rows by the assertion.
    unsafe { written(x.len(), write) }
}

/// The inverse of [`split_heads`]: [heads, tokens, head_dim] → [tokens, heads · head_dim].
/// A rotation's transpose is its inverse, so this is also its gradient.
pub fn join_heads(x: &[f32], heads: usize, head_dim: usize, turns: Option<&Turns>) -> Vec<f32> {
    let (width, of_head) = (heads * head_dim, x.len() / heads);
    let write = |out: &mut [MaybeUninit<f32>]| {
        out.par_chunks_mut(ROWS * width).enumerate().for_each(|(chunk, out)| {
            wide!({
                for (row, out) in out.chunks_exact_mut(width).enumerate() {
                    let t = chunk * ROWS + row;
                    let turns = turns.map(|turns| turns.at(t, head_dim / 2));
                    for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
                        turn(&x[head * of_head + t * head_dim..][..head_dim], out, turns, -1.0);
                    }
                }
            });
        });
    };
    assert_eq!(x.len() % width, 0, "{heads} heads of rows of {head_dim}");
    // SAFETY: every head's part of every token is written, whole rows by the assertion.
    unsafe { written(x.len(), write) }
}

/// One head's numbers of one token, rotated by the angles or, with a sign of −1, back.
#[inline(always)]
fn turn(x: &[f32], out: &mut [MaybeUninit<f32>], angles: Option<(&[f32], &[f32])>, sign: f32) {
    let Some((cos, sin)) = angles else {
        out.iter_mut().zip(x).for_each(|(out, &x)| _ = out.write(x));
        return;
    };
    let half = cos.len();
    let ((low, high), (out_low, out_high)) = (x.split_at(half), out.split_at_mut(half));
    let pairs = out_low.iter_mut().zip(out_high).zip(low.iter().zip(high));
    for (((out_low, out_high), (a, b)), (c, s)) in pairs.zip(cos.iter().zip(sin)) {
        let (low, high) = turned(*a, *b, *c, sign * s);
        out_low.write(low);
        out_high.write(high);
    }
}

/// Rotates x [tokens, heads, head_dim] in place.
pub fn rotate(x: &mut [f32], head_dim: usize, turns: &Turns) {
    let half = head_dim / 2;
    let width = x.len() / (turns.cos.len() / half);
    for (t, token) in x.chunks_mut(width).enumerate() {
        let (cos, sin) = turns.at(t, half);
        for head in token.chunks_mut(head_dim) {
            let (first, second) = head.split_at_mut(half);
            for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                (*a, *b) = turned(*a, *b, *c, *s);
            }
        }
    }
}

/// Two coordinates of a head that belong together, rotated by an angle of this cosine and sine.
#[inline(always)]
fn turned(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a * cos - b * sin, b * cos + a * sin)
}
