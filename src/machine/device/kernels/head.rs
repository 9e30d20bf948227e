//! Log-probabilities from the head's scores.

use super::{Kernel, Launch, small};
use crate::Result;
use crate::machine::device::View;
use half::bf16;

/// log softmax of each row of scores at its token, and the log of each row's normaliser. A token outside the
/// vocabulary has no number.
///
/// Shapes: scores [n, V]; tokens, logps, normalisers [n].
pub fn head_logps(
    scores: View<'_, f32>,
    tokens: View<'_, u32>,
    logps: View<'_, f32>,
    normalisers: View<'_, f32>,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        scores: u64,
        tokens: u64,
        logps: u64,
        normalisers: u64,
        vocab: u32,
    }
    let n = tokens.len();
    let vocab = scores.len() / n.max(1);
    let mut launch = Launch::on(scores.device());
    let arguments = Arguments {
        scores: launch.read(scores, n * vocab),
        tokens: launch.read(tokens, tokens.len()),
        logps: launch.write(logps, n),
        normalisers: launch.write(normalisers, n),
        vocab: small(vocab),
    };
    // SAFETY: n rows, by the checks above; the kernel compares a token with the vocabulary.
    unsafe { launch.run(Kernel::HeadLogps, [n, 1], &arguments) }
}

/// The gradient of scores from that of [`head_logps`]' result. Shapes: d_scores [n, V].
pub fn head_gradient(
    scores: View<'_, f32>,
    tokens: View<'_, u32>,
    normalisers: View<'_, f32>,
    d_logps: View<'_, f32>,
    d_scores: View<'_, bf16>,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        scores: u64,
        tokens: u64,
        normalisers: u64,
        d_logps: u64,
        d_scores: u64,
        vocab: u32,
    }
    let n = tokens.len();
    let vocab = scores.len() / n.max(1);
    let mut launch = Launch::on(scores.device());
    let arguments = Arguments {
        scores: launch.read(scores, n * vocab),
        tokens: launch.read(tokens, tokens.len()),
        normalisers: launch.read(normalisers, n),
        d_logps: launch.read(d_logps, n),
        d_scores: launch.write(d_scores, n * vocab),
        vocab: small(vocab),
    };
    // SAFETY: n rows, by the checks above.
    unsafe { launch.run(Kernel::HeadGradient, [n, 1], &arguments) }
}
