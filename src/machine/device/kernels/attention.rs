//! Attention around its products.

use super::{Kernel, Launch, small};
use crate::Result;
use crate::machine::device::View;
use half::bf16;

/// Heads of a pack of tokens, in the order of `struct heads`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct HeadShape {
    pub tokens: u32,
    pub kv_heads: u32,
    /// Query heads of a key head.
    pub group: u32,
    pub head_dim: u32,
}

impl HeadShape {
    /// Panics: numbers of a token that 32 bits do not count.
    fn per_token(&self, heads: u32) -> usize {
        let all = u64::from(self.kv_heads) * (u64::from(self.group) + 2) * u64::from(self.head_dim);
        assert!(all <= u64::from(u32::MAX), "heads of a token");
        heads as usize * self.head_dim as usize
    }

    /// Numbers of all queries.
    pub fn queries(&self) -> usize {
        self.tokens as usize * self.group as usize * self.per_token(self.kv_heads)
    }

    /// Numbers of all keys, and of all values.
    pub fn keys(&self) -> usize {
        self.tokens as usize * self.per_token(self.kv_heads)
    }
}

/// The keys that a query sees, as places in its row: from `shared` to before `shared_end`, and from `own`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Sight {
    pub shared: u32,
    pub shared_end: u32,
    pub own: u32,
    pub own_end: u32,
}

/// The projections of tokens, apart by heads; queries and keys are rotated.
///
/// Shapes: qkv [tokens, heads + 2 · kv heads, head_dim] → q [kv heads, tokens, group, head_dim], k and v
/// [kv heads, tokens, head_dim]; angles' cosines and sines [tokens, head_dim / 2].
pub fn split_heads(
    qkv: View<'_, bf16>,
    apart: [View<'_, bf16>; 3],
    angles: [View<'_, f32>; 2],
    shape: HeadShape,
) -> Result<()> {
    split_or_join(qkv, apart, angles, shape, false)
}

/// The inverse of [`split_heads`], which is also its gradient.
pub fn join_heads(
    apart: [View<'_, bf16>; 3],
    qkv: View<'_, bf16>,
    angles: [View<'_, f32>; 2],
    shape: HeadShape,
) -> Result<()> {
    split_or_join(qkv, apart, angles, shape, true)
}

fn split_or_join(
    qkv: View<'_, bf16>,
    [q, k, v]: [View<'_, bf16>; 3],
    [cos, sin]: [View<'_, f32>; 2],
    shape: HeadShape,
    join: bool,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        /// qkv, q, k, v.
        places: [u64; 4],
        cos: u64,
        sin: u64,
        shape: HeadShape,
        join: u32,
    }
    assert_eq!(shape.head_dim % 2, 0, "an even number of coordinates a head");
    let (queries, keys, mut launch) = (shape.queries(), shape.keys(), Launch::on(qkv.device()));
    let angles = shape.tokens as usize * shape.head_dim as usize / 2;
    let places = [
        launch.see(qkv, queries + 2 * keys, join),
        launch.see(q, queries, !join),
        launch.see(k, keys, !join),
        launch.see(v, keys, !join),
    ];
    let (cos, sin) = (launch.read(cos, angles), launch.read(sin, angles));
    let arguments = Arguments { places, cos, sin, shape, join: join.into() };
    // SAFETY: every place has the numbers of its shape, by the checks above.
    unsafe { launch.run(Kernel::SplitOrJoin, [shape.tokens as usize, 1], &arguments) }
}

/// Queries' numbers from [tokens, heads, head_dim] to [kv heads, tokens, group, head_dim] if `apart`, or back.
pub fn regroup(from: View<'_, bf16>, to: View<'_, bf16>, shape: HeadShape, apart: bool) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        from: u64,
        to: u64,
        shape: HeadShape,
        apart: u32,
    }
    let (n, mut launch) = (shape.queries(), Launch::on(from.device()));
    let arguments =
        Arguments { from: launch.read(from, n), to: launch.write(to, n), shape, apart: apart.into() };
    // SAFETY: both have the numbers of the shape, by the checks above.
    unsafe { launch.run(Kernel::Regroup, [shape.tokens as usize, 1], &arguments) }
}

/// From a row of scores to the next: whole vectors of 8 bf16 numbers, so that products read them aligned.
pub fn score_stride(keys: usize) -> usize {
    keys.next_multiple_of(8)
}

/// Softmax of scale · scores over what each query of a row of tokens sees, 0 elsewhere.
///
/// Shapes: scores, weights [kv heads, keys, group, [`score_stride`]], of which the first keys count; sights
/// [keys].
pub fn attention_weights(
    scores: View<'_, f32>,
    weights: View<'_, bf16>,
    sights: View<'_, Sight>,
    shape: HeadShape,
    scale: f32,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        scores: u64,
        weights: u64,
        sights: u64,
        keys: u32,
        stride: u32,
        group: u32,
        scale: f32,
    }
    let (keys, queries) = (sights.len(), sights.len() * shape.group as usize);
    let n = shape.kv_heads as usize * queries * score_stride(keys);
    let mut launch = Launch::on(scores.device());
    let arguments = Arguments {
        scores: launch.read(scores, n),
        weights: launch.write(weights, n),
        sights: launch.read(sights, keys),
        keys: small(keys),
        stride: small(score_stride(keys)),
        group: shape.group,
        scale,
    };
    // SAFETY: a row of scores and of weights for each query of each key head, by the checks above.
    unsafe { launch.run(Kernel::AttentionWeights, [queries, shape.kv_heads as usize], &arguments) }
}

/// The gradient of scores from that of [`attention_weights`]' result, in rows as there.
pub fn attention_scores(
    weights: View<'_, bf16>,
    d_weights: View<'_, f32>,
    d_scores: View<'_, bf16>,
    keys: usize,
    scale: f32,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        weights: u64,
        d_weights: u64,
        d_scores: u64,
        keys: u32,
        stride: u32,
        scale: f32,
    }
    let (n, stride, mut launch) = (weights.len(), score_stride(keys), Launch::on(weights.device()));
    assert_eq!(n % stride, 0, "rows of {stride}");
    let arguments = Arguments {
        weights: launch.read(weights, n),
        d_weights: launch.read(d_weights, n),
        d_scores: launch.write(d_scores, n),
        keys: small(keys),
        stride: small(stride),
        scale,
    };
    // SAFETY: rows of so many keys, by the checks above.
    unsafe { launch.run(Kernel::AttentionScores, [n / stride, 1], &arguments) }
}
