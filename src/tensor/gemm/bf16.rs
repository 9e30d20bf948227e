//! Products of factors rounded to bf16, summed in f32: half the bytes and twice the rate of f32
//! where the CPU multiplies bf16, the same rounding by other means where it does not.

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::{Matrix, Threads, product_at};
use half::bf16;
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a left panel and columns of a right one: 24 vectors of sums, the most that leave room
/// for their factors among 32 registers.
pub(super) const LEFT: usize = 8;
pub(super) const RIGHT: usize = 48;

/// Words summed before a tile goes back to memory: a left panel of them stays in the first-level
/// cache, [`COLUMNS`] of the right factor in the second.
const WORDS: usize = 256;
const COLUMNS: usize = 10 * RIGHT;
const ROWS: usize = 16 * LEFT;

/// Numbers of a factor.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// A factor made ready: rounded, and in the order in which a product reads it.
pub struct Factor {
    /// Length of the dimension that is not summed.
    outer: usize,
    summed: usize,
    kind: Kind,
}

enum Kind {
    /// [panels][words][width]
    Panels { words: Vec<u32>, width: usize },
    /// Rounded numbers, [outer, summed].
    Rounded(Vec<f32>),
}

/// How a factor lies in memory.
#[derive(Clone, Copy)]
struct Layout {
    outer: usize,
    summed: usize,
    /// Numbers that follow each other in memory follow each other in the sum.
    along: bool,
}

/// Does this CPU multiply bf16 itself?
pub(crate) fn in_hardware() -> bool {
    #[cfg(target_arch = "x86_64")]
    return avx512::available();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

impl Factor {
    pub fn outer(&self) -> usize {
        self.outer
    }

    /// `a` of a·b, from its [rows, summed] numbers, or with `transposed` from [summed, rows].
    pub fn left(a: Numbers<'_>, rows: usize, summed: usize, transposed: bool, threads: Threads) -> Self {
        Self::new(a, Layout { outer: rows, summed, along: !transposed }, LEFT, threads)
    }

    /// `b` of a·b, from its [summed, columns] numbers, or with `transposed` from [columns, summed].
    pub fn right(b: Numbers<'_>, summed: usize, columns: usize, transposed: bool, threads: Threads) -> Self {
        Self::new(b, Layout { outer: columns, summed, along: transposed }, RIGHT, threads)
    }

    fn new(numbers: Numbers<'_>, layout: Layout, width: usize, threads: Threads) -> Self {
        let Layout { outer, summed, .. } = layout;
        let len = match numbers {
            Numbers::F32(values) => values.len(),
            Numbers::Bf16(values) => values.len(),
        };
        assert_eq!(len, outer * summed, "factor of {outer} x {summed}");
        let kind = if in_hardware() {
            Kind::Panels { words: panels(numbers, layout, width, threads), width }
        } else {
            Kind::Rounded(rounded(numbers, layout))
        };
        Self { outer, summed, kind }
    }
}

/// out = a·b or, with `accumulate`, out += a·b. The result does not depend on the number of threads.
pub(crate) fn multiply(a: &Factor, b: &Factor, out: &mut [f32], accumulate: bool, threads: Threads) {
    assert_eq!(out.len(), a.outer * b.outer, "product of {} x {}", a.outer, b.outer);
    // SAFETY: `out` has room for the product.
    unsafe { multiply_at(a, b, out.as_mut_ptr(), accumulate, threads) }
}

/// [`multiply`] to a place.
///
/// # Safety
/// It has room for the product and, with `accumulate`, holds numbers.
pub(super) unsafe fn multiply_at(a: &Factor, b: &Factor, out: *mut f32, accumulate: bool, threads: Threads) {
    assert_eq!(a.summed, b.summed, "inner dimensions");
    // SAFETY: the caller's.
    unsafe {
        match (&a.kind, &b.kind) {
            (Kind::Rounded(left), Kind::Rounded(right)) => {
                let left = Matrix::new(left, a.outer, a.summed);
                let right = Matrix::new(right, b.outer, b.summed);
                product_at(left, right.t(), out, accumulate, threads);
            }
            (Kind::Panels { words: left, width: LEFT }, Kind::Panels { words: right, width: RIGHT }) => {
                tiles(a, left, b, right, out, accumulate, threads);
            }
            _ => unreachable!("a left factor times a right one, of one CPU"),
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

/// Calls `task` for each index, on all threads or on this one.
fn each(tasks: usize, threads: Threads, task: impl Fn(usize) + Send + Sync) {
    if threads == Threads::All && tasks > 1 {
        (0..tasks).into_par_iter().for_each(task);
    } else {
        (0..tasks).for_each(task);
    }
}

/// `n` in stretches of about `most`, each but the last a multiple of `unit`.
fn stretches(n: usize, most: usize, unit: usize) -> Vec<Range<usize>> {
    let size = n.div_ceil(n.div_ceil(most).max(1)).next_multiple_of(unit);
    (0..n).step_by(size.max(1)).map(|start| start..n.min(start + size)).collect()
}

/// A place in memory that tasks write to, each its own part.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);

// SAFETY: the tasks of one product never touch the same numbers.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn panels(_: Numbers<'_>, _: Layout, _: usize, _: Threads) -> Vec<u32> {
    unreachable!("only made where the CPU reads them")
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn tiles(_: &Factor, _: &[u32], _: &Factor, _: &[u32], _: *mut f32, _: bool, _: Threads) {
    unreachable!("only made where the CPU reads them")
}

#[cfg(target_arch = "x86_64")]
fn panels(numbers: Numbers<'_>, layout: Layout, width: usize, threads: Threads) -> Vec<u32> {
    match numbers {
        Numbers::F32(values) => panels_of(values, layout, width, threads),
        Numbers::Bf16(values) => panels_of(values, layout, width, threads),
    }
}

#[cfg(target_arch = "x86_64")]
fn panels_of<T: avx512::Element + Sync>(
    values: &[T],
    Layout { outer, summed, along }: Layout,
    width: usize,
    threads: Threads,
) -> Vec<u32> {
    use avx512::{BLOCK, words_across, words_along};
    let words = summed.div_ceil(2);
    let len = outer.div_ceil(width) * words * width;
    let mut packed: Vec<u32> = Vec::with_capacity(len);
    let to = Shared(packed.as_mut_ptr());
    // Whole panels, and whole blocks of both kinds: 48 lines.
    let lines = stretches(outer, (1 << 16) / summed.max(1) + 1, RIGHT);
    // Where the word of a line lies.
    let place = move |line: usize, word: usize| ((line / width) * words + word) * width + line % width;
    each(lines.len(), threads, |task| {
        let Range { start, end } = lines[task].clone();
        // Lines up to the end of the last panel, zeros behind the last line.
        let padded = if end == outer { end.next_multiple_of(width) } else { end };
        for line in (start..padded).step_by(BLOCK) {
            let real = end.saturating_sub(line).min(BLOCK);
            // A block is part of one right panel, or of one or two left ones.
            let wide = width.min(BLOCK).min(padded - line);
            let parts = (padded - line).min(BLOCK) / wide;
            let put = |word: usize, block: &[u32; BLOCK]| {
                for part in 0..parts {
                    let at = to.at(place(line + part * wide, word));
                    // SAFETY: inside `len`: the panels of these lines, which no other task writes.
                    unsafe { std::ptr::copy_nonoverlapping(block[part * wide..].as_ptr(), at, wide) };
                }
            };
            if along {
                for word in (0..words).step_by(BLOCK) {
                    let n = (summed - 2 * word).min(2 * BLOCK);
                    // SAFETY: `real` lines of `n` numbers of `values`; panels exist where the CPU reads them.
                    let from = unsafe {
                        words_along(values.as_ptr().wrapping_add(line * summed + 2 * word), summed, real, n)
                    };
                    (word..words).zip(&from).for_each(|(word, block)| put(word, block));
                }
            } else {
                for word in 0..words {
                    let row = values.as_ptr().wrapping_add(2 * word * outer + line);
                    let next = (2 * word + 1 < summed).then(|| row.wrapping_add(outer));
                    // SAFETY: `real` numbers of one or two rows of `values`.
                    put(word, &unsafe { words_across(row, next, real) });
                }
            }
        }
    });
    // SAFETY: the tasks wrote every word of every panel.
    unsafe { packed.set_len(len) };
    packed
}

/// As [`multiply_at`].
#[cfg(target_arch = "x86_64")]
unsafe fn tiles(
    a: &Factor,
    left: &[u32],
    b: &Factor,
    right: &[u32],
    out: *mut f32,
    accumulate: bool,
    threads: Threads,
) {
    let (m, n, words) = (a.outer, b.outer, a.summed.div_ceil(2));
    if words == 0 && !accumulate {
        // SAFETY: the caller's.
        unsafe { std::ptr::write_bytes(out, 0, m * n) };
    }
    let (rows, columns) = (stretches(m, ROWS, LEFT), stretches(n, COLUMNS, RIGHT));
    let out = Shared(out);
    each(rows.len() * columns.len(), threads, |task| {
        let (rows, columns) = (rows[task / columns.len()].clone(), columns[task % columns.len()].clone());
        for from in (0..words).step_by(WORDS) {
            let some = WORDS.min(words - from);
            for row in rows.clone().step_by(LEFT) {
                let left = &left[(row / LEFT * words + from) * LEFT..][..some * LEFT];
                for column in columns.clone().step_by(RIGHT) {
                    let right = &right[(column / RIGHT * words + from) * RIGHT..][..some * RIGHT];
                    let size = (LEFT.min(m - row), RIGHT.min(n - column));
                    let at = out.at(row * n + column);
                    let add = accumulate || from > 0;
                    // SAFETY: the panels are as long as said; the tile lies inside `out` and is this task's alone.
                    unsafe { avx512::tile(some, left.as_ptr(), right.as_ptr(), at, n, size, add) };
                }
            }
        }
    });
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

    fn transposed<T: Copy>(x: &[T], rows: usize) -> Vec<T> {
        let columns = x.len() / rows;
        (0..x.len()).map(|at| x[at % rows * columns + at / rows]).collect()
    }

    /// Sizes around a tile's, a block's and a stretch's; both layouts, both kinds of numbers; what
    /// this CPU has and what one without bf16 does.
    #[test]
    fn a_product_is_that_of_the_rounded_factors() {
        let sizes =
            [(1, 1, 1), (5, 3, 7), (8, 2, 48), (9, 33, 49), (17, 64, 100), (3, 0, 4), (130, 513, 481)];
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
                    let packed = |threads| {
                        let left = Factor::left(a_numbers, m, k, turn_a, threads);
                        (left, Factor::right(b_numbers, k, n, turn_b, threads))
                    };
                    let without = (
                        Layout { outer: m, summed: k, along: !turn_a },
                        Layout { outer: n, summed: k, along: turn_b },
                    );
                    let by_rounding = |numbers, layout: Layout| Factor {
                        outer: layout.outer,
                        summed: layout.summed,
                        kind: Kind::Rounded(rounded(numbers, layout)),
                    };
                    let emulated = (by_rounding(a_numbers, without.0), by_rounding(b_numbers, without.1));
                    let run = |(left, right): &(Factor, Factor), threads| {
                        // What is not accumulated on must not be read.
                        let mut out = if accumulate { before.clone() } else { vec![f32::NAN; m * n] };
                        multiply(left, right, &mut out, accumulate, threads);
                        out
                    };
                    let all = run(&packed(Threads::All), Threads::All);
                    assert_eq!(all, run(&packed(Threads::One), Threads::One), "{size:?}: threads");
                    for (got, what) in [(all, "packed"), (run(&emulated, Threads::All), "rounded")] {
                        for (got, expected) in got.iter().zip(&expected) {
                            let allowed = 1e-5 * (1.0 + k as f64).sqrt();
                            let off = (f64::from(*got) - expected).abs();
                            assert!(off < allowed, "{size:?}, layout {layout}, {what}: {got}, {expected}");
                        }
                    }
                }
            }
        }
    }
}
