//! Label noise put into training pairs on purpose: the paper's flips (§4.3).

use super::pairs::Pair;
use crate::error::{Error, Result};
use crate::seed::{permutation, stream};

/// Appended to the prompt of a flipped pair, behind a space, when flips are marked.
const FLIP_MARKER: &str = "[FLIP]";

/// Exchanges chosen and rejected in exactly round(rate · n) of the pairs and returns their
/// indices in increasing order. With `marked`, their prompts end in ` [FLIP]`.
///
/// The choice has a stream of its own under `seed`; of two rates the larger flips every pair
/// that the smaller flips.
///
/// Errors: `rate` outside [0, 1].
pub fn flip(pairs: &mut [Pair], rate: f64, marked: bool, seed: u64) -> Result<Vec<usize>> {
    if !(0.0..=1.0).contains(&rate) {
        return Err(Error::argument("flip", "rate", rate, "in [0, 1]"));
    }
    let count = (rate * pairs.len() as f64).round() as usize;
    let mut flipped = permutation(&mut stream(seed, "noise/flip"), pairs.len());
    flipped.truncate(count);
    flipped.sort_unstable();
    for &i in &flipped {
        let pair = &mut pairs[i];
        std::mem::swap(&mut pair.chosen, &mut pair.rejected);
        if let Some(last) = pair.prompt.last_mut().filter(|_| marked) {
            last.set_text(|text| {
                text.push(' ');
                text.push_str(FLIP_MARKER);
            });
        }
    }
    Ok(flipped)
}
