//! Products of packed panels: tile by tile, in blocks that the caches hold, on all threads.

use super::avx512::{Element, PARTS};
use super::bf16::{Layout, Side};
use super::pack::{self, Order};
use super::{Threads, amx, avx512};
use rayon::prelude::*;
use std::ops::Range;

/// Words of a panel come in stretches of so many.
pub const STRETCH: usize = 16;

/// Rows of tiles that together ask for all words of the next sum: a loop asks for as many as it has
/// itself of a right panel, divided by this.
pub const AHEAD: usize = 8;

/// Who multiplies panels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// bf16 numbers.
    Amx,
    Avx512,
    /// f32 numbers, each of three bf16 parts.
    AmxParts,
}

/// How a kernel's products are cut.
struct Blocking {
    /// Rows and columns of a tile: the widths of panels.
    tile: (usize, usize),
    /// Rows and columns of a task; those panels stay in the second-level cache.
    task: (usize, usize),
    /// The most words of a sum; a left panel of so many stays in the first-level cache.
    most: usize,
    /// Words that a kernel's loop takes at a time.
    unit: usize,
}

impl Kernel {
    fn blocking(self) -> Blocking {
        const AMX: (usize, usize) = (amx::PANEL, amx::PANEL);
        const AVX: (usize, usize) = (avx512::LEFT, avx512::RIGHT);
        match self {
            Self::Amx => Blocking { tile: AMX, task: (8 * AMX.0, 16 * AMX.1), most: 288, unit: STRETCH },
            Self::Avx512 => Blocking { tile: AVX, task: (16 * AVX.0, 10 * AVX.1), most: 256, unit: STRETCH },
            // Nine panels of rows: the second-level cache has room, and the usual widths make an even
            // number of tasks.
            Self::AmxParts => Blocking {
                tile: AMX,
                task: (9 * AMX.0, 16 * AMX.1),
                most: 4 * PARTS * STRETCH,
                unit: PARTS * STRETCH,
            },
        }
    }

    fn order(self, side: Side) -> Order {
        let (left, right) = self.blocking().tile;
        match (self, side) {
            (Self::Amx | Self::AmxParts, Side::Left) => Order::Tiles { width: left },
            (Self::Avx512, Side::Left) => Order::Words { width: left },
            (_, Side::Right) => Order::Words { width: right },
        }
    }
}

/// A factor in the order in which a kernel reads it.
pub struct Panels {
    kernel: Kernel,
    /// Length of the dimension that is not summed.
    outer: usize,
    summed: usize,
    words: Vec<u32>,
}

impl Panels {
    /// The CPU has the kernel; `values` are as long as the layout says.
    pub fn new<T: Element + Sync>(
        kernel: Kernel,
        side: Side,
        values: &[T],
        layout: Layout,
        threads: Threads,
    ) -> Self {
        let Layout { outer, summed, .. } = layout;
        Self { kernel, outer, summed, words: pack::pack(values, layout, kernel.order(side), threads) }
    }
}

/// A part of a product: `rows` x `columns` numbers, those of a row next to each other.
pub struct Tile {
    pub out: *mut f32,
    /// Numbers from a row to the next.
    pub stride: usize,
    pub rows: usize,
    pub columns: usize,
    /// Add to what is there.
    pub accumulate: bool,
}

/// Words of so many summed numbers, zeros included.
pub fn words(summed: usize) -> usize {
    summed.div_ceil(2).next_multiple_of(STRETCH)
}

/// Calls `task` for each index, on all threads or on this one.
pub fn each(tasks: usize, threads: Threads, task: impl Fn(usize) + Send + Sync) {
    if threads == Threads::All && tasks > 1 {
        (0..tasks).into_par_iter().for_each(task);
    } else {
        (0..tasks).for_each(task);
    }
}

/// `n` in stretches of about `most`, each but the last a multiple of `unit`.
pub fn stretches(n: usize, most: usize, unit: usize) -> Vec<Range<usize>> {
    let size = n.div_ceil(n.div_ceil(most).max(1)).next_multiple_of(unit);
    (0..n).step_by(size.max(1)).map(|start| start..n.min(start + size)).collect()
}

/// A place in memory that tasks write to, each its own part.
#[derive(Clone, Copy)]
pub struct Shared<T>(pub *mut T);

// SAFETY: the tasks of one product never touch the same numbers.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

/// out = left·right or, with `accumulate`, out += left·right.
///
/// # Safety
/// `out` has room for the product and, with `accumulate`, holds numbers.
pub unsafe fn multiply_at(left: &Panels, right: &Panels, out: *mut f32, accumulate: bool, threads: Threads) {
    let kernel = left.kernel;
    let Blocking { tile, task, most, unit } = kernel.blocking();
    let words = words(left.summed) / STRETCH * unit;
    let (rows, columns) = (stretches(left.outer, task.0, tile.0), stretches(right.outer, task.1, tile.1));
    let out = Shared(out);
    let mut sums = stretches(words, most, unit);
    if sums.is_empty() {
        // A sum of nothing is still to be written.
        sums.push(Range::default());
    }
    each(rows.len() * columns.len(), threads, |task| {
        // Neighbours share the panels of the longer side, each of which then comes from memory once.
        let (row, column) = match left.outer < right.outer {
            true => (task % rows.len(), task / rows.len()),
            false => (task / columns.len(), task % columns.len()),
        };
        let part =
            Part { rows: &rows[row], columns: &columns[column], tile, words, sums: &sums, out, accumulate };
        // SAFETY: the panels are as long as said, for a kernel of this CPU; a task's part of `out`
        // is its alone.
        unsafe {
            match kernel {
                Kernel::Amx | Kernel::AmxParts => {
                    let tiles = amx::Tiles::new();
                    let sum = if kernel == Kernel::Amx { amx::whole } else { amx::whole_of_parts };
                    part.run(left, right, |words, left, right, ahead, tile| {
                        tiles.multiply(sum, words / unit, left, right, ahead, tile);
                    });
                }
                Kernel::Avx512 => part.run(left, right, |words, left, right, _, tile| {
                    avx512::multiply(words, left, right, tile);
                }),
            }
        }
    });
}

/// What one task computes, and how.
struct Part<'a> {
    rows: &'a Range<usize>,
    columns: &'a Range<usize>,
    tile: (usize, usize),
    /// Of a line of a panel.
    words: usize,
    sums: &'a [Range<usize>],
    out: Shared<f32>,
    accumulate: bool,
}

impl Part<'_> {
    /// Tile by tile, the sums in stretches of words.
    unsafe fn run(
        &self,
        left: &Panels,
        right: &Panels,
        multiply: impl Fn(usize, *const u32, *const u32, *const u32, &Tile),
    ) {
        let (m, n) = (left.outer, right.outer);
        for sum in self.sums {
            let panel = |panels: &Panels, line: usize, width: usize| {
                panels.words[(line / width * self.words + sum.start) * width..][..sum.len() * width].as_ptr()
            };
            for (i, row) in self.rows.clone().step_by(self.tile.0).enumerate() {
                let left = panel(left, row, self.tile.0);
                for column in self.columns.clone().step_by(self.tile.1) {
                    let tile = Tile {
                        out: self.out.at(row * n + column),
                        stride: n,
                        rows: self.tile.0.min(m - row),
                        columns: self.tile.1.min(n - column),
                        accumulate: self.accumulate || sum.start > 0,
                    };
                    let right = panel(right, column, self.tile.1);
                    // The next sum's words: each row of tiles asks for its share of them.
                    let ahead = right.wrapping_add(sum.len() * self.tile.1 * (AHEAD + i) / AHEAD);
                    multiply(sum.len(), left, right, ahead, &tile);
                }
            }
        }
    }
}
