//! Training that goes on from a file gives the same bits as training that never stopped.

use crate::decoders::decoder_config;
use crate::random_pairs::pairs;
use crate::tools::device;
use candle_core::{DType, Device as Place};
use lpc::data::tokenize::TokenizedPair;
use lpc::machine::device::kernels::Step;
use lpc::model::batch::PairBatch;
use lpc::model::config::DecoderConfig;
use lpc::passes::gpu::{Formats, Gpu, Room};
use lpc::seed;
use lpc::train::budget::FORMATS;
use proptest::prelude::*;

const ROOM: Room = Room { tokens: 60, row: 30 };

fn update(gpu: &mut Gpu, config: &DecoderConfig, number: u32) {
    let pairs = pairs(config.vocab_size, &[(3, 4, 2), (1, 5, 6)], u64::from(number));
    let members: Vec<&TokenizedPair> = pairs.iter().collect();
    let batch = PairBatch::new(&members, DType::F32, &Place::Cpu).unwrap();
    let predictors: Vec<u32> = batch.predictors.to_vec1().unwrap();
    let run = gpu.forward(&batch.rows).unwrap();
    let (_, scored) = gpu.token_logps_at(&run, &predictors, &batch.targets).unwrap();
    let mut rng = seed::stream(u64::from(number), "upstream");
    let upstream: Vec<f32> = seed::normal(&mut rng, predictors.len()).iter().map(|x| *x as f32).collect();
    gpu.backward_from(run, scored, &upstream).unwrap();
    let clip = 1.0 / gpu.weights.square_sum().unwrap().sqrt() as f32;
    let step = Step {
        clip,
        beta1: 0.9,
        beta2: 0.95,
        step_size: 1e-2,
        second_scale: 2.0,
        epsilon: 1e-8,
        keep: 0.999,
    };
    gpu.weights.update(&step, number).unwrap();
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

#[test]
fn files_that_do_not_fit() {
    let config = |hidden_size| DecoderConfig {
        vocab_size: 12,
        hidden_size,
        intermediate_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        num_key_value_heads: 1,
        head_dim: hidden_size,
        ..DecoderConfig::named("llama3-8b").unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.safetensors");
    let new = |hidden, formats: usize| Gpu::new(&device(), &config(hidden), FORMATS[formats], ROOM).unwrap();
    new(4, 0).weights.save(&file).unwrap();
    let refused = |hidden, formats| new(hidden, formats).weights.restore(&file).unwrap_err().to_string();
    assert!(refused(4, 5).contains("a state of 8-bit moments"));
    assert!(refused(8, 0).contains("weights.00000"));
    // The same numbers, wherever moments lie.
    new(4, 1).weights.restore(&file).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    for cut in [0, 5, 100, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..cut]).unwrap();
        assert!(refused(4, 0).contains("state.safetensors"), "{cut} bytes");
    }
    std::fs::write(&file, [0xff; 64]).unwrap();
    assert!(refused(4, 0).contains("header"));
}
