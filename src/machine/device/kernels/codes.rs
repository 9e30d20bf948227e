//! Log-probabilities under every code, from the scores of states and the biases of codes.

use super::{Kernel, Launch, THREADS, small};
use crate::Result;
use crate::machine::device::View;
use half::bf16;

/// e^(x − largest of its row), each as a bf16 number and what it lacks. Shapes: x, high, low [n, V]; largest [n].
pub fn exponentials(
    x: View<'_, f32>,
    high: View<'_, bf16>,
    low: View<'_, bf16>,
    largest: View<'_, f32>,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        x: u64,
        high: u64,
        low: u64,
        largest: u64,
        vocab: u32,
    }
    let n = largest.len();
    let vocab = x.len() / n.max(1);
    let mut launch = Launch::on(x.device());
    let arguments = Arguments {
        x: launch.read(x, n * vocab),
        high: launch.write(high, n * vocab),
        low: launch.write(low, n * vocab),
        largest: launch.write(largest, n),
        vocab: small(vocab),
    };
    // SAFETY: n rows, by the checks above.
    unsafe { launch.run(Kernel::Exponentials, [n, 1], &arguments) }
}

/// What n states and their tokens are under each of K codes.
///
/// Shapes: scores [n, V], biases [K, V], the largest of their rows [n] and [K], tokens [n]; sums and normalisers
/// [n, K]. A sum of 0 marks a cell whose normaliser was summed term by term.
#[derive(Clone, Copy)]
pub struct Coded<'a> {
    pub scores: View<'a, f32>,
    pub largest: View<'a, f32>,
    pub biases: View<'a, f32>,
    pub bias_largest: View<'a, f32>,
    pub tokens: View<'a, u32>,
    pub sums: View<'a, f32>,
    pub normalisers: View<'a, f32>,
}

/// `struct coded` of the sources.
#[derive(Clone, Copy)]
#[repr(C)]
struct RawCoded {
    places: [u64; 7],
    vocab: u32,
    codes: u32,
}

impl Coded<'_> {
    /// Rows, vocabulary, codes.
    fn sizes(&self) -> [usize; 3] {
        let (n, codes) = (self.tokens.len(), self.bias_largest.len());
        [n, self.biases.len() / codes.max(1), codes]
    }

    fn raw(&self, launch: &mut Launch<'_>, writes: bool) -> RawCoded {
        let [n, vocab, codes] = self.sizes();
        let [sums, normalisers] = [self.sums, self.normalisers].map(|view| match writes {
            true => launch.write(view, n * codes),
            false => launch.read(view, n * codes),
        });
        let places = [
            launch.read(self.scores, n * vocab),
            launch.read(self.largest, n),
            launch.read(self.biases, codes * vocab),
            launch.read(self.bias_largest, codes),
            launch.read(self.tokens, n),
            sums,
            normalisers,
        ];
        RawCoded { places, vocab: small(vocab), codes: small(codes) }
    }
}

/// log softmax of score + bias at the token, under each code; writes the sums and normalisers.
///
/// Shapes: products [n, 2, K], the states' exponentials times the high and the low parts of the biases' → [n, K].
pub fn code_logps(coded: Coded<'_>, products: View<'_, f32>, logps: View<'_, f32>) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        coded: RawCoded,
        products: u64,
        logps: u64,
    }
    let [n, _, codes] = coded.sizes();
    let mut launch = Launch::on(logps.device());
    let arguments = Arguments {
        coded: coded.raw(&mut launch, true),
        products: launch.read(products, 2 * n * codes),
        logps: launch.write(logps, n * codes),
    };
    // SAFETY: n rows, by the checks above; the kernel compares a token with the vocabulary.
    unsafe { launch.run(Kernel::CodeLogps, [n, 1], &arguments) }
}

/// d_logps / sum, 0 where the sum is.
pub fn code_shares(d_logps: View<'_, f32>, sums: View<'_, f32>, shares: View<'_, bf16>) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        d_logps: u64,
        sums: u64,
        shares: u64,
        n: u64,
    }
    let n = shares.len();
    let mut launch = Launch::on(shares.device());
    let arguments = Arguments {
        d_logps: launch.read(d_logps, n),
        sums: launch.read(sums, n),
        shares: launch.write(shares, n),
        n: n as u64,
    };
    // SAFETY: n numbers each, by the checks above.
    unsafe { launch.run(Kernel::CodeShares, [n.div_ceil(THREADS), 1], &arguments) }
}

/// The gradient of scores from that of [`code_logps`]' result [n, K]. `mixed` holds the shares times the biases'
/// exponentials; in their place it gets the scores' exponentials. Shapes: mixed, d_scores [n, V].
pub fn code_gradient(
    coded: Coded<'_>,
    d_logps: View<'_, f32>,
    mixed: View<'_, bf16>,
    d_scores: View<'_, bf16>,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        coded: RawCoded,
        d_logps: u64,
        mixed: u64,
        d_scores: u64,
    }
    let [n, vocab, codes] = coded.sizes();
    let mut launch = Launch::on(mixed.device());
    let arguments = Arguments {
        coded: coded.raw(&mut launch, false),
        d_logps: launch.read(d_logps, n * codes),
        mixed: launch.write(mixed, n * vocab),
        d_scores: launch.write(d_scores, n * vocab),
    };
    // SAFETY: n rows, by the checks above.
    unsafe { launch.run(Kernel::CodeGradient, [n, 1], &arguments) }
}

/// Adds to the biases' gradient [V, K] what cells give that were summed term by term.
pub fn code_terms(coded: Coded<'_>, d_logps: View<'_, f32>, d_biases: View<'_, f32>) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        coded: RawCoded,
        d_logps: u64,
        d_biases: u64,
        rows: u32,
    }
    let [n, vocab, codes] = coded.sizes();
    let mut launch = Launch::on(d_biases.device());
    let arguments = Arguments {
        coded: coded.raw(&mut launch, false),
        d_logps: launch.read(d_logps, n * codes),
        d_biases: launch.write(d_biases, vocab * codes),
        rows: small(n),
    };
    // SAFETY: n rows, and the vocabulary's numbers, by the checks above.
    unsafe { launch.run(Kernel::CodeTerms, [vocab.div_ceil(THREADS), 1], &arguments) }
}

/// Takes from the biases' gradient [V, K] their exponentials [K, V] times `summed` [V, K].
pub fn code_biases(
    [high, low]: [View<'_, bf16>; 2],
    summed: View<'_, f32>,
    d_biases: View<'_, f32>,
    codes: usize,
) -> Result<()> {
    #[repr(C)]
    struct Arguments {
        high: u64,
        low: u64,
        summed: u64,
        d_biases: u64,
        vocab: u32,
        codes: u32,
    }
    let n = d_biases.len();
    let vocab = n / codes.max(1);
    let mut launch = Launch::on(d_biases.device());
    let arguments = Arguments {
        high: launch.read(high, codes * vocab),
        low: launch.read(low, codes * vocab),
        summed: launch.read(summed, codes * vocab),
        d_biases: launch.write(d_biases, codes * vocab),
        vocab: small(vocab),
        codes: small(codes),
    };
    // SAFETY: as many numbers each, by the checks above.
    unsafe { launch.run(Kernel::CodeBiases, [vocab.div_ceil(THREADS), 1], &arguments) }
}
