//! Pairs of random tokens.

use lpc::data::tokenize::TokenizedPair;
use lpc::latent::FACTORS;
use lpc::seed;

pub fn pairs(vocab: usize, lengths: &[(usize, usize, usize)], seed: u64) -> Vec<TokenizedPair> {
    let mut rng = seed::stream(seed, "pairs");
    let weights = seed::normal(&mut rng, FACTORS);
    let mut tokens = |n: usize| (0..n).map(|_| seed::below(&mut rng, vocab) as u32).collect::<Vec<_>>();
    lengths
        .iter()
        .enumerate()
        .map(|(index, &(p, c, r))| TokenizedPair {
            index,
            prompt: tokens(p),
            chosen: tokens(c),
            rejected: tokens(r),
            factor_weights: Some(weights.clone()),
            ..TokenizedPair::default()
        })
        .collect()
}
