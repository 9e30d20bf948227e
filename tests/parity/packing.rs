//! Padding, packing and prefix sharing never change a number.

use crate::decoders::{decoder_config, parameters};
use crate::difference::max_abs_diff;
use crate::random_pairs::pairs;
use candle_core::{DType, Device, Tensor};
use lpc::config::{Latent, Precision};
use lpc::data::tokenize::TokenizedPair;
use lpc::model::batch::PairBatch;
use lpc::model::config::DecoderConfig;
use lpc::model::rows::{Row, TokenRows};
use lpc::passes::autograd::hidden;
use lpc::passes::policy::{PairPolicy, PairStates, Policy};
use lpc::tensor::logprob::token_logps;
use proptest::prelude::*;

/// The same f64 arithmetic in another order.
const ORDER_TOLERANCE: f64 = 1e-11;

/// log π(completion | prompt) by a pass of its own: prompt and completion, nothing else.
fn separate(policy: &Policy, prompt: &[u32], completion: &[u32]) -> (f64, Tensor, Tensor) {
    let tokens: Vec<u32> = prompt.iter().chain(completion).copied().collect();
    let hidden = hidden(&policy.decoder, &TokenRows::new(vec![Row::causal(&tokens)])).unwrap();
    let predictors = hidden.narrow(0, prompt.len() - 1, completion.len()).unwrap();
    let targets = Tensor::new(completion, &Device::Cpu).unwrap();
    let sum = token_logps(&predictors, policy.decoder.lm_head(), &targets).unwrap().sum_all().unwrap();
    let at = |t: usize| hidden.get(t).unwrap();
    (sum.to_scalar().unwrap(), at(prompt.len() - 1), at(tokens.len() - 1))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_shared_prompt_equals_separate_passes(
        config in decoder_config(),
        seed: u64,
        lengths in prop::collection::vec((1usize..8, 1usize..8, 1usize..8), 1..5),
        window in prop::option::of(1usize..10),
    ) {
        let config = DecoderConfig { sliding_window: window, ..config };
        let parameters = parameters(&config, 0, seed, DType::F64);
        let policy = Policy::new(&config, &parameters, &Latent::None {}, Precision::F32).unwrap();
        let pairs = pairs(config.vocab_size, &lengths, seed);
        let members: Vec<&TokenizedPair> = pairs.iter().collect();
        let batch = PairBatch::new(&members, DType::F64, &Device::Cpu).unwrap();
        let states = PairStates::select(&hidden(&policy.decoder, &batch.rows).unwrap(), &batch).unwrap();
        let logps = policy.pair_logps(&states, &batch, None).unwrap();
        for (i, pair) in pairs.iter().enumerate() {
            let sides = [(&pair.chosen, &logps.chosen, &states.chosen_hidden), (&pair.rejected, &logps.rejected, &states.rejected_hidden)];
            for (completion, ours, last_hidden) in sides {
                let (sum, h_x, h_xy) = separate(&policy, &pair.prompt, completion);
                let ours: f64 = ours.get(i).unwrap().to_scalar().unwrap();
                prop_assert!((ours - sum).abs() < ORDER_TOLERANCE * (1.0 + sum.abs()), "{ours} and {sum}");
                prop_assert!(max_abs_diff(&states.prompt_hidden.get(i).unwrap(), &h_x) < ORDER_TOLERANCE);
                prop_assert!(max_abs_diff(&last_hidden.get(i).unwrap(), &h_xy) < ORDER_TOLERANCE);
            }
        }
    }
}
