//! Factors into panels of words: rounded to bf16, or split into bf16 parts, and put in the order in
//! which a product reads them.

use super::Threads;
use super::avx512::{BLOCK, Element, by_line, by_word, store, store_half, transposed};
use super::bf16::Layout;
use super::panels::{STRETCH, Shared, each, stretches, words};
use std::ops::Range;

/// The order of a factor's words in panels of some rows (or columns), zeros where they end.
#[derive(Clone, Copy)]
pub enum Order {
    /// [panels][words / 16][parts][16][width].
    Words { width: usize },
    /// [panels][words / 16][parts][width][16].
    Tiles { width: usize },
}

/// Lines (rows of a left factor, columns of a right one) are packed in blocks of 16 by 16 words, so
/// that numbers that lie across the sum are read as vectors too.
pub fn pack<T: Element + Sync>(values: &[T], layout: Layout, order: Order, threads: Threads) -> Vec<u32> {
    let Layout { outer, summed, .. } = layout;
    let len = outer.next_multiple_of(order.width()) * words(summed) * T::PARTS;
    let mut packed: Vec<u32> = Vec::with_capacity(len);
    let to = Shared(packed.as_mut_ptr());
    // Whole panels of every width, and whole blocks.
    let tasks = stretches(outer, (1 << 16) / summed.max(1) + 1, 96);
    each(tasks.len(), threads, |task| {
        // SAFETY: panels exist where the CPU reads them; these lines' words are this task's alone.
        unsafe { lines(values, layout, order, tasks[task].clone(), to) }
    });
    // SAFETY: the tasks wrote every word of every panel.
    unsafe { packed.set_len(len) };
    packed
}

/// Packs some lines, whole panels of them or all that are left.
///
/// # Safety
/// `to` has room for the factor; the CPU is [`super::avx512::available`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn lines<T: Element>(
    values: &[T],
    layout: Layout,
    order: Order,
    range: Range<usize>,
    to: Shared<u32>,
) {
    let Layout { outer, summed, along } = layout;
    let (width, words) = (order.width(), words(summed));
    let panel = |line: usize| line / width * words * T::PARTS * width;
    let at = |offset: usize| values.as_ptr().wrapping_add(offset);
    // Up to the end of the last panel, zeros behind the last line.
    let padded = if range.end == outer { range.end.next_multiple_of(width) } else { range.end };
    for line in (range.start..padded).step_by(BLOCK) {
        let real = range.end.saturating_sub(line).min(BLOCK);
        for (word, part) in (0..words).step_by(STRETCH).flat_map(|w| (0..T::PARTS).map(move |p| (w, p))) {
            let n = summed.saturating_sub(2 * word).min(2 * STRETCH);
            // SAFETY: `real` lines of `n` numbers of `values`.
            let block = unsafe {
                match along {
                    true => by_line(at(line * summed + 2 * word), part, summed, real, n),
                    false => by_word(at(2 * word * outer + line), part, outer, real, n),
                }
            };
            let block = if along == order.by_line() { block } else { transposed(block) };
            // Words of a line before these.
            let before = word * T::PARTS + part * STRETCH;
            for (i, vector) in block.into_iter().enumerate() {
                match order {
                    Order::Tiles { .. } => {
                        let start = panel(line) + before * width + (line % width + i) * STRETCH;
                        // SAFETY: inside the panel.
                        unsafe { store(vector, to.at(start)) };
                    }
                    Order::Words { .. } if width >= BLOCK => {
                        let start = panel(line) + (before + i) * width + line % width;
                        // SAFETY: as above.
                        unsafe { store(vector, to.at(start)) };
                    }
                    // A block is part of two narrow panels, the second of which need not exist.
                    Order::Words { .. } => {
                        for (half, line) in [line, line + width].into_iter().enumerate() {
                            if line < padded {
                                let start = panel(line) + (before + i) * width;
                                // SAFETY: as above.
                                unsafe { store_half(vector, half, to.at(start)) };
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Order {
    fn width(self) -> usize {
        match self {
            Self::Words { width } | Self::Tiles { width } => width,
        }
    }

    /// Does it keep a line's words together?
    fn by_line(self) -> bool {
        matches!(self, Self::Tiles { .. })
    }
}
