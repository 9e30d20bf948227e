//! (10): token and completion log-probabilities.

use crate::support::{Draw, assert_all_close, assert_close, cases};
use lpc::spec::logprob::*;
use ndarray::{Array1, Axis, concatenate};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases())]

    /// Summed over the vocabulary, the probabilities of a position are 1.
    #[test]
    fn every_position_is_a_distribution(seed in any::<u64>(), t in 1usize..5, v in 1usize..7, d in 1usize..5, scale in 0.1..5.0) {
        let mut draw = Draw::new(seed);
        let (hidden, lm_head) = (draw.matrix(t, d, scale), draw.matrix(v, d, 1.0));
        let total: Array1<f64> = (0..v as u32)
            .map(|token| token_logps(&hidden, &lm_head, &vec![token; t]).unwrap().mapv(f64::exp))
            .fold(Array1::zeros(t), |sum, p| sum + p);
        assert_all_close(&total, &Array1::ones(t));
    }

    /// log-odds of two tokens are differences of vocabulary scores.
    #[test]
    fn odds_are_score_differences(seed in any::<u64>(), v in 2usize..7, d in 1usize..5) {
        let mut draw = Draw::new(seed);
        let (hidden, lm_head) = (draw.matrix(1, d, 1.0), draw.matrix(v, d, 1.0));
        let logp = |token: u32| token_logps(&hidden, &lm_head, &[token]).unwrap()[0];
        let score = |token: usize| lm_head.row(token).dot(&hidden.row(0));
        assert_close(logp(0) - logp(1), score(0) - score(1));
    }

    /// A completion's log-probability is additive over its parts: a sum, not a mean.
    #[test]
    fn completions_add_up(seed in any::<u64>(), t in 1usize..5, u in 1usize..5, v in 2usize..7, d in 1usize..5) {
        let mut draw = Draw::new(seed);
        let lm_head = draw.matrix(v, d, 1.0);
        let (head, tail) = (draw.matrix(t, d, 1.0), draw.matrix(u, d, 1.0));
        let (head_tokens, tail_tokens) = (draw.tokens(t, v), draw.tokens(u, v));
        let whole = concatenate![Axis(0), head, tail];
        let tokens = [head_tokens.clone(), tail_tokens.clone()].concat();
        let sum = |hidden, tokens: &[u32]| completion_logps_sum(hidden, &lm_head, tokens).unwrap();
        assert_close(sum(&whole, &tokens), sum(&head, &head_tokens) + sum(&tail, &tail_tokens));
    }

    /// W(h + h_z) = Wh + Wh_z: a code is a bias over the vocabulary, the same at every position.
    #[test]
    fn a_code_is_a_bias_over_the_vocabulary(seed in any::<u64>(), t in 1usize..5, v in 2usize..7, d in 1usize..5, k in 1usize..5) {
        let mut draw = Draw::new(seed);
        let (hidden, lm_head, codebook) = (draw.matrix(t, d, 1.0), draw.matrix(v, d, 1.0), draw.matrix(k, d, 1.0));
        let tokens = draw.tokens(t, v);
        let by_code = code_logps(&hidden, &lm_head, &codebook, &tokens).unwrap();
        for (code, logps) in codebook.outer_iter().zip(&by_code) {
            let scores = hidden.dot(&lm_head.t()) + lm_head.dot(&code);
            let naive: f64 = scores
                .outer_iter()
                .zip(&tokens)
                .map(|(row, &token)| row[token as usize] - row.mapv(f64::exp).sum().ln())
                .sum();
            assert_close(*logps, naive);
        }
    }

    #[test]
    fn a_zero_code_changes_nothing(seed in any::<u64>(), t in 1usize..5, v in 2usize..7, d in 1usize..5) {
        let mut draw = Draw::new(seed);
        let (hidden, lm_head, tokens) = (draw.matrix(t, d, 1.0), draw.matrix(v, d, 1.0), draw.tokens(t, v));
        let moved = add_latent(&hidden, &Array1::zeros(d)).unwrap();
        prop_assert_eq!(
            token_logps(&moved, &lm_head, &tokens).unwrap(),
            token_logps(&hidden, &lm_head, &tokens).unwrap()
        );
    }
}
