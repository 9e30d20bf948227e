//! Training that goes on from a file gives the same bits as training that never stopped.

use crate::decoders::decoder_config;
use crate::random_pairs::pairs;
use crate::tools::device;
use candle_core::{DType, Device as Place};
use lpc::data::tokenize::TokenizedPair;
use lpc::machine::device::kernels::Step;
use lpc::model::batch::PairBatch;
use lpc::model::config::DecoderConfig;
use lpc::model::rows::{Row, TokenRows};
use lpc::passes::gpu::{Asked, Formats, Gpu, Room};
use lpc::seed;
use lpc::train::budget::FORMATS;
use proptest::prelude::*;

const ROOM: Room = Room { tokens: 60, row: 30, scores: 300 };

fn gradients(gpu: &mut Gpu, config: &DecoderConfig, number: u32) {
    let pairs = pairs(config.vocab_size, &[(3, 4, 2), (1, 5, 6)], u64::from(number));
    let members: Vec<&TokenizedPair> = pairs.iter().collect();
    let batch = PairBatch::new(&members, DType::F32, &Place::Cpu).unwrap();
    let predictors: Vec<u32> = batch.predictors.to_vec1().unwrap();
    let run = gpu.forward(&batch.rows).unwrap();
    let n = predictors.len();
    let asked = Asked { rows: predictors, tokens: batch.targets.clone(), shifts: None };
    let (_, scored) = gpu.token_logps(run, asked).unwrap();
    let mut rng = seed::stream(u64::from(number), "upstream");
    let upstream: Vec<f32> = seed::normal(&mut rng, n).iter().map(|x| *x as f32).collect();
    gpu.token_logps_backward(&scored, &upstream).unwrap();
    gpu.backward(run, &[], &[]).unwrap();
}

fn step(clip: f32) -> Step {
    Step { clip, beta1: 0.9, beta2: 0.95, step_size: 1e-2, second_scale: 2.0, epsilon: 1e-8, keep: 0.999 }
}

fn update(gpu: &mut Gpu, config: &DecoderConfig, number: u32) {
    gradients(gpu, config, number);
    let clip = 1.0 / gpu.weights.square_sum().unwrap().sqrt() as f32;
    gpu.weights.update(&step(clip), number).unwrap();
}

fn bits(gpu: &Gpu, config: &DecoderConfig) -> Vec<u32> {
    let of = |(name, _): (String, Vec<usize>)| {
        gpu.weights.get(&name).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    config.parameter_shapes().flat_map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]

    #[test]
    fn stopped_and_resumed(config in decoder_config(), seed: u32, formats in 0usize..6, stop in 0u32..4) {
        let formats: Formats = FORMATS[formats];
        let new = || Gpu::new(&device(), &config, formats, ROOM).unwrap();
        let mut whole = new();
        whole.weights.draw(seed).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.safetensors");
        for number in 0..4 {
            if number == stop {
                whole.weights.save(&file).unwrap();
            }
            update(&mut whole, &config, number);
        }
        let mut resumed = new();
        resumed.weights.restore(&file).unwrap();
        (stop..4).for_each(|number| update(&mut resumed, &config, number));
        prop_assert_eq!(bits(&whole, &config), bits(&resumed, &config));
    }
}

/// AdamW in f32 on each parameter apart, with decay of matrices alone, and the norm over all of them.
#[test]
fn updates_of_every_parameter() {
    let config = DecoderConfig {
        vocab_size: 50,
        hidden_size: 24,
        intermediate_size: 41,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 6,
        ..DecoderConfig::named("llama3-8b").unwrap()
    };
    for formats in [FORMATS[0], FORMATS[4]] {
        let mut gpu = Gpu::new(&device(), &config, formats, ROOM).unwrap();
        gpu.weights.draw(5).unwrap();
        let names: Vec<(String, Vec<usize>)> = config.parameter_shapes().collect();
        let zeros = |name: &String| vec![0f32; gpu.weights.get(name).unwrap().len()];
        let mut moments: Vec<[Vec<f32>; 2]> =
            names.iter().map(|(name, _)| [zeros(name), zeros(name)]).collect();
        for number in 0..3 {
            let before: Vec<Vec<f32>> =
                names.iter().map(|(name, _)| gpu.weights.get(name).unwrap()).collect();
            gradients(&mut gpu, &config, number);
            let found: Vec<Vec<f32>> =
                names.iter().map(|(name, _)| gpu.weights.gradient_of(name).unwrap()).collect();
            let squares: f64 = found.iter().flatten().map(|g| f64::from(*g) * f64::from(*g)).sum();
            let sum = gpu.weights.square_sum().unwrap();
            assert!((sum - squares).abs() < 1e-5 * squares, "{sum} and {squares}");
            let step = step(0.5);
            gpu.weights.update(&step, number).unwrap();
            for (i, (name, shape)) in names.iter().enumerate() {
                let keep = if shape.len() > 1 { step.keep } else { 1.0 };
                let [first, second] = &mut moments[i];
                for (j, after) in gpu.weights.get(name).unwrap().into_iter().enumerate() {
                    let g = found[i][j] * step.clip;
                    first[j] = step.beta1 * first[j] + (1.0 - step.beta1) * g;
                    second[j] = step.beta2 * second[j] + (1.0 - step.beta2) * g * g;
                    let scale = second[j].sqrt() * step.second_scale + step.epsilon;
                    let expected = before[i][j] * keep - step.step_size * first[j] / scale;
                    assert_eq!(after.to_bits(), expected.to_bits(), "{name}, {j}: {after} and {expected}");
                }
                assert!(gpu.weights.gradient_of(name).unwrap().iter().all(|g| *g == 0.0), "{name}");
            }
        }
    }
}

/// A parameter of more numbers than pass between f32 and its halves at a time, or lie in a piece of a file.
#[test]
fn large_parameters() {
    let config = DecoderConfig {
        vocab_size: 70_000,
        hidden_size: 64,
        intermediate_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        num_key_value_heads: 1,
        head_dim: 64,
        tie_word_embeddings: true,
        ..DecoderConfig::named("llama3-8b").unwrap()
    };
    let new = || Gpu::new(&device(), &config, FORMATS[0], Room { tokens: 4, row: 4, scores: 1 }).unwrap();
    let (gpu, mut again) = (new(), new());
    let name = "model.embed_tokens.weight";
    let numbers: Vec<f32> = (0..70_000 * 64).map(|i| (i as f32).sin()).collect();
    gpu.weights.set(name, 0, &numbers).unwrap();
    assert!(gpu.weights.get(name).unwrap() == numbers);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.safetensors");
    gpu.weights.save(&file).unwrap();
    again.weights.restore(&file).unwrap();
    assert!(again.weights.get(name).unwrap() == numbers);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn only_the_last_pack_goes_back() {
    let config = DecoderConfig { vocab_size: 9, ..small() };
    let mut gpu = Gpu::new(&device(), &config, FORMATS[0], ROOM).unwrap();
    let rows = TokenRows::new(vec![Row::causal(&[1, 2, 3])]);
    let (first, second) = (gpu.forward(&rows).unwrap(), gpu.forward(&rows).unwrap());
    let asked = |row, token| Asked { rows: vec![row], tokens: vec![token], shifts: None };
    let earlier = |e: lpc::Error| assert!(e.to_string().contains("an earlier forward pass"), "{e}");
    earlier(gpu.states(first, &[0]).unwrap_err());
    let (_, scored) = gpu.token_logps(second, asked(1, 2)).unwrap();
    earlier(gpu.token_logps(first, asked(0, 1)).err().unwrap());
    earlier(gpu.backward(first, &[0], &[0.0; 4]).unwrap_err());
    assert!(gpu.token_logps(second, asked(3, 1)).is_err());
    assert!(gpu.states(second, &[3]).is_err());
    assert!(gpu.backward(second, &[3], &[0.0; 4]).is_err());
    assert!(gpu.backward(second, &[2], &[0.0; 3]).is_err());
    gpu.backward(second, &[2], &[0.0; 4]).unwrap();
    earlier(gpu.backward(second, &[2], &[0.0; 4]).unwrap_err());
    gpu.forward(&rows).unwrap();
    earlier(gpu.token_logps_backward(&scored, &[1.0]).unwrap_err());
}

fn small() -> DecoderConfig {
    DecoderConfig {
        vocab_size: 12,
        hidden_size: 4,
        intermediate_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        num_key_value_heads: 1,
        head_dim: 4,
        ..DecoderConfig::named("llama3-8b").unwrap()
    }
}

#[test]
fn files_that_do_not_fit() {
    let config = |hidden_size| DecoderConfig { hidden_size, head_dim: hidden_size, ..small() };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.safetensors");
    let new = |hidden, formats: usize| Gpu::new(&device(), &config(hidden), FORMATS[formats], ROOM).unwrap();
    new(4, 0).weights.save(&file).unwrap();
    let refused = |hidden, formats| new(hidden, formats).weights.restore(&file).unwrap_err().to_string();
    assert!(refused(4, 3).contains("a state of 8-bit moments"));
    assert!(refused(8, 0).contains("a state of {"));
    // The same numbers, wherever moments lie.
    new(4, 4).weights.restore(&file).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    for cut in [0, 5, 100, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..cut]).unwrap();
        assert!(refused(4, 0).contains("state.safetensors"), "{cut} bytes");
    }
    std::fs::write(&file, [0xff; 64]).unwrap();
    assert!(refused(4, 0).contains("header"));
}
