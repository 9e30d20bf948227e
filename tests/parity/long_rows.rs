//! The fused pass beyond one of its chunks: blocks of 64 queries, sums over 64 rows, 8 Mi scores.

use crate::decoders::decoder_config;
use crate::difference::max_abs_diff;
use crate::gradients::Problem;
use crate::random_pairs::pairs;
use crate::random_settings::{latent, objective};
use candle_core::{DType, Device, Tensor, Var};
use lpc::config::{Latent, Objective, Precision};
use lpc::data::tokenize::TokenizedPair;
use lpc::model::batch::PairBatch;
use lpc::model::config::DecoderConfig;
use lpc::model::decoder::Decoder;
use lpc::passes::Passes;
use lpc::passes::autograd::hidden;
use lpc::passes::fused::Fused;
use lpc::seed;
use lpc::tensor::lm_head::token_logps_fused;
use lpc::tensor::logprob::token_logps;
use proptest::prelude::*;

/// f32 against f64, relative to the largest state: some hundred roundings of 6e-8, more where a norm
/// divides by a few nearly vanishing numbers. Measured over 150 batches: 6e-5 at most.
const STATES: f64 = 1e-3;
/// Gradients likewise, where more and longer sums meet such a norm. Seen once: 1.3e-3.
const GRADIENTS: f64 = 5e-3;
/// Without such norms: some hundred roundings of 6e-8. Measured: less than 1e-7 beyond the noise that
/// the comparison allows anyway.
const WIDE: f64 = 1e-5;
/// The same for one row of the head's results, in which terms of either sign cancel. Measured: 4e-5.
const HEAD: f64 = 3e-4;

/// Two or three rows of 100 to 300 tokens each, block ends in the prompt and in both completions.
fn problem() -> impl Strategy<Value = Problem> {
    let lengths = prop::collection::vec((40usize..120, 30usize..90, 30usize..90), 2..4);
    (decoder_config(), 1..3usize, lengths, objective(), latent(), 0.0..=1.0f64, any::<u64>()).prop_map(
        |(config, num_hidden_layers, lengths, objective, latent, prior_weight, seed)| Problem {
            pairs: pairs(config.vocab_size, &lengths, seed),
            // Wide enough that the batch's activations are several chunks of 64 · 512 too.
            config: DecoderConfig {
                num_hidden_layers,
                intermediate_size: 171,
                max_position_embeddings: 256,
                ..config
            },
            objective,
            latent,
            prior_weight,
            seed,
        },
    )
}

/// All products with weights at a size where a CPU with AMX makes f32's of bf16 parts: the smallest
/// dimension is 128.
#[test]
fn blocks_and_head_as_wide_as_products_of_parts() {
    let config = DecoderConfig {
        vocab_size: 300,
        hidden_size: 128,
        intermediate_size: 171,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        head_dim: 32,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        max_position_embeddings: 256,
        sliding_window: None,
        tie_word_embeddings: false,
    };
    let problem = Problem {
        pairs: pairs(config.vocab_size, &[(40, 60, 50), (30, 70, 45)], 11),
        config,
        objective: Objective::Dpo { beta: 0.1 },
        latent: Latent::None {},
        prior_weight: 1.0,
        seed: 11,
    };
    problem.blocks_equal_plain_ones(WIDE).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, ..ProptestConfig::default() })]

    /// States, loss and gradients, without a window and with one below and one above a block.
    #[test]
    fn blocks_of_long_rows(mut problem in problem(), below in 2usize..64, above in 65usize..150) {
        for sliding_window in [None, Some(below), Some(above)] {
            problem.config.sliding_window = sliding_window;
            let exact = problem.parameters(DType::F64);
            let single = exact.to(DType::F32, &Device::Cpu).unwrap();
            let members: Vec<&TokenizedPair> = problem.pairs.iter().collect();
            let rows = PairBatch::new(&members, DType::F64, &Device::Cpu).unwrap().rows;
            let plain = hidden(&Decoder::new(&problem.config, &exact, Precision::F32).unwrap(), &rows).unwrap();
            let fused = Fused.hidden(&Decoder::new(&problem.config, &single, Precision::F32).unwrap(), &rows).unwrap();
            let diff = max_abs_diff(&plain, &fused);
            let largest = max_abs_diff(&plain, &plain.zeros_like().unwrap());
            prop_assert!(diff < STATES * largest, "states differ by {:e}, window {:?}", diff, sliding_window);
            problem.blocks_equal_plain_ones(GRADIENTS)?;
        }
    }
}

/// 167 rows of 50,000 scores are one chunk: one row more, which makes two, then three.
#[test]
fn a_head_of_several_chunks() {
    const VOCABULARY: usize = 50_000;
    let mut rng = seed::stream(7, "head");
    let mut normal = |rows: usize, cols: usize| {
        let values: Vec<f32> = seed::normal(&mut rng, rows * cols).iter().map(|x| *x as f32).collect();
        Tensor::from_vec(values, (rows, cols), &Device::Cpu).unwrap()
    };
    let head = normal(VOCABULARY, 4);
    for n in [168, 335] {
        let (hidden, upstream) = (normal(n, 4), normal(n, 1).flatten_all().unwrap());
        let tokens: Vec<u32> = (0..n).map(|i| (i * 7919 % VOCABULARY) as u32).collect();
        let run = |dtype: DType, logps: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
            let var = |t: &Tensor| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap();
            let (hidden, head) = (var(&hidden), var(&head));
            let logps = logps(&hidden, &head);
            let total = (&logps * upstream.to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap();
            let grads = total.backward().unwrap();
            let rows = |t: &Tensor| t.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
            [
                rows(&logps.unsqueeze(1).unwrap()),
                rows(grads.get(&hidden).unwrap()),
                rows(grads.get(&head).unwrap()),
            ]
        };
        let ids = Tensor::new(tokens.as_slice(), &Device::Cpu).unwrap();
        let plain = run(DType::F64, &|hidden, head| token_logps(hidden, head, &ids).unwrap());
        let fused = run(DType::F32, &|hidden, head| {
            token_logps_fused(hidden, head, &tokens, Precision::F32).unwrap()
        });
        for ((what, plain), fused) in ["logps", "hidden", "head"].into_iter().zip(&plain).zip(&fused) {
            assert_eq!(plain.len(), fused.len());
            for (i, (plain, fused)) in plain.iter().zip(fused).enumerate() {
                // Row by row: the head's gradient of a token nobody said is 1e-5 of another's.
                let largest = plain.iter().fold(0f64, |m, x| m.max(x.abs()));
                let diff = plain.iter().zip(fused).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
                assert!(diff <= HEAD * largest, "{what} {i} of {n}: off by {diff:e} of {largest:e}");
            }
        }
    }
}
