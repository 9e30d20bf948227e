//! SwiGLU, roundings and embeddings.

use super::{Kernel, RawNumbers, THREADS, at, small};
use crate::Result;
use crate::machine::device::{Numbers, View};
use half::bf16;

#[repr(C)]
struct Gated {
    gate_up: u64,
    out: u64,
    ff: u32,
}

impl Gated {
    fn of(gate_up: View<'_, bf16>, out: View<'_, bf16>, ff: usize) -> (Self, [usize; 2]) {
        let rows = out.len() / ff;
        let arguments = Self { gate_up: at(gate_up, 2 * rows * ff), out: at(out, rows * ff), ff: small(ff) };
        (arguments, [ff.div_ceil(THREADS), rows])
    }
}

/// silu(gate) · up. Shapes: gate_up [n, 2, ff] → [n, ff].
pub fn swiglu(gate_up: View<'_, bf16>, out: View<'_, bf16>, ff: usize) -> Result<()> {
    let (arguments, grid) = Gated::of(gate_up, out, ff);
    // SAFETY: two rows of `gate_up` for each of `out`, by the checks of `of`.
    unsafe { out.device().launch(Kernel::Swiglu, grid, &arguments) }
}

/// In place of gate and up their gradients, in place of the gradient of [`swiglu`]'s result that result.
pub fn swiglu_backward(gate_up: View<'_, bf16>, d_out: View<'_, bf16>, ff: usize) -> Result<()> {
    let (arguments, grid) = Gated::of(gate_up, d_out, ff);
    // SAFETY: two rows of `gate_up` for each of `d_out`, by the checks of `of`.
    unsafe { d_out.device().launch(Kernel::SwigluBackward, grid, &arguments) }
}

/// The nearest bf16 numbers.
pub fn to_bf16(x: View<'_, f32>, out: View<'_, bf16>) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        x: u64,
        out: u64,
        n: u64,
    }
    let n = x.len();
    let arguments = Arguments { x: x.address(), out: at(out, n), n: n as u64 };
    // SAFETY: n numbers each, by the check above.
    unsafe { x.device().launch(Kernel::ToBf16, [n.div_ceil(THREADS), 1], &arguments) }
}

/// Row ids[i] of a table; no numbers where it has no such row. Shapes: table [V, d], ids [n] → [n, d].
pub fn embed(table: View<'_, bf16>, ids: View<'_, u32>, out: View<'_, f32>) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        table: u64,
        ids: u64,
        out: u64,
        d: u32,
        rows: u32,
    }
    let n = ids.len();
    let d = out.len() / n.max(1);
    let rows = table.len() / d.max(1);
    let arguments = Arguments {
        table: at(table, rows * d),
        ids: ids.address(),
        out: at(out, n * d),
        d: small(d),
        rows: small(rows),
    };
    // SAFETY: rows of d numbers, by the checks above; the kernel compares an id with the table's rows.
    unsafe { table.device().launch(Kernel::Embed, [n, 1], &arguments) }
}

/// Rows ids[i] of x, rounded; no numbers where it has no such row. Shapes: x [m, d], ids [n] → [n, d].
/// [`embed_backward`] is its gradient.
pub fn gather(x: View<'_, f32>, ids: View<'_, u32>, out: View<'_, bf16>) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        x: u64,
        ids: u64,
        out: u64,
        d: u32,
        rows: u32,
    }
    let n = ids.len();
    let d = out.len() / n.max(1);
    let rows = x.len() / d.max(1);
    let arguments = Arguments {
        x: at(x, rows * d),
        ids: ids.address(),
        out: at(out, n * d),
        d: small(d),
        rows: small(rows),
    };
    // SAFETY: rows of d numbers, by the checks above; the kernel compares an id with the rows.
    unsafe { x.device().launch(Kernel::Gather, [n, 1], &arguments) }
}

/// The rows of a pack by token: row `ids[i]` of the table is read for the rows `order[starts[i]..starts[i + 1]]`.
#[derive(Clone, Copy)]
pub struct ByToken<'a> {
    pub ids: View<'a, u32>,
    pub starts: View<'a, u32>,
    pub order: View<'a, u32>,
}

/// Adds to the table's gradient that of [`embed`]'s result [n, d]. No id may stand twice in `ids`: which of
/// two sums is kept would be chance.
pub fn embed_backward(
    d_out: View<'_, f32>,
    by_token: ByToken<'_>,
    gradient: Numbers<'_>,
    d: usize,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        d_out: u64,
        ids: u64,
        starts: u64,
        order: u64,
        gradient: RawNumbers,
        d: u32,
        rows: u32,
        tokens: u32,
    }
    let (distinct, tokens, rows) = (by_token.ids.len(), by_token.order.len(), gradient.len() / d);
    assert_eq!(gradient.len(), rows * d, "rows of {d}");
    let arguments = Arguments {
        d_out: at(d_out, tokens * d),
        ids: by_token.ids.address(),
        starts: at(by_token.starts, distinct + 1),
        order: by_token.order.address(),
        gradient: RawNumbers::of(gradient, gradient.len()),
        d: small(d),
        rows: small(rows),
        tokens: small(tokens),
    };
    // SAFETY: rows of d numbers, by the checks above; the kernel compares what it reads of the three lists
    // with the numbers of rows.
    unsafe { d_out.device().launch(Kernel::EmbedBackward, [distinct, 1], &arguments) }
}
