//! Factors into panels of words: rounded to bf16 and put in the order in which a product reads them.

use super::Threads;
use super::avx512::{BLOCK, Element, by_line, by_word, store, transposed};
use super::bf16::{Layout, Order, STRETCH, Shared, each, stretches, words};

/// Lines (rows of a left factor, columns of a right one) are packed in blocks of 16 by 16 words, so
/// that numbers that lie across the sum are read as vectors too.
pub fn pack<T: Element + Sync>(values: &[T], layout: Layout, order: Order, threads: Threads) -> Vec<u32> {
    let Layout { outer, summed, along } = layout;
    let width = order.width();
    let len = outer.next_multiple_of(width) * words(summed);
    let mut packed: Vec<u32> = Vec::with_capacity(len);
    let to = Shared(packed.as_mut_ptr());
    let panel = |line: usize| line / width * words(summed) * width;
    // Whole panels of every width, and whole blocks.
    let lines = stretches(outer, (1 << 16) / summed.max(1) + 1, 96);
    each(lines.len(), threads, |task| {
        let range = lines[task].clone();
        // Lines up to the end of the last panel, zeros behind the last line.
        let padded = if range.end == outer { range.end.next_multiple_of(width) } else { range.end };
        for line in (range.start..padded).step_by(BLOCK) {
            let real = range.end.saturating_sub(line).min(BLOCK);
            let some = (padded - line).min(BLOCK);
            for word in (0..words(summed)).step_by(STRETCH) {
                let n = summed.saturating_sub(2 * word).min(2 * STRETCH);
                let at = |offset| values.as_ptr().wrapping_add(offset);
                // SAFETY: `real` lines of `n` numbers of `values`; panels exist where the CPU reads
                // them; these lines' words are this task's alone.
                unsafe {
                    let block = match along {
                        true => by_line(at(line * summed + 2 * word), summed, real, n),
                        false => by_word(at(2 * word * outer + line), outer, real, n),
                    };
                    let tiles = matches!(order, Order::Tiles { .. });
                    let block = if along == tiles { block } else { transposed(block) };
                    for (i, vector) in block.into_iter().enumerate() {
                        match order {
                            Order::Tiles { .. } => {
                                let at = panel(line) + word * width + (line % width + i) * STRETCH;
                                store(vector, 0, STRETCH, to.at(at));
                            }
                            // A block is part of one panel, or of two narrow ones.
                            Order::Words { .. } => {
                                let wide = width.min(BLOCK);
                                for part in (0..some).step_by(wide) {
                                    let line = line + part;
                                    let at = panel(line) + (word + i) * width + line % width;
                                    store(vector, part, wide, to.at(at));
                                }
                            }
                        }
                    }
                }
            }
        }
    });
    // SAFETY: the tasks wrote every word of every panel.
    unsafe { packed.set_len(len) };
    packed
}

impl Order {
    fn width(self) -> usize {
        match self {
            Self::Words { width } | Self::Tiles { width } => width,
        }
    }
}
