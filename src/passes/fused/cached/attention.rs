//! Attention of new tokens over a chain of caches.

use crate::machine::exp::{exp_in_place, max, sum};
use crate::machine::gemm::{Matrix, Threads, product};
use rayon::prelude::*;
use std::ops::Range;

/// Tokens worked on at a time: bounds the scores and skips most of the future.
const QUERIES: usize = 64;

/// One key head's keys and values of the tokens of a cache, [tokens, head_dim] each.
#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    k: Vec<f32>,
    v: Vec<f32>,
}

/// What a cache holds: a block's key heads, one block after the other.
pub(super) type KeyHeads = Vec<Head>;

/// A sequence that grows by so many tokens, which see those `behind` them, in order, then its `own`.
pub(super) struct Sequence<'c> {
    pub behind: Vec<&'c KeyHeads>,
    pub own: &'c mut KeyHeads,
    pub tokens: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
}

/// One block's attention.
pub(super) struct Step {
    pub shape: Shape,
    pub layer: usize,
    /// Positions a token sees, itself included.
    pub window: Option<usize>,
}

/// Some of one sequence's new tokens, for one key head.
struct Task<'t> {
    /// [tokens of the sequence, heads · head_dim]
    q: &'t [f32],
    /// The sequence's caches in order, each with the position of its first token.
    chain: Vec<(usize, &'t Head)>,
    /// Position of the sequence's first new token.
    past: usize,
    kv: usize,
    block: Range<usize>,
    /// Into the batch.
    first: usize,
}

impl Step {
    /// Appends k and v [n, kv heads · head_dim] to the caches and lets q [n, heads · head_dim] look at
    /// all that stands there. → [n, heads · head_dim]
    pub fn attend(&self, q: &[f32], k: &[f32], v: &[f32], sequences: &mut [Sequence<'_>]) -> Vec<f32> {
        let Shape { heads, kv_heads, head_dim: hd } = self.shape;
        let (width, kv_width) = (heads * hd, kv_heads * hd);
        let mut tokens = k.chunks(kv_width).zip(v.chunks(kv_width));
        for sequence in sequences.iter_mut() {
            let own = &mut sequence.own[self.layer * kv_heads..(self.layer + 1) * kv_heads];
            for (k, v) in tokens.by_ref().take(sequence.tokens) {
                for ((head, k), v) in own.iter_mut().zip(k.chunks(hd)).zip(v.chunks(hd)) {
                    head.k.extend_from_slice(k);
                    head.v.extend_from_slice(v);
                }
            }
        }
        let mut tasks = vec![];
        let mut first = 0;
        for sequence in sequences.iter() {
            let n = sequence.tokens;
            for kv in 0..kv_heads {
                let mut start = 0;
                let caches = sequence.behind.iter().copied().chain([&*sequence.own]);
                let chain: Vec<(usize, &Head)> = caches
                    .map(|heads| {
                        let (at, head) = (start, &heads[self.layer * kv_heads + kv]);
                        start += head.k.len() / hd;
                        (at, head)
                    })
                    .collect();
                for block in (0..n).step_by(QUERIES).map(|b| b..(b + QUERIES).min(n)) {
                    let q = &q[first * width..(first + n) * width];
                    tasks.push(Task { q, chain: chain.clone(), past: start - n, kv, block, first });
                }
            }
            first += n;
        }
        let group = heads / kv_heads * hd;
        let results: Vec<Vec<f32>> = tasks.par_iter().map(|task| self.mix(task)).collect();
        let mut out = vec![0f32; q.len()];
        for (task, mixed) in tasks.iter().zip(results) {
            for (token, mixed) in task.block.clone().zip(mixed.chunks(group)) {
                let at = (task.first + token) * width + task.kv * group;
                out[at..at + group].copy_from_slice(mixed);
            }
        }
        out
    }

    /// The heads that share a key head are more rows of one product: [block, group, head_dim].
    fn mix(&self, task: &Task<'_>) -> Vec<f32> {
        let Shape { heads, kv_heads, head_dim: hd } = self.shape;
        let groups = heads / kv_heads;
        let (width, group) = (heads * hd, groups * hd);
        let tokens = task.block.clone().map(|t| &task.q[t * width + task.kv * group..][..group]);
        let q: Vec<f32> = tokens.flatten().copied().collect();
        let rows = task.block.len() * groups;
        let seen = task.past + task.block.end;
        // Scores against each cache of the chain, as far as the block's last token sees.
        let mut scores: Vec<Vec<f32>> = vec![];
        let chain: Vec<(usize, usize, &Head)> = task
            .chain
            .iter()
            .map(|&(start, head)| (start, (head.k.len() / hd).min(seen.saturating_sub(start)), head))
            .filter(|(_, n, _)| *n > 0)
            .collect();
        for &(_, n, head) in &chain {
            let mut part = vec![0f32; rows * n];
            let k = Matrix::new(&head.k[..n * hd], n, hd);
            product(Matrix::new(&q, rows, hd), k.t(), &mut part, false, Threads::One);
            scores.push(part);
        }
        let scale = (hd as f64).powf(-0.5) as f32;
        for row in 0..rows {
            let position = task.past + task.block.start + row / groups;
            let near = self.window.map_or(0, |w| (position + 1).saturating_sub(w));
            let mut parts: Vec<(&mut [f32], Range<usize>)> = scores
                .iter_mut()
                .zip(&chain)
                .map(|(part, &(start, n, _))| {
                    let sight =
                        near.saturating_sub(start).min(n)..(position + 1).saturating_sub(start).min(n);
                    (&mut part[row * n..(row + 1) * n], sight)
                })
                .collect();
            softmax(&mut parts, scale);
        }
        let mut out = vec![0f32; rows * hd];
        for (part, &(_, n, head)) in scores.iter().zip(&chain) {
            let v = Matrix::new(&head.v[..n * hd], n, hd);
            product(Matrix::new(part, rows, n), v, &mut out, true, Threads::One);
        }
        out
    }
}

/// Softmax of scale · score over the sights of all parts together, 0 outside.
fn softmax(parts: &mut [(&mut [f32], Range<usize>)], scale: f32) {
    let highest = parts.iter().map(|(row, sight)| max(&row[sight.clone()]));
    let shift = highest.fold(f32::NEG_INFINITY, f32::max) * scale;
    let mut total = 0f64;
    for (row, sight) in parts.iter_mut() {
        row[..sight.start].fill(0.0);
        row[sight.end..].fill(0.0);
        exp_in_place(&mut row[sight.clone()], scale, shift);
        total += sum(&row[sight.clone()]);
    }
    let inverse = total.recip() as f32;
    for (row, sight) in parts {
        row[sight.clone()].iter_mut().for_each(|s| *s *= inverse);
    }
}
