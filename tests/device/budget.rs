//! A plan's bytes and operations against published counts and against what the pass itself asks for.

use lpc::config::Latent;
use lpc::machine::device::Device;
use lpc::model::config::DecoderConfig;
use lpc::model::rows::{Row, TokenRows};
use lpc::passes::gpu::{Asked, Formats, Gpu, Room};
use lpc::train::budget::{CARDS, FORMATS, GIB, Lengths, RESERVE_GIB, bytes, choose, work};
use proptest::prelude::*;

/// As their authors' model cards and `transformers` count them.
const PUBLISHED: [(&str, usize); 2] = [("llama3-8b", 8_030_261_248), ("mistral-7b", 7_241_732_096)];

/// Two f32 numbers each of 16 Mi weights.
const DOOR: f64 = 134_217_728.0;

fn smollm2() -> DecoderConfig {
    DecoderConfig {
        vocab_size: 49_152,
        hidden_size: 576,
        intermediate_size: 1536,
        num_hidden_layers: 30,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        head_dim: 64,
        tie_word_embeddings: true,
        ..DecoderConfig::named("llama3-8b").unwrap()
    }
}

#[test]
fn published_numbers_of_parameters() {
    for (name, count) in PUBLISHED {
        assert_eq!(DecoderConfig::named(name).unwrap().count(), count, "{name}");
    }
    assert_eq!(smollm2().count(), 134_515_008);
    assert!(DecoderConfig::named("gpt-2").is_none());
}

/// 16, 14, 10, 8 + 8/256, 8 and 6 bytes a weight, and nothing else that grows with the format but what
/// moments of the host pass through.
#[test]
fn bytes_of_a_weight() {
    for (name, count) in PUBLISHED {
        let config = DecoderConfig::named(name).unwrap();
        let room = Room { tokens: 4096, row: 2048, scores: Room::SCORES };
        let all = FORMATS.map(|formats| bytes(&config, &Latent::None {}, formats, room).unwrap());
        let rest: Vec<f64> = all
            .iter()
            .zip([16.0, 14.0, 10.0, 8.0 + 8.0 / 256.0, 8.0, 6.0])
            .map(|(bytes, each)| {
                bytes.peak as f64 - each * count as f64 - f64::from(u8::from(bytes.host > 0)) * DOOR
            })
            .collect();
        for other in &rest[1..] {
            assert!((other - rest[0]).abs() < 1e6, "{name}: {rest:?}");
        }
        // Some GiB of activations: a copy of the weights or of the scores of all states would be more.
        assert!(rest[0] > 3e9 && rest[0] < 6e9, "{name}: {rest:?}");
        let hosts = [0.0, 0.0, 0.0, 0.0, 8.0, 8.0];
        for (bytes, each) in all.iter().zip(hosts) {
            assert!((bytes.host as f64 - each * count as f64).abs() < 1e6);
        }
        // The smallest is for a card of 80 GB, the exact one for one of 141.
        assert!((all[3].peak as f64) < (CARDS[0].gib - 1.0) * 2f64.powi(30));
        assert!((all[0].peak as f64) < (CARDS[1].gib - 1.0) * 2f64.powi(30));
    }
}

/// Of SmolLM2's shape: what is held when it computes is what was planned.
#[test]
fn a_plan_of_smollm2() {
    let (config, room) = (smollm2(), Room { tokens: 8, row: 5, scores: Room::SCORES });
    let planned = bytes(&config, &Latent::None {}, FORMATS[3], room).unwrap();
    let device = Device::host();
    let mut gpu = Gpu::new(&device, &config, FORMATS[3], room).unwrap();
    let rows = TokenRows::new(vec![Row::causal(&[1, 2, 3, 4, 5]), Row::causal(&[6, 7, 8])]);
    let run = gpu.forward(&rows).unwrap();
    let asked = Asked { rows: (0..8).collect(), tokens: vec![1; 8], shifts: None };
    let (_, scored) = gpu.token_logps(run, asked).unwrap();
    gpu.token_logps_backward(&scored, &[0.5; 8]).unwrap();
    gpu.backward(run, &[], &[]).unwrap();
    assert_eq!(device.trace().peak, planned.peak);
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let config = smollm2();
    let refused = |tokens, row| {
        bytes(&config, &Latent::None {}, FORMATS[0], Room { tokens, row, scores: Room::SCORES })
            .unwrap_err()
            .to_string()
    };
    assert!(refused(10, 0).contains("from 1 token"));
    assert!(refused(10, 11).contains("a pack's 10"));
    assert!(refused(20_000, 17_000).contains("twice the context's 8192"));
    // Two completions behind one prompt may be longer than the context together.
    let long = Room { tokens: 17_000, row: 15_000, scores: 1 };
    bytes(&config, &Latent::None {}, FORMATS[3], long).unwrap();
    // Whatever a file states.
    let of = |config: DecoderConfig| {
        bytes(&config, &Latent::None {}, FORMATS[0], Room { tokens: 8, row: 4, scores: 9 })
            .unwrap_err()
            .to_string()
    };
    assert!(of(DecoderConfig { vocab_size: usize::MAX, ..smollm2() }).contains("vocab_size"));
    assert!(of(DecoderConfig { head_dim: usize::MAX / 2, ..smollm2() }).contains("heads times head_dim"));
    let wide = DecoderConfig { intermediate_size: 1 << 20, hidden_size: 1 << 20, ..smollm2() };
    assert!(of(wide).contains("at most 1e13"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// The formula's operations are those of the products that the pass asks for.
    #[test]
    fn operations(
        config in crate::decoders::decoder_config(),
        (prompt, chosen, rejected) in (1usize..9, 1usize..9, 1usize..9),
    ) {
        let mut row = Row::default();
        for (segment, n) in [prompt, chosen, rejected].into_iter().enumerate() {
            let position = if segment == 0 { 0 } else { prompt };
            row.push(&vec![0; n], position, segment as u8);
        }
        let answers = chosen + rejected;
        let (device, room) = (Device::plan(), Room { tokens: 40, row: 30, scores: 2000 });
        let formats: Formats = FORMATS[0];
        let mut gpu = Gpu::new(&device, &config, formats, room).unwrap();
        let run = gpu.forward(&TokenRows::new(vec![row])).unwrap();
        let asked = Asked { rows: vec![0; answers], tokens: vec![0; answers], shifts: None };
        let (_, scored) = gpu.token_logps(run, asked).unwrap();
        let reference = device.trace().operations;
        gpu.token_logps_backward(&scored, &vec![0.0; answers]).unwrap();
        gpu.backward(run, &[], &[]).unwrap();
        let lengths = Lengths { prompt: prompt as f64, chosen: chosen as f64, rejected: rejected as f64 };
        let counted = work(&config, lengths);
        prop_assert_eq!(counted.reference, reference as f64);
        prop_assert_eq!(counted.training, device.trace().operations as f64);
    }
}

/// What is compared has the same formats, where one with more codes would not fit those of a plain run.
#[test]
fn one_choice_for_all_that_is_compared() {
    let config = DecoderConfig::named("llama3-8b").unwrap();
    let codes = |codes| Latent::Marginal {
        codes,
        codebook_std: 0.02,
        heads_learning_rate: None,
        heads_input: Default::default(),
    };
    for tokens in [2560, 4096] {
        let room = Room { tokens, row: 2047, scores: Room::SCORES };
        for gib in [40.0, 79.6, 81.0, 82.0, 100.0, 140.4] {
            let chosen = |latent| choose(&config, &latent, room, gib).unwrap().map(|(formats, _)| formats);
            let plain = chosen(Latent::None {});
            assert!([32, 256].iter().all(|n| chosen(codes(*n)) == plain), "{tokens} tokens, {gib} GiB");
            let Some(formats) = plain else {
                assert!(gib < 50.0);
                continue;
            };
            // It fits, and what is more exact does not.
            let most =
                |formats| bytes(&config, &codes(256), formats, room).unwrap().peak as f64 / GIB + RESERVE_GIB;
            assert!(most(formats) <= gib);
            assert!(FORMATS.into_iter().take_while(|other| *other != formats).all(|other| most(other) > gib));
        }
    }
}
