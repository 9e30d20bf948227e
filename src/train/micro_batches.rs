//! Which pairs are computed at a time.

use crate::config::Training;
use crate::data::tokenize::TokenizedPair;

/// Pairs that are packed together: of more, each part gets pairs of all lengths.
const TOGETHER: usize = 512;

/// `members`, at most `micro_batch_size` at a time: in their order, or where the recipe has packs so that these are
/// full, the longest pairs first.
///
/// No pack has more tokens than the recipe says, but that of a pair which has more alone; with `padded`, each pair
/// counts as the longest beside it.
pub fn micro_batches(
    members: &[usize],
    pairs: &[TokenizedPair],
    training: &Training,
    padded: bool,
) -> Vec<Vec<usize>> {
    let most = training.micro_batch_size;
    let Some(room) = training.memory.pack() else {
        return members.chunks(most).map(<[usize]>::to_vec).collect();
    };
    let mut sorted = members.to_vec();
    sorted.sort_by_key(|&i| std::cmp::Reverse(pairs[i].row_tokens()));
    if padded {
        let tokens = |pack: &[usize]| pack.first().map_or(0, |&longest| pairs[longest].row_tokens());
        let mut packs: Vec<Vec<usize>> = vec![];
        for i in sorted {
            match packs.last_mut() {
                Some(pack) if (pack.len() + 1) * tokens(pack) <= room && pack.len() < most => pack.push(i),
                _ => packs.push(vec![i]),
            }
        }
        return packs;
    }
    let parts = sorted.len().div_ceil(TOGETHER);
    let mut packs = vec![];
    for part in 0..parts {
        let mut open: Vec<Pack> = vec![];
        for &i in sorted.iter().skip(part).step_by(parts) {
            let tokens = pairs[i].row_tokens();
            let fits = |pack: &&mut Pack| pack.tokens + tokens <= room && pack.members.len() < most;
            match open.iter_mut().find(fits) {
                Some(pack) => {
                    pack.tokens += tokens;
                    pack.members.push(i);
                }
                None => open.push(Pack { tokens, members: vec![i] }),
            }
        }
        packs.extend(open.into_iter().map(|pack| pack.members));
    }
    packs
}

struct Pack {
    tokens: usize,
    members: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use super::micro_batches;
    use crate::config::{Memory, Training};
    use crate::data::tokenize::TokenizedPair;
    use crate::seed;

    fn training(micro_batch_size: usize, memory: Memory) -> Training {
        let text = format!(
            "dtype = \"bf16\"\nepochs = 1\nbatch_size = 8\nmicro_batch_size = {micro_batch_size}\nlearning_rate = 0.1\n\
             warmup_ratio = 0.1\nweight_decay = 0.0\nadam_beta1 = 0.9\nadam_beta2 = 0.9\nadam_epsilon = 0.1\n\
             max_grad_norm = 1.0\nrecompute = true\ncheckpoint_every = 1"
        );
        Training { memory, ..toml::from_str(&text).unwrap() }
    }

    /// Every pair once; no pack too full but that of one pair; and about as few packs as tokens need.
    #[test]
    fn packs_of_random_lengths() {
        let mut rng = seed::stream(1, "lengths");
        let of = |n: usize| TokenizedPair { prompt: vec![0; n], ..TokenizedPair::default() };
        let pairs: Vec<TokenizedPair> = (0..2000).map(|_| of(1 + seed::below(&mut rng, 1010))).collect();
        let members: Vec<usize> = (0..pairs.len()).rev().collect();
        let packs = micro_batches(&members, &pairs, &training(99, Memory::Auto { pack: 1000 }), false);
        let held = |pack: &Vec<usize>| pack.iter().map(|&i| pairs[i].row_tokens()).sum::<usize>();
        assert!(packs.iter().all(|pack| held(pack) <= 1000 || pack.len() == 1));
        let mut all = packs.concat();
        all.sort_unstable();
        assert_eq!(all, (0..pairs.len()).collect::<Vec<_>>());
        let tokens: usize = packs.iter().map(held).sum();
        assert!(packs.len() as f64 * 1000.0 < 1.05 * tokens as f64, "{} packs of {tokens}", packs.len());
        let packs = micro_batches(&members, &pairs, &training(2, Memory::Auto { pack: 1 << 20 }), false);
        assert!(packs.iter().all(|pack| pack.len() == 2));
        let packs = micro_batches(&members, &pairs, &training(99, Memory::Auto { pack: 3000 }), true);
        let longest = |pack: &Vec<usize>| pack.iter().map(|&i| pairs[i].row_tokens()).max().unwrap();
        assert!(packs.iter().all(|pack| pack.len() * longest(pack) <= 3000));
        assert_eq!(packs.iter().map(Vec::len).sum::<usize>(), pairs.len());
    }

    #[test]
    fn in_their_order_without_packs() {
        let pairs = vec![TokenizedPair::default(); 9];
        let batches = micro_batches(&[3, 1, 8, 2, 5], &pairs, &training(2, Memory::Tensors {}), true);
        assert_eq!(batches, [vec![3, 1], vec![8, 2], vec![5]]);
    }
}
