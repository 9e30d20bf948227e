//! RMSNorm of rows.

use super::{Kernel, Launch, RawNumbers, THREADS, small};
use crate::Result;
use crate::machine::device::{Numbers, View};
use half::bf16;

/// out = x / rms(x) · weight for each row, and 1 / rms.
///
/// Shapes: x, out [n, d], weight [d], inverse [n].
pub fn rms_norm(
    x: View<'_, f32>,
    weight: View<'_, bf16>,
    eps: f64,
    out: Numbers<'_>,
    inverse: View<'_, f32>,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        x: u64,
        weight: u64,
        out: RawNumbers,
        inverse: u64,
        d: u32,
        eps: f32,
    }
    let (n, d) = (inverse.len(), weight.len());
    let mut launch = Launch::on(x.device());
    let arguments = Arguments {
        x: launch.read(x, n * d),
        weight: launch.read(weight, weight.len()),
        out: launch.write_numbers(out, n * d),
        inverse: launch.write(inverse, inverse.len()),
        d: small(d),
        eps: eps as f32,
    };
    // SAFETY: n rows of d numbers, by the checks above.
    unsafe { launch.run(Kernel::RmsNorm, [n, 1], &arguments) }
}

/// Adds to `dx` what flows back through [`rms_norm`] to x.
pub fn rms_norm_backward(
    d_out: View<'_, f32>,
    x: View<'_, f32>,
    inverse: View<'_, f32>,
    weight: View<'_, bf16>,
    dx: View<'_, f32>,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        d_out: u64,
        x: u64,
        inverse: u64,
        weight: u64,
        dx: u64,
        d: u32,
    }
    let (n, d) = (inverse.len(), weight.len());
    let mut launch = Launch::on(x.device());
    let arguments = Arguments {
        d_out: launch.read(d_out, n * d),
        x: launch.read(x, n * d),
        inverse: launch.read(inverse, inverse.len()),
        weight: launch.read(weight, weight.len()),
        dx: launch.write(dx, n * d),
        d: small(d),
    };
    // SAFETY: n rows of d numbers, by the checks above.
    unsafe { launch.run(Kernel::RmsNormBackward, [n, 1], &arguments) }
}

/// The gradient of [`rms_norm`]'s weight in sums over stretches of rows. Shapes: partial [stretches, d].
pub fn rms_norm_weight(
    d_out: View<'_, f32>,
    x: View<'_, f32>,
    inverse: View<'_, f32>,
    partial: View<'_, f32>,
    d: usize,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        d_out: u64,
        x: u64,
        inverse: u64,
        partial: u64,
        d: u32,
        rows: u32,
        stretch: u32,
    }
    let (n, stretches) = (inverse.len(), partial.len() / d);
    let mut launch = Launch::on(x.device());
    let arguments = Arguments {
        d_out: launch.read(d_out, n * d),
        x: launch.read(x, n * d),
        inverse: launch.read(inverse, inverse.len()),
        partial: launch.write(partial, stretches * d),
        d: small(d),
        rows: small(n),
        stretch: small(n.div_ceil(stretches)),
    };
    // SAFETY: n rows of d numbers, and a partial row for each stretch, by the checks above.
    unsafe { launch.run(Kernel::RmsNormWeight, [d.div_ceil(THREADS), stretches], &arguments) }
}

/// Adds the sum of `partial`'s rows to a gradient.
pub fn add_columns(partial: View<'_, f32>, gradient: Numbers<'_>) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        partial: u64,
        gradient: RawNumbers,
        d: u32,
        stretches: u32,
    }
    let d = gradient.len();
    let stretches = partial.len() / d;
    let mut launch = Launch::on(partial.device());
    let arguments = Arguments {
        partial: launch.read(partial, stretches * d),
        gradient: launch.write_numbers(gradient, gradient.len()),
        d: small(d),
        stretches: small(stretches),
    };
    // SAFETY: rows as long as the gradient, by the check above.
    unsafe { launch.run(Kernel::AddColumns, [d.div_ceil(THREADS), 1], &arguments) }
}
