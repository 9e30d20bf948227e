//! Row-wise pieces of a block, forward and backward, on slices.

use crate::tensor::exp::{dot, dot3, exp, wide};
use rayon::prelude::*;

/// Rows a task works on: also the fixed unit of sums over rows, so that they do not depend on
/// the number of threads.
const ROWS: usize = 64;

/// x / rms(x) · weight for each row of d; returns it with 1/rms of each row.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f64) -> (Vec<f32>, Vec<f32>) {
    let d = weight.len();
    let mut out = vec![0f32; x.len()];
    let mut inverse = vec![0f32; x.len() / d];
    out.par_chunks_mut(ROWS * d).zip(x.par_chunks(ROWS * d)).zip(inverse.par_chunks_mut(ROWS)).for_each(
        |((out, x), inverse)| {
            wide(|| {
                for ((out, x), inverse) in out.chunks_mut(d).zip(x.chunks(d)).zip(inverse) {
                    *inverse = (dot(x, x) / d as f32 + eps as f32).sqrt().recip();
                    out.iter_mut().zip(x).zip(weight).for_each(|((o, x), w)| *o = x * *inverse * w);
                }
            });
        },
    );
    (out, inverse)
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
            wide(|| {
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

/// silu(gate) · up.
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut out = vec![0f32; gate.len()];
    let size = ROWS * 512;
    out.par_chunks_mut(size).zip(gate.par_chunks(size)).zip(up.par_chunks(size)).for_each(
        |((out, gate), up)| {
            wide(|| out.iter_mut().zip(gate).zip(up).for_each(|((o, &g), &u)| *o = g * sigmoid(g) * u));
        },
    );
    out
}

/// Turns the gradient of [`swiglu`]'s result into those of gate and up, in place of them.
pub fn swiglu_backward(d_out: &[f32], gate: &mut [f32], up: &mut [f32]) {
    let size = ROWS * 512;
    gate.par_chunks_mut(size).zip(up.par_chunks_mut(size)).zip(d_out.par_chunks(size)).for_each(
        |((gate, up), d)| {
            wide(|| {
                for ((gate, up), &d) in gate.iter_mut().zip(up).zip(d) {
                    let (g, u, s) = (*gate, *up, sigmoid(*gate));
                    *gate = d * u * s * (1.0 + g * (1.0 - s));
                    *up = d * g * s;
                }
            });
        },
    );
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

/// [tokens, heads · head_dim] → [heads, tokens, head_dim], rotated by `turns` if given.
pub fn split_heads(x: &[f32], heads: usize, head_dim: usize, turns: Option<&Turns>) -> Vec<f32> {
    let tokens = x.len() / (heads * head_dim);
    let half = head_dim / 2;
    let mut out = vec![0f32; x.len()];
    out.par_chunks_mut(tokens * head_dim).enumerate().for_each(|(head, out)| {
        for (t, out) in out.chunks_mut(head_dim).enumerate() {
            let x = &x[(t * heads + head) * head_dim..][..head_dim];
            match turns {
                None => out.copy_from_slice(x),
                Some(Turns { cos, sin }) => {
                    for i in 0..half {
                        let (c, s, a, b) = (cos[t * half + i], sin[t * half + i], x[i], x[half + i]);
                        out[i] = a * c - b * s;
                        out[half + i] = b * c + a * s;
                    }
                }
            }
        }
    });
    out
}

/// The inverse of [`split_heads`]: [heads, tokens, head_dim] → [tokens, heads · head_dim].
/// A rotation's transpose is its inverse, so this is also its gradient.
pub fn join_heads(x: &[f32], heads: usize, head_dim: usize, turns: Option<&Turns>) -> Vec<f32> {
    let tokens = x.len() / (heads * head_dim);
    let half = head_dim / 2;
    let mut out = vec![0f32; x.len()];
    out.par_chunks_mut(ROWS * heads * head_dim).enumerate().for_each(|(chunk, out)| {
        for (row, out) in out.chunks_mut(heads * head_dim).enumerate() {
            let t = chunk * ROWS + row;
            for (head, out) in out.chunks_mut(head_dim).enumerate() {
                let x = &x[(head * tokens + t) * head_dim..][..head_dim];
                match turns {
                    None => out.copy_from_slice(x),
                    Some(Turns { cos, sin }) => {
                        for i in 0..half {
                            let (c, s, a, b) = (cos[t * half + i], sin[t * half + i], x[i], x[half + i]);
                            out[i] = a * c + b * s;
                            out[half + i] = b * c - a * s;
                        }
                    }
                }
            }
        }
    });
    out
}
