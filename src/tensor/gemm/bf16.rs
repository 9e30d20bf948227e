//! Products of factors rounded to bf16, summed in f32: half the bytes and a multiple of the rate of
//! f32 where the CPU multiplies bf16, the same rounding by other means where it does not.

use super::{Matrix, Threads, product_at};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx512, pack};
use half::bf16;
use rayon::prelude::*;
use std::ops::Range;

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
    /// Words of two numbers; see [`Order`].
    Words(Vec<u32>),
    /// [outer, summed].
    Rounded(Vec<f32>),
}

/// How a factor lies in memory.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub outer: usize,
    pub summed: usize,
    /// Numbers that follow each other in memory follow each other in the sum.
    pub along: bool,
}

/// The order of a factor's words in panels of some rows (or columns), zeros where they end.
#[derive(Clone, Copy)]
pub(super) enum Order {
    /// [panels][words][width].
    Words { width: usize },
    /// [panels][words / 16][width][16].
    Tiles { width: usize },
}

/// Words of a panel come in stretches of so many.
pub(super) const STRETCH: usize = 16;

/// A part of a product: `rows` x `columns` numbers, those of a row next to each other.
pub(super) struct Tile {
    pub out: *mut f32,
    /// Numbers from a row to the next.
    pub stride: usize,
    pub rows: usize,
    pub columns: usize,
    /// Add to what is there.
    pub accumulate: bool,
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
        let order = match engine {
            #[cfg(target_arch = "x86_64")]
            Engine::Amx => Some(Order::Tiles { width: amx::PANEL }),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 => Some(Order::Words { width: avx512::LEFT }),
            Engine::Rounding => None,
        };
        Self::new(engine, a, layout, order, threads)
    }

    fn right_for(engine: Engine, b: Numbers<'_>, layout: Layout, threads: Threads) -> Self {
        let order = match engine {
            #[cfg(target_arch = "x86_64")]
            Engine::Amx => Some(Order::Words { width: amx::PANEL }),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 => Some(Order::Words { width: avx512::RIGHT }),
            Engine::Rounding => None,
        };
        Self::new(engine, b, layout, order, threads)
    }

    fn new(
        engine: Engine,
        numbers: Numbers<'_>,
        layout: Layout,
        order: Option<Order>,
        threads: Threads,
    ) -> Self {
        let Layout { outer, summed, .. } = layout;
        let len = match numbers {
            Numbers::F32(values) => values.len(),
            Numbers::Bf16(values) => values.len(),
        };
        assert_eq!(len, outer * summed, "factor of {outer} x {summed}");
        let ready = match order {
            Some(order) => Ready::Words(packed(numbers, layout, order, threads)),
            None => Ready::Rounded(rounded(numbers, layout)),
        };
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
                product_at(left, right.t(), out, accumulate, threads);
            }
            (Ready::Words(left), Ready::Words(right)) => {
                let product = Product { m: a.outer, n: b.outer, words: words(a.summed), left, right };
                product.run(a.engine, out, accumulate, threads);
            }
            _ => unreachable!("factors of one engine"),
        }
    }
}

/// Words of so many summed numbers, zeros included.
pub(super) fn words(summed: usize) -> usize {
    summed.div_ceil(2).next_multiple_of(STRETCH)
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

/// Calls `task` for each index, on all threads or on this one.
pub(super) fn each(tasks: usize, threads: Threads, task: impl Fn(usize) + Send + Sync) {
    if threads == Threads::All && tasks > 1 {
        (0..tasks).into_par_iter().for_each(task);
    } else {
        (0..tasks).for_each(task);
    }
}

/// `n` in stretches of about `most`, each but the last a multiple of `unit`.
pub(super) fn stretches(n: usize, most: usize, unit: usize) -> Vec<Range<usize>> {
    let size = n.div_ceil(n.div_ceil(most).max(1)).next_multiple_of(unit);
    (0..n).step_by(size.max(1)).map(|start| start..n.min(start + size)).collect()
}

/// A place in memory that tasks write to, each its own part.
#[derive(Clone, Copy)]
pub(super) struct Shared<T>(pub *mut T);

// SAFETY: the tasks of one product never touch the same numbers.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

/// [m, n] numbers from panels of `words` words.
struct Product<'a> {
    m: usize,
    n: usize,
    words: usize,
    left: &'a [u32],
    right: &'a [u32],
}

#[cfg(not(target_arch = "x86_64"))]
fn packed(_: Numbers<'_>, _: Layout, _: Order, _: Threads) -> Vec<u32> {
    unreachable!("only made where the CPU reads them")
}

#[cfg(not(target_arch = "x86_64"))]
impl Product<'_> {
    unsafe fn run(&self, _: Engine, _: *mut f32, _: bool, _: Threads) {
        unreachable!("only made where the CPU reads them")
    }
}

#[cfg(target_arch = "x86_64")]
fn packed(numbers: Numbers<'_>, layout: Layout, order: Order, threads: Threads) -> Vec<u32> {
    match numbers {
        Numbers::F32(values) => pack::pack(values, layout, order, threads),
        Numbers::Bf16(values) => pack::pack(values, layout, order, threads),
    }
}

#[cfg(target_arch = "x86_64")]
impl Product<'_> {
    /// # Safety
    /// As [`multiply_at`]; the panels are the engine's, and this CPU has it.
    unsafe fn run(&self, engine: Engine, out: *mut f32, accumulate: bool, threads: Threads) {
        // A left panel of so many words stays in the first-level cache, the columns of a task in
        // the second.
        let (width, task, most) = match engine {
            Engine::Amx => ((amx::PANEL, amx::PANEL), (8 * amx::PANEL, 16 * amx::PANEL), 288),
            _ => ((avx512::LEFT, avx512::RIGHT), (16 * avx512::LEFT, 10 * avx512::RIGHT), 256),
        };
        let (rows, columns) = (stretches(self.m, task.0, width.0), stretches(self.n, task.1, width.1));
        let out = Shared(out);
        let mut sums = stretches(self.words, most, STRETCH);
        if sums.is_empty() {
            // A sum of nothing is still to be written.
            sums.push(Range::default());
        }
        each(rows.len() * columns.len(), threads, |task| {
            let part = (rows[task / columns.len()].clone(), columns[task % columns.len()].clone());
            // SAFETY: the panels are as long as said; a task's part of `out` is its alone.
            unsafe {
                match engine {
                    Engine::Amx => {
                        let tiles = amx::Tiles::new();
                        self.part(&part, width, &sums, out, accumulate, |words, left, right, tile| {
                            tiles.multiply(words, left, right, tile);
                        });
                    }
                    _ => self.part(&part, width, &sums, out, accumulate, |words, left, right, tile| {
                        avx512::multiply(words, left, right, tile);
                    }),
                }
            }
        });
    }

    /// Some rows and columns, tile by tile, the sums in stretches of words.
    unsafe fn part(
        &self,
        (rows, columns): &(Range<usize>, Range<usize>),
        width: (usize, usize),
        sums: &[Range<usize>],
        out: Shared<f32>,
        accumulate: bool,
        multiply: impl Fn(usize, *const u32, *const u32, &Tile),
    ) {
        for sum in sums {
            let panel = |panels: &[u32], line: usize, width: usize| {
                panels[(line / width * self.words + sum.start) * width..][..sum.len() * width].as_ptr()
            };
            for row in rows.clone().step_by(width.0) {
                let left = panel(self.left, row, width.0);
                for column in columns.clone().step_by(width.1) {
                    let tile = Tile {
                        out: out.at(row * self.n + column),
                        stride: self.n,
                        rows: width.0.min(self.m - row),
                        columns: width.1.min(self.n - column),
                        accumulate: accumulate || sum.start > 0,
                    };
                    multiply(sum.len(), left, panel(self.right, column, width.1), &tile);
                }
            }
        }
    }
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
