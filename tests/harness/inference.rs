//! The inference path is the plain decoder, however a sequence is cut into caches and batches.

use crate::decoders::{decoder_config, parameters};
use crate::difference::max_abs_diff;
use crate::tiny;
use candle_core::{DType, Device, Tensor};
use lpc::config::Precision;
use lpc::model::config::DecoderConfig;
use lpc::model::decoder::Decoder;
use lpc::model::rows::{Row, TokenRows};
use lpc::passes::Passes;
use lpc::passes::autograd::hidden;
use lpc::passes::by_hand::ByHand;
use lpc::passes::cached::{Extension, Inference, KvCache};
use lpc::passes::fused::Fused;
use proptest::prelude::*;

/// f32 against f32 in another order of sums, on states of order one; 6e-6 was the most seen.
const ORDER_TOLERANCE: f64 = 1e-4;

fn tokens(n: usize, step: usize, vocab: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * step + 1) % vocab) as u32).collect()
}

/// On slices, and in candle's operations.
const PASSES: [&dyn Passes; 2] = [&Fused, &ByHand];

fn decoder(config: &DecoderConfig, seed: u64) -> Decoder {
    Decoder::new(config, &parameters(config, 0, seed, DType::F32), Precision::F32).unwrap()
}

proptest! {
    #[test]
    fn caches_and_batches_change_nothing(
        config in decoder_config(), seed: u64, shared in 1usize..20, own in 1usize..20, rest in 1usize..5,
        window in prop::option::of(1usize..9), passes in prop::sample::select(PASSES.to_vec()),
    ) {
        let config = DecoderConfig { sliding_window: window, ..config };
        let decoder = decoder(&config, seed);
        let inference = Inference::new(passes, &decoder).unwrap();
        let prefix = tokens(shared, 3, config.vocab_size);
        let branches = [tokens(own + rest, 7, config.vocab_size), tokens(own + rest, 5, config.vocab_size)];
        let mut prefix_cache = KvCache::default();
        inference.extend(&mut [Extension { behind: vec![], cache: &mut prefix_cache, tokens: &prefix }]).unwrap();
        // Both branches behind the one prefix, in one pass; then their last tokens one by one.
        let mut caches = [KvCache::default(), KvCache::default()];
        let mut pass = |range: std::ops::Range<usize>| {
            let mut extensions: Vec<Extension> = caches.iter_mut().zip(&branches)
                .map(|(cache, branch)| Extension { behind: vec![&prefix_cache], cache, tokens: &branch[range.clone()] })
                .collect();
            inference.extend(&mut extensions).unwrap()
        };
        let first = pass(0..own);
        let later: Vec<_> = (own..own + rest).map(|t| pass(t..t + 1)).collect();
        for (b, branch) in branches.iter().enumerate() {
            let whole = [prefix.as_slice(), branch].concat();
            let oracle = hidden(&decoder, &TokenRows::new(vec![Row::causal(&whole)])).unwrap();
            let at = oracle.narrow(0, shared, own).unwrap();
            prop_assert!(max_abs_diff(&first.narrow(0, b * own, own).unwrap(), &at) < ORDER_TOLERANCE);
            for (t, states) in later.iter().enumerate() {
                let at = oracle.narrow(0, shared + own + t, 1).unwrap();
                let states = states.narrow(0, b, 1).unwrap();
                prop_assert!(max_abs_diff(&states, &at) < ORDER_TOLERANCE);
                let mut scores = vec![];
                inference.logits(&states.flatten_all().unwrap().to_vec1::<f32>().unwrap(), &mut scores).unwrap();
                let expected = at.matmul(&decoder.lm_head().t().unwrap()).unwrap();
                let scores = Tensor::new(scores, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
                prop_assert!(max_abs_diff(&scores, &expected) < ORDER_TOLERANCE);
            }
        }
    }
}

/// More tokens than one block of queries has.
#[test]
fn long_prompts() {
    let config = DecoderConfig {
        vocab_size: 64,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        max_position_embeddings: 256,
        sliding_window: Some(100),
        tie_word_embeddings: false,
    };
    PASSES.iter().for_each(|passes| long_prompt(*passes, &decoder(&config, 3)));
}

fn long_prompt(passes: &dyn Passes, decoder: &Decoder) {
    let inference = Inference::new(passes, decoder).unwrap();
    let text = tokens(200, 11, 64);
    let mut cache = KvCache::default();
    let ours =
        inference.extend(&mut [Extension { behind: vec![], cache: &mut cache, tokens: &text }]).unwrap();
    let oracle = hidden(decoder, &TokenRows::new(vec![Row::causal(&text)])).unwrap();
    assert!(max_abs_diff(&ours, &oracle) < ORDER_TOLERANCE);
    assert_eq!(cache.tokens(), 200);

    let beyond = tokens(100, 1, 64);
    let refused = inference.extend(&mut [Extension { behind: vec![], cache: &mut cache, tokens: &beyond }]);
    assert!(refused.is_err());
    let unknown =
        inference.extend(&mut [Extension { behind: vec![], cache: &mut KvCache::default(), tokens: &[64] }]);
    assert_eq!(unknown.unwrap_err().to_string(), "inference: token = 64, expected below 64");
}

/// Keys and values of one pass mean nothing to another.
#[test]
fn a_cache_of_another_pass() {
    let decoder = decoder(&tiny::config(), 3);
    let mut cache = KvCache::default();
    let mut extend = |passes: &dyn Passes| {
        let inference = Inference::new(passes, &decoder).unwrap();
        inference.extend(&mut [Extension { behind: vec![], cache: &mut cache, tokens: &[1, 2] }])
    };
    extend(&Fused).unwrap();
    let refused = extend(&ByHand).unwrap_err().to_string();
    assert_eq!(refused, "inference: cache = one of another pass, expected one of this pass");
    assert_eq!(cache.tokens(), 2);
}
