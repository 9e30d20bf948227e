//! Attention around its products.

use super::{Kernel, at, small};
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
    fn per_token(&self, heads: u32) -> usize {
        heads as usize * self.head_dim as usize
    }

    /// Numbers of all queries.
    pub fn queries(&self) -> usize {
        self.tokens as usize * self.per_token(self.kv_heads * self.group)
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

#[repr(C)]
struct Rotated {
    /// `qkv` and the three apart, in the order of the sources.
    places: [u64; 4],
    cos: u64,
    sin: u64,
    shape: HeadShape,
}

fn turns(cos: View<'_, f32>, sin: View<'_, f32>, shape: HeadShape) -> [u64; 2] {
    assert_eq!(shape.head_dim % 2, 0, "an even number of coordinates a head");
    let angles = shape.tokens as usize * shape.head_dim as usize / 2;
    [at(cos, angles), at(sin, angles)]
}

/// The projections of tokens, apart by heads; queries and keys are rotated.
///
/// Shapes: qkv [tokens, heads + 2 · kv heads, head_dim] → q [kv heads, tokens, group, head_dim], k and v
/// [kv heads, tokens, head_dim]; cos and sin [tokens, head_dim / 2].
pub fn split_heads(
    qkv: View<'_, bf16>,
    [q, k, v]: [View<'_, bf16>; 3],
    [cos, sin]: [View<'_, f32>; 2],
    shape: HeadShape,
) -> Result<()> {
    let (queries, keys) = (shape.queries(), shape.keys());
    let places = [at(qkv, queries + 2 * keys), at(q, queries), at(k, keys), at(v, keys)];
    let [cos, sin] = turns(cos, sin, shape);
    // SAFETY: every place has the numbers of its shape, by the checks above.
    unsafe {
        qkv.device().launch(
            Kernel::SplitHeads,
            [shape.tokens as usize, 1],
            &Rotated { places, cos, sin, shape },
        )
    }
}

/// The inverse of [`split_heads`], which is also its gradient.
pub fn join_heads(
    [q, k, v]: [View<'_, bf16>; 3],
    qkv: View<'_, bf16>,
    [cos, sin]: [View<'_, f32>; 2],
    shape: HeadShape,
) -> Result<()> {
    let (queries, keys) = (shape.queries(), shape.keys());
    let places = [at(q, queries), at(k, keys), at(v, keys), at(qkv, queries + 2 * keys)];
    let [cos, sin] = turns(cos, sin, shape);
    // SAFETY: every place has the numbers of its shape, by the checks above.
    unsafe {
        qkv.device().launch(
            Kernel::JoinHeads,
            [shape.tokens as usize, 1],
            &Rotated { places, cos, sin, shape },
        )
    }
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
    let n = shape.queries();
    let arguments = Arguments { from: at(from, n), to: at(to, n), shape, apart: apart.into() };
    // SAFETY: both have the numbers of the shape, by the checks above.
    unsafe { from.device().launch(Kernel::Regroup, [shape.tokens as usize, 1], &arguments) }
}

/// Softmax of scale · scores over what each query of a row of tokens sees, 0 elsewhere.
///
/// Shapes: scores, weights [kv heads, keys, group, keys]; sights [keys].
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
        group: u32,
        scale: f32,
    }
    let (keys, queries) = (sights.len(), sights.len() * shape.group as usize);
    let n = shape.kv_heads as usize * queries * keys;
    let arguments = Arguments {
        scores: at(scores, n),
        weights: at(weights, n),
        sights: sights.address(),
        keys: small(keys),
        group: shape.group,
        scale,
    };
    // SAFETY: a row of scores and of weights for each query of each key head, by the checks above.
    unsafe {
        scores.device().launch(Kernel::AttentionWeights, [queries, shape.kv_heads as usize], &arguments)
    }
}

/// The gradient of scores from that of [`attention_weights`]' result.
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
        scale: f32,
    }
    let n = weights.len();
    assert_eq!(n % keys, 0, "rows of {keys}");
    let arguments = Arguments {
        weights: weights.address(),
        d_weights: at(d_weights, n),
        d_scores: at(d_scores, n),
        keys: small(keys),
        scale,
    };
    // SAFETY: rows of so many keys, by the checks above.
    unsafe { weights.device().launch(Kernel::AttentionScores, [n / keys, 1], &arguments) }
}
