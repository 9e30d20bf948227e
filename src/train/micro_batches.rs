//! Which pairs are computed at a time.

use crate::config::Training;
use crate::data::tokenize::TokenizedPair;

/// `members` in their order, at most `micro_batch_size` pairs at a time and no more tokens than a pack has, where
/// the recipe has packs. A pair that is longer than a pack stands alone.
pub fn micro_batches<'a>(
    members: &'a [usize],
    pairs: &'a [TokenizedPair],
    training: &Training,
) -> impl Iterator<Item = &'a [usize]> {
    let (most_pairs, most_tokens) = (training.micro_batch_size, training.memory.pack().unwrap_or(usize::MAX));
    let mut rest = members;
    std::iter::from_fn(move || {
        let mut tokens = 0;
        let fits = |&&i: &&usize| {
            tokens += pairs[i].row_tokens();
            tokens <= most_tokens
        };
        let n = rest.iter().take(most_pairs).take_while(fits).count().max(1);
        let (micro, others) = rest.split_at(n.min(rest.len()));
        rest = others;
        (!micro.is_empty()).then_some(micro)
    })
}
