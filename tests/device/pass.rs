//! The whole pass on packs of pairs against autograd in f64, on the same rounded weights.

use crate::decoders::{decoder_config, parameters};
use crate::random_pairs::pairs;
use crate::tools::{device, distance, f64s, length};
use candle_core::{DType, Device as Place, Tensor};
use half::bf16;
use lpc::data::tokenize::TokenizedPair;
use lpc::machine::device::Device;
use lpc::machine::device::kernels::MomentsFormat;
use lpc::model::batch::PairBatch;
use lpc::model::config::DecoderConfig;
use lpc::model::decoder::Decoder;
use lpc::model::gradients::Gradients;
use lpc::model::parameters::Parameters;
use lpc::passes;
use lpc::passes::gpu::{Formats, Gpu, Room};
use lpc::seed;
use lpc::tensor::logprob::token_logps;
use proptest::prelude::*;
use std::sync::Arc;

/// Of a vector's length: some ten roundings of 2⁻⁹ a block, which do not all point the same way.
const TOLERANCE: f64 = 0.03;

/// Wide enough that roundings average out, as they do in models that are used.
fn wide_config() -> impl Strategy<Value = DecoderConfig> {
    decoder_config().prop_map(|c| DecoderConfig {
        hidden_size: 8 * c.hidden_size,
        intermediate_size: 16 * c.hidden_size + 1,
        head_dim: 8 * c.head_dim,
        ..c
    })
}

/// Parameters of numbers that bf16 has, in f64.
fn rounded(config: &DecoderConfig, seed: u64) -> Parameters {
    let parameters = parameters(config, 0, seed, DType::F64);
    for (_, var) in parameters.iter() {
        let numbers: Vec<f64> = var.flatten_all().unwrap().to_vec1().unwrap();
        let numbers: Vec<f64> = numbers.into_iter().map(|x| bf16::from_f64(x).to_f64()).collect();
        var.set(&Tensor::from_vec(numbers, var.shape(), &Place::Cpu).unwrap()).unwrap();
    }
    parameters
}

fn gpu(
    device: &Arc<Device>,
    config: &DecoderConfig,
    parameters: &Parameters,
    formats: Formats,
    room: Room,
) -> Gpu {
    let gpu = Gpu::new(device, config, formats, room).unwrap();
    for (name, var) in parameters.iter() {
        gpu.weights.set(name, &numbers(var).iter().map(|x| *x as f32).collect::<Vec<_>>()).unwrap();
    }
    gpu
}

fn numbers(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn assert_near(what: &str, got: &[f64], expected: &[f64], floor: f64) {
    let (far, allowed) = (distance(got, expected), TOLERANCE * length(expected) + floor);
    assert!(far <= allowed, "{what}: {far} from it, allowed {allowed} of {}", length(expected));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn states_and_every_gradient(
        config in wide_config(),
        seed: u64,
        lengths in prop::collection::vec((1usize..8, 1usize..8, 1usize..8), 1..5),
        window in prop::option::of(1usize..10),
        exact_gradients: bool,
        twice: bool,
    ) {
        let config = DecoderConfig { sliding_window: window, ..config };
        let parameters = rounded(&config, seed);
        let decoder = Decoder::new(&config, &parameters, lpc::config::Precision::F32).unwrap();
        let pairs = pairs(config.vocab_size, &lengths, seed);
        let members: Vec<&TokenizedPair> = pairs.iter().collect();
        let rows = PairBatch::new(&members, DType::F64, &Place::Cpu).unwrap().rows;
        let shape = (rows.tokens(), config.hidden_size);
        let upstream = seed::normal(&mut seed::stream(seed, "upstream"), shape.0 * shape.1);
        let d_hidden = Tensor::from_vec(upstream.clone(), shape, &Place::Cpu).unwrap();
        let (hidden, pass) = passes::of(&parameters).forward(&decoder, &rows, false).unwrap();
        let mut gradients = Gradients::default();
        pass.backward(&d_hidden, &mut gradients).unwrap();
        let expected = gradients.into_tensors(&parameters).unwrap();

        let formats = Formats { moments: MomentsFormat::F32, exact_gradients };
        let room = Room { tokens: rows.tokens() + 3, row: 30, scores: 100 };
        let mut gpu = gpu(&device(), &config, &parameters, formats, room);
        let upstream: Vec<f32> = upstream.into_iter().map(|x| x as f32).collect();
        // A second pack in the same memory adds as much again.
        let times = if twice { 2.0 } else { 1.0 };
        for _ in 0..times as usize {
            let run = gpu.forward(&rows).unwrap();
            assert_near("states", &f64s(&gpu.hidden(&run).unwrap()), &numbers(&hidden), 0.0);
            gpu.backward(run, &upstream).unwrap();
        }
        let largest = expected.values().map(|g| length(&numbers(g))).fold(0.0, f64::max);
        for (name, gradient) in expected {
            let got = f64s(&gpu.weights.gradient_of(&name).unwrap());
            let expected: Vec<f64> = numbers(&gradient).into_iter().map(|x| x * times).collect();
            assert_near(&name, &got, &expected, 2e-3 * largest);
        }
    }

    #[test]
    fn log_probabilities(config in decoder_config(), seed: u64, n in 1usize..20) {
        let parameters = rounded(&config, seed);
        let d = config.hidden_size;
        let mut rng = seed::stream(seed, "states");
        let states: Vec<f32> = seed::normal(&mut rng, n * d).into_iter().map(|x| bf16::from_f64(x).to_f32()).collect();
        let tokens: Vec<u32> = (0..n).map(|_| seed::below(&mut rng, config.vocab_size) as u32).collect();
        let upstream: Vec<f32> = seed::normal(&mut rng, n).into_iter().map(|x| x as f32).collect();
        let decoder = Decoder::new(&config, &parameters, lpc::config::Precision::F32).unwrap();
        let wide = |x: &[f32], shape: &[usize]| Tensor::from_vec(f64s(x), shape, &Place::Cpu).unwrap();
        let hidden = candle_core::Var::from_tensor(&wide(&states, &[n, d])).unwrap();
        let ids = Tensor::new(tokens.as_slice(), &Place::Cpu).unwrap();
        let expected = token_logps(&hidden, decoder.lm_head(), &ids).unwrap();
        let store = (&expected * wide(&upstream, &[n])).unwrap().sum_all().unwrap().backward().unwrap();

        let formats = Formats { moments: MomentsFormat::F32, exact_gradients: true };
        let mut gpu = gpu(&device(), &config, &parameters, formats, Room { tokens: 20, row: 1, scores: 130 });
        let (logps, scored) = gpu.token_logps(&states, &tokens).unwrap();
        for (got, expected) in logps.iter().zip(numbers(&expected)) {
            prop_assert!((f64::from(*got) - expected).abs() < 1e-5 * (1.0 + expected.abs()));
        }
        let d_states = gpu.token_logps_backward(scored, &upstream).unwrap();
        // A probability near 1 cancels all but its rounding.
        let weights = numbers(decoder.lm_head());
        let floor = |other: &[f64]| 2f64.powi(-8) * length(&f64s(&upstream)) * length(other) / (other.len() as f64 / d as f64).sqrt();
        assert_near("states", &f64s(&d_states), &numbers(store.get(&hidden).unwrap()), floor(&weights));
        let name = if config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
        let got = f64s(&gpu.weights.gradient_of(name).unwrap());
        assert_near("head", &got, &numbers(store.get(decoder.lm_head()).unwrap()), floor(&f64s(&states)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// From tokens to every gradient without leaving the device, a state asked about several times: the same
    /// numbers as by way of the host.
    #[test]
    fn on_the_device_alone(config in wide_config(), seed: u64, lengths in prop::collection::vec((1usize..8, 1usize..8, 1usize..8), 1..4)) {
        let parameters = rounded(&config, seed);
        let pairs = pairs(config.vocab_size, &lengths, seed);
        let members: Vec<&TokenizedPair> = pairs.iter().collect();
        let rows = PairBatch::new(&members, DType::F64, &Place::Cpu).unwrap().rows;
        let (tokens, d) = (rows.tokens(), config.hidden_size);
        let mut rng = seed::stream(seed, "asked");
        let at: Vec<u32> = (0..tokens).map(|_| seed::below(&mut rng, tokens) as u32).collect();
        let asked: Vec<u32> = at.iter().map(|_| seed::below(&mut rng, config.vocab_size) as u32).collect();
        let upstream: Vec<f32> = seed::normal(&mut rng, tokens).into_iter().map(|x| x as f32).collect();
        let formats = Formats { moments: MomentsFormat::F32, exact_gradients: true };
        let room = Room { tokens, row: 30, scores: 1 };
        let mut both = [0, 1].map(|_| gpu(&device(), &config, &parameters, formats, room));

        let run = both[0].forward(&rows).unwrap();
        let (logps, scored) = both[0].token_logps_at(&run, &at, &asked).unwrap();
        both[0].backward_from(run, scored, &upstream).unwrap();

        let run = both[1].forward(&rows).unwrap();
        let hidden = both[1].hidden(&run).unwrap();
        let states: Vec<f32> = at.iter().flat_map(|row| hidden[*row as usize * d..][..d].to_vec()).collect();
        let (expected, scored) = both[1].token_logps(&states, &asked).unwrap();
        prop_assert_eq!(logps, expected);
        let d_states = both[1].token_logps_backward(scored, &upstream).unwrap();
        let mut d_hidden = vec![0f32; tokens * d];
        for (row, d_state) in at.iter().zip(d_states.chunks(d)) {
            d_hidden[*row as usize * d..][..d].iter_mut().zip(d_state).for_each(|(a, b)| *a += b);
        }
        both[1].backward(run, &d_hidden).unwrap();
        for (name, _) in parameters.iter() {
            let [got, expected] = both.each_ref().map(|gpu| f64s(&gpu.weights.gradient_of(name).unwrap()));
            prop_assert!(distance(&got, &expected) <= 1e-5 * length(&expected), "{}", name);
        }
    }
}

#[test]
fn drawn_weights_have_their_variance() {
    let config = DecoderConfig { intermediate_size: 300, ..DecoderConfig::named("llama3-8b").unwrap() };
    let config =
        DecoderConfig { vocab_size: 70, hidden_size: 256, head_dim: 8, num_hidden_layers: 2, ..config };
    let formats = Formats { moments: MomentsFormat::EightBit, exact_gradients: false };
    let gpu = Gpu::new(&device(), &config, formats, Room { tokens: 4, row: 4, scores: 1000 }).unwrap();
    gpu.weights.draw(3).unwrap();
    let mut seen: Vec<Vec<f32>> = vec![];
    for (name, shape) in config.parameter_shapes() {
        let numbers = gpu.weights.get(&name).unwrap();
        match shape[..] {
            [_, inputs] => {
                let n = numbers.len() as f64;
                let mean = f64s(&numbers).iter().sum::<f64>() / n;
                let variance = f64s(&numbers).iter().map(|x| x * x).sum::<f64>() / n * inputs as f64;
                // Standard errors: 1/sqrt(n inputs) and sqrt(2/n).
                assert!(mean.abs() < 5.0 / (n * inputs as f64).sqrt(), "{name}: mean {mean}");
                assert!((variance - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{name}: variance {variance}");
                assert!(seen.iter().all(|other| other[..4] != numbers[..4]), "{name} was drawn before");
                seen.push(numbers);
            }
            _ => assert!(numbers.iter().all(|x| *x == 1.0), "{name}"),
        }
    }
}

/// What a plan says is what the host gives; nothing is allocated by a pass but its pack.
#[test]
fn a_plan_is_what_is_held() {
    let config = DecoderConfig {
        vocab_size: 300,
        hidden_size: 32,
        intermediate_size: 80,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        max_position_embeddings: 64,
        sliding_window: None,
        tie_word_embeddings: false,
    };
    let pairs = pairs(config.vocab_size, &[(5, 7, 3), (2, 9, 9)], 1);
    let members: Vec<&TokenizedPair> = pairs.iter().collect();
    let rows = PairBatch::new(&members, DType::F64, &Place::Cpu).unwrap().rows;
    let traces = [Device::host(), Device::plan()].map(|device| {
        let formats = Formats { moments: MomentsFormat::EightBit, exact_gradients: false };
        let mut gpu =
            Gpu::new(&device, &config, formats, Room { tokens: 40, row: 20, scores: Room::SCORES }).unwrap();
        let run = gpu.forward(&rows).unwrap();
        let hidden = gpu.hidden(&run).unwrap();
        gpu.backward(run, &hidden).unwrap();
        let (_, scored) = gpu.token_logps(&hidden[..32 * 4], &[1, 2, 3, 4]).unwrap();
        gpu.token_logps_backward(scored, &[1.0; 4]).unwrap();
        device.trace()
    });
    assert_eq!(traces[0].peak, traces[1].peak);
    assert_eq!(traces[0].by_name, traces[1].by_name);
    // 2 bytes of weights, 2 of rests; 1 of each moment and 8 for 256 of them; 2 of gradients.
    let n = traces[0].by_name["weights"] / 4;
    assert!(n >= config.parameter_shapes().map(|(_, s)| s.iter().product::<usize>()).sum());
    assert_eq!(traces[0].by_name["gradients"], 2 * n);
    assert_eq!(traces[0].by_name["moments"], 2 * n + 8 * n.div_ceil(256));
}

#[test]
fn what_does_not_fit_is_refused() {
    let config = DecoderConfig {
        vocab_size: 10,
        hidden_size: 4,
        intermediate_size: 4,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        num_key_value_heads: 1,
        head_dim: 4,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        max_position_embeddings: 64,
        sliding_window: None,
        tie_word_embeddings: true,
    };
    let formats = Formats { moments: MomentsFormat::F32, exact_gradients: true };
    let mut gpu = Gpu::new(&device(), &config, formats, Room { tokens: 6, row: 4, scores: 100 }).unwrap();
    let rows = |tokens: &[&[u32]]| {
        lpc::model::rows::TokenRows::new(tokens.iter().map(|t| lpc::model::rows::Row::causal(t)).collect())
    };
    let refused = |gpu: &mut Gpu, tokens: &[&[u32]]| gpu.forward(&rows(tokens)).err().unwrap().to_string();
    assert!(refused(&mut gpu, &[&[1, 2, 3, 4, 5]]).contains("at most 6 tokens, rows of at most 4"));
    assert!(refused(&mut gpu, &[&[1, 2, 3], &[1, 2, 3, 4]]).contains("7 tokens"));
    assert!(refused(&mut gpu, &[&[1, 10]]).contains("below the vocabulary of 10"));
    assert!(gpu.weights.set("model.norm.weight", &[1.0]).unwrap_err().to_string().contains("4 numbers"));
    assert!(gpu.weights.set("model.norm", &[1.0]).unwrap_err().to_string().contains("no such parameter"));
    assert!(gpu.weights.get("model.norm").unwrap_err().to_string().contains("no such parameter"));
    assert!(gpu.weights.gradient_of("lm_head.weight").is_err());
    assert!(gpu.token_logps(&[0.0; 4], &[10]).err().unwrap().to_string().contains("vocabulary"));
}
