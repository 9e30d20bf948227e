//! Products of factors rounded to bf16, summed in f32: half the bytes and a multiple of the rate of
//! f32 where the CPU multiplies bf16, the same rounding by other means where it does not.

#[cfg(target_arch = "x86_64")]
use super::panels::{self, Kernel, Panels};
use super::{Matrix, Threads, product_at};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx512};
use half::bf16;

/// Numbers of a factor.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// Who multiplies: what this CPU has decides, and the results of different ones differ in their
/// last digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Rounded factors, multiplied in f32.
    Rounding,
}

/// A factor made ready: rounded, and in the order in which a product reads it.
pub struct Factor {
    /// Length of the dimension that is not summed.
    outer: usize,
    summed: usize,
    engine: Engine,
    ready: Ready,
}

enum Ready {
    #[cfg(target_arch = "x86_64")]
    Panels(Panels),
    /// [outer, summed].
    Rounded(Vec<f32>),
}

#[derive(Clone, Copy)]
pub(super) enum Side {
    Left,
    Right,
}

/// How a factor lies in memory.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub outer: usize,
    pub summed: usize,
    /// Numbers that follow each other in memory follow each other in the sum.
    pub along: bool,
}

impl Engine {
    /// The fastest of this CPU.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if amx::available() {
            return Self::Amx;
        } else if avx512::available() {
            return Self::Avx512;
        }
        Self::Rounding
    }

    /// What it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx => "AMX",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
            Self::Rounding => "f32 of rounded factors",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn ready(self, side: Side, numbers: Numbers<'_>, layout: Layout, threads: Threads) -> Ready {
        let kernel = match self {
            Self::Amx => Kernel::Amx,
            Self::Avx512 => Kernel::Avx512,
            Self::Rounding => return Ready::Rounded(rounded(numbers, layout)),
        };
        Ready::Panels(match numbers {
            Numbers::F32(values) => Panels::new(kernel, side, values, layout, threads),
            Numbers::Bf16(values) => Panels::new(kernel, side, values, layout, threads),
        })
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn ready(self, _: Side, numbers: Numbers<'_>, layout: Layout, _: Threads) -> Ready {
        Ready::Rounded(rounded(numbers, layout))
    }
}

impl Factor {
    pub fn outer(&self) -> usize {
        self.outer
    }

    /// `a` of a·b, from its [rows, summed] numbers, or with `transposed` from [summed, rows].
    pub fn left(a: Numbers<'_>, rows: usize, summed: usize, transposed: bool, threads: Threads) -> Self {
        Self::left_for(Engine::best(), a, Layout { outer: rows, summed, along: !transposed }, threads)
    }

    /// `b` of a·b, from its [summed, columns] numbers, or with `transposed` from [columns, summed].
    pub fn right(b: Numbers<'_>, summed: usize, columns: usize, transposed: bool, threads: Threads) -> Self {
        Self::right_for(Engine::best(), b, Layout { outer: columns, summed, along: transposed }, threads)
    }

    fn left_for(engine: Engine, a: Numbers<'_>, layout: Layout, threads: Threads) -> Self {
        Self::new(engine, Side::Left, a, layout, threads)
    }

    fn right_for(engine: Engine, b: Numbers<'_>, layout: Layout, threads: Threads) -> Self {
        Self::new(engine, Side::Right, b, layout, threads)
    }

    fn new(engine: Engine, side: Side, numbers: Numbers<'_>, layout: Layout, threads: Threads) -> Self {
        let Layout { outer, summed, .. } = layout;
        let len = match numbers {
            Numbers::F32(values) => values.len(),
            Numbers::Bf16(values) => values.len(),
        };
        assert_eq!(len, outer * summed, "factor of {outer} x {summed}");
        let ready = engine.ready(side, numbers, layout, threads);
        Self { outer, summed, engine, ready }
    }
}

/// out = a·b or, with `accumulate`, out += a·b. The result does not depend on the number of threads.
///
/// # Safety
/// It has room for the product and, with `accumulate`, holds numbers.
pub(super) unsafe fn multiply_at(a: &Factor, b: &Factor, out: *mut f32, accumulate: bool, threads: Threads) {
    assert_eq!((a.summed, a.engine), (b.summed, b.engine), "inner dimensions");
    // SAFETY: the caller's.
    unsafe {
        match (&a.ready, &b.ready) {
            (Ready::Rounded(left), Ready::Rounded(right)) => {
                let left = Matrix::new(left, a.outer, a.summed);
                let right = Matrix::new(right, b.outer, b.summed);
                product_at(left, right.t(), out, b.outer, accumulate, threads);
            }
            #[cfg(target_arch = "x86_64")]
            (Ready::Panels(left), Ready::Panels(right)) => {
                panels::multiply_at(left, right, out, accumulate, threads);
            }
            #[cfg(target_arch = "x86_64")]
            _ => unreachable!("factors of one engine"),
        }
    }
}

/// The factor as [outer, summed] in f32, each number rounded to bf16.
fn rounded(numbers: Numbers<'_>, Layout { outer, summed, along }: Layout) -> Vec<f32> {
    let at = |i: usize| match numbers {
        Numbers::F32(values) => bf16::from_f32(values[i]).to_f32(),
        Numbers::Bf16(values) => values[i].to_f32(),
    };
    let index = |o: usize, s: usize| if along { o * summed + s } else { s * outer + o };
    (0..outer).flat_map(|o| (0..summed).map(move |s| at(index(o, s)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    /// out + a·b by definition, in f64.
    fn expected(a: &[f32], b: &[f32], out: &[f32], (m, k, n): (usize, usize, usize)) -> Vec<f64> {
        let round = |x: f32| bf16::from_f32(x).to_f64();
        let cell = |i: usize, j: usize| {
            let terms = (0..k).map(|p| round(a[i * k + p]) * round(b[p * n + j]));
            f64::from(out[i * n + j]) + terms.sum::<f64>()
        };
        (0..m * n).map(|at| cell(at / n, at % n)).collect()
    }

    fn multiply(a: &Factor, b: &Factor, out: &mut [f32], accumulate: bool, threads: Threads) {
        assert_eq!(out.len(), a.outer * b.outer);
        // SAFETY: `out` has room for the product.
        unsafe { multiply_at(a, b, out.as_mut_ptr(), accumulate, threads) }
    }

    /// All that this CPU has.
    fn engines() -> Vec<Engine> {
        let mut engines = vec![Engine::Rounding];
        #[cfg(target_arch = "x86_64")]
        {
            engines.extend(avx512::available().then_some(Engine::Avx512));
            engines.extend(amx::available().then_some(Engine::Amx));
        }
        engines
    }

    fn transposed<T: Copy>(x: &[T], rows: usize) -> Vec<T> {
        let columns = x.len() / rows;
        (0..x.len()).map(|at| x[at % rows * columns + at / rows]).collect()
    }

    /// Sizes around a tile's, a block's and a stretch's; both layouts, both kinds of numbers; what
    /// this CPU has and what one without bf16 does.
    #[test]
    fn a_product_is_that_of_the_rounded_factors() {
        let sizes = [
            (1, 1, 1),
            (5, 3, 7),
            (8, 2, 48),
            (9, 33, 49),
            (17, 64, 100),
            (3, 0, 4),
            (32, 32, 64),
            (130, 513, 481),
            (300, 1300, 70),
        ];
        for (case, size @ (m, k, n)) in sizes.into_iter().enumerate() {
            let mut rng = seed::stream(case as u64, "gemm");
            let mut draw =
                |len| -> Vec<f32> { seed::normal(&mut rng, len).iter().map(|&x| x as f32).collect() };
            let (a, b, before) = (draw(m * k), draw(k * n), draw(m * n));
            let halves = |x: &[f32]| -> Vec<bf16> { x.iter().map(|&x| bf16::from_f32(x)).collect() };
            for layout in 0..8 {
                let [turn_a, turn_b, accumulate] = [1, 2, 4].map(|bit| layout & bit != 0);
                let lay = |x: &[f32], turn: bool, rows| {
                    if turn && rows > 0 { transposed(x, rows) } else { x.to_vec() }
                };
                let (a_laid, b_laid) = (lay(&a, turn_a, m), lay(&b, turn_b, k));
                let (a_half, b_half) = (halves(&a_laid), halves(&b_laid));
                let start = if accumulate { before.clone() } else { vec![0.0; m * n] };
                let expected = expected(&a, &b, &start, size);
                for (a_numbers, b_numbers) in [
                    (Numbers::F32(&a_laid), Numbers::F32(&b_laid)),
                    (Numbers::Bf16(&a_half), Numbers::Bf16(&b_half)),
                ] {
                    let run = |engine, threads| {
                        let layout = Layout { outer: m, summed: k, along: !turn_a };
                        let left = Factor::left_for(engine, a_numbers, layout, threads);
                        let layout = Layout { outer: n, summed: k, along: turn_b };
                        let right = Factor::right_for(engine, b_numbers, layout, threads);
                        // What is not accumulated on must not be read.
                        let mut out = if accumulate { before.clone() } else { vec![f32::NAN; m * n] };
                        multiply(&left, &right, &mut out, accumulate, threads);
                        out
                    };
                    for engine in engines() {
                        let all = run(engine, Threads::All);
                        assert_eq!(all, run(engine, Threads::One), "{size:?}, {engine:?}: threads");
                        for (got, expected) in all.iter().zip(&expected) {
                            let allowed = 1e-5 * (1.0 + k as f64).sqrt();
                            let off = (f64::from(*got) - expected).abs();
                            assert!(
                                off < allowed,
                                "{size:?}, layout {layout}, {engine:?}: {got}, {expected}"
                            );
                        }
                    }
                }
            }
        }
    }
}
