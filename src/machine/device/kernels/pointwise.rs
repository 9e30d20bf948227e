//! SwiGLU, roundings and rows of a table.

use super::{Kernel, Launch, RawNumbers, THREADS, small};
use crate::Result;
use crate::machine::device::{Numbers, View};
use half::bf16;

#[repr(C)]
struct Gated {
    gate_up: u64,
    out: u64,
    ff: u32,
}

/// silu(gate) · up. Shapes: gate_up [n, 2, ff] → [n, ff].
pub fn swiglu(gate_up: View<'_, bf16>, out: View<'_, bf16>, ff: usize) -> Result<()> {
    let (rows, mut launch) = (out.len() / ff, Launch::on(out.device()));
    let arguments = Gated {
        gate_up: launch.read(gate_up, 2 * rows * ff),
        out: launch.write(out, rows * ff),
        ff: small(ff),
    };
    // SAFETY: two rows of `gate_up` for each of `out`, by the checks above.
    unsafe { launch.run(Kernel::Swiglu, [rows, ff.div_ceil(THREADS)], &arguments) }
}

/// In place of gate and up their gradients, in place of the gradient of [`swiglu`]'s result that result.
pub fn swiglu_backward(gate_up: View<'_, bf16>, d_out: View<'_, bf16>, ff: usize) -> Result<()> {
    let (rows, mut launch) = (d_out.len() / ff, Launch::on(d_out.device()));
    let arguments = Gated {
        gate_up: launch.write(gate_up, 2 * rows * ff),
        out: launch.write(d_out, rows * ff),
        ff: small(ff),
    };
    // SAFETY: two rows of `gate_up` for each of `d_out`, by the checks above.
    unsafe { launch.run(Kernel::SwigluBackward, [rows, ff.div_ceil(THREADS)], &arguments) }
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
    let mut launch = Launch::on(x.device());
    let arguments = Arguments { x: launch.read(x, x.len()), out: launch.write(out, n), n: n as u64 };
    // SAFETY: n numbers each, by the check above.
    unsafe { launch.run(Kernel::ToBf16, [n.div_ceil(THREADS), 1], &arguments) }
}

/// Rows ids[i] of a table; no numbers where it has no such row. Shapes: table [m, d], ids [n] → [n, d].
pub fn gather(table: Numbers<'_>, ids: View<'_, u32>, out: Numbers<'_>) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        table: RawNumbers,
        ids: u64,
        out: RawNumbers,
        d: u32,
        rows: u32,
    }
    let n = ids.len();
    let d = out.len() / n.max(1);
    let rows = table.len() / d.max(1);
    let mut launch = Launch::on(ids.device());
    let arguments = Arguments {
        table: launch.read_numbers(table, rows * d),
        ids: launch.read(ids, n),
        out: launch.write_numbers(out, n * d),
        d: small(d),
        rows: small(rows),
    };
    // SAFETY: rows of d numbers, by the checks above; the kernel compares an id with the table's rows.
    unsafe { launch.run(Kernel::Gather, [n, 1], &arguments) }
}

/// Rows ids[i] of a table and rows of[i] of shifts, added and rounded; no numbers where there is no such row.
///
/// Shapes: table [m, d], shifts [b, d]; ids, of [n] → [n, d].
pub fn gather_shifted(
    table: View<'_, f32>,
    ids: View<'_, u32>,
    shifts: View<'_, f32>,
    of: View<'_, u32>,
    out: View<'_, bf16>,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        table: u64,
        ids: u64,
        shifts: u64,
        of: u64,
        out: u64,
        d: u32,
        rows: u32,
        shift_rows: u32,
    }
    let n = ids.len();
    let d = out.len() / n.max(1);
    let (rows, shift_rows) = (table.len() / d.max(1), shifts.len() / d.max(1));
    let mut launch = Launch::on(ids.device());
    let arguments = Arguments {
        table: launch.read(table, rows * d),
        ids: launch.read(ids, n),
        shifts: launch.read(shifts, shift_rows * d),
        of: launch.read(of, n),
        out: launch.write(out, n * d),
        d: small(d),
        rows: small(rows),
        shift_rows: small(shift_rows),
    };
    // SAFETY: rows of d numbers, by the checks above; the kernel compares both rows with those that there are.
    unsafe { launch.run(Kernel::GatherShifted, [n, 1], &arguments) }
}

/// The rows of a pack by token: row `ids[i]` of the table is read for the rows `order[starts[i]..starts[i + 1]]`.
#[derive(Clone, Copy)]
pub struct ByToken<'a> {
    pub ids: View<'a, u32>,
    pub starts: View<'a, u32>,
    pub order: View<'a, u32>,
}

/// Adds to the table's gradient that of [`gather`]'s result [n, d]. No id may stand twice in `ids`: which of
/// two sums is kept would be chance.
pub fn gather_backward(
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
    let mut launch = Launch::on(d_out.device());
    let arguments = Arguments {
        d_out: launch.read(d_out, tokens * d),
        ids: launch.read(by_token.ids, distinct),
        starts: launch.read(by_token.starts, distinct + 1),
        order: launch.read(by_token.order, tokens),
        gradient: launch.write_numbers(gradient, rows * d),
        d: small(d),
        rows: small(rows),
        tokens: small(tokens),
    };
    // SAFETY: rows of d numbers, by the checks above; the kernel compares what it reads of the three lists
    // with the numbers of rows.
    unsafe { launch.run(Kernel::GatherBackward, [distinct, 1], &arguments) }
}
