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
use lpc::model::rows::{Row, TokenRows};
use lpc::passes;
use lpc::passes::gpu::{Asked, Formats, Gpu, Room, Shifts};
use lpc::seed;
use lpc::tensor::logprob::{code_logps, token_logps};
use proptest::prelude::*;
use std::sync::Arc;

/// Of a vector's length: some ten roundings of 2⁻⁹ a block, which do not all point the same way.
pub const TOLERANCE: f64 = 0.03;

/// Wide enough that roundings average out, as they do in models that are used.
pub fn wide_config() -> impl Strategy<Value = DecoderConfig> {
    decoder_config().prop_map(|c| DecoderConfig {
        hidden_size: 8 * c.hidden_size,
        intermediate_size: 16 * c.hidden_size + 1,
        head_dim: 8 * c.head_dim,
        ..c
    })
}

/// Parameters of numbers that bf16 has, in f64.
pub fn rounded(config: &DecoderConfig, seed: u64) -> Parameters {
    let parameters = parameters(config, 0, seed, DType::F64);
    for (_, var) in parameters.iter() {
        let numbers: Vec<f64> = var.flatten_all().unwrap().to_vec1().unwrap();
        let numbers: Vec<f64> = numbers.into_iter().map(|x| bf16::from_f64(x).to_f64()).collect();
        var.set(&Tensor::from_vec(numbers, var.shape(), &Place::Cpu).unwrap()).unwrap();
    }
    parameters
}

pub fn gpu(
    device: &Arc<Device>,
    config: &DecoderConfig,
    parameters: &Parameters,
    formats: Formats,
    room: Room,
) -> Gpu {
    let gpu = Gpu::new(device, config, formats, room).unwrap();
    for (name, var) in parameters.iter() {
        gpu.weights.set(name, 0, &numbers(var).iter().map(|x| *x as f32).collect::<Vec<_>>()).unwrap();
    }
    gpu
}

pub fn numbers(t: &Tensor) -> Vec<f64> {
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
        let all: Vec<u32> = (0..shape.0 as u32).collect();
        // A second pack in the same memory adds as much again.
        let times = if twice { 2.0 } else { 1.0 };
        for _ in 0..times as usize {
            let run = gpu.forward(&rows).unwrap();
            assert_near("states", &f64s(&gpu.states(run, &all).unwrap()), &numbers(&hidden), 0.0);
            gpu.backward(run, &all, &upstream).unwrap();
        }
        let largest = expected.values().map(|g| length(&numbers(g))).fold(0.0, f64::max);
        for (name, gradient) in expected {
            let got = f64s(&gpu.weights.gradient_of(&name).unwrap());
            let expected: Vec<f64> = numbers(&gradient).into_iter().map(|x| x * times).collect();
            assert_near(&name, &got, &expected, 2e-3 * largest);
        }
    }

    /// Of the head alone: shifts make any states of what the pack has.
    #[test]
    fn log_probabilities(
        config in decoder_config(), seed: u64, n in 1usize..20, b in 1usize..5, codes in 1usize..7,
        scale in 0.1..4.0f64, spread in prop_oneof![0.1..3.0f64, 30.0..200.0f64],
    ) {
        let parameters = rounded(&config, seed);
        let d = config.hidden_size;
        let mut rng = seed::stream(seed, "states");
        let mut normal = |n: usize, scale: f64| -> Vec<f32> {
            seed::normal(&mut rng, n).into_iter().map(|x| bf16::from_f64(x * scale).to_f32()).collect()
        };
        let (shifts, codebook) = (normal(b * d, scale), normal(codes * d, spread));
        let (d_logps, d_codes) = (normal(n, 1.0), normal(n * codes, 1.0));
        let mut below = |n: usize, limit: usize| -> Vec<u32> {
            (0..n).map(|_| seed::below(&mut rng, limit) as u32).collect()
        };
        let (rows, tokens, of) = (below(n, 9), below(n, config.vocab_size), below(n, b));
        let decoder = Decoder::new(&config, &parameters, lpc::config::Precision::F32).unwrap();
        let formats = Formats { moments: MomentsFormat::F32, exact_gradients: true };
        let mut gpu = gpu(&device(), &config, &parameters, formats, Room { tokens: 20, row: 9, scores: 130 });
        let pack = TokenRows::new(vec![Row::causal(&below(9, config.vocab_size))]);
        let run = gpu.forward(&pack).unwrap();
        // What the device made of the pack, exactly; and what it adds to, rounded as it rounds.
        let hidden = gpu.states(run, &rows).unwrap();
        let rounded_sum = |i: usize, shift: f32| f64::from(bf16::from_f32(hidden[i] + shift).to_f32());
        let wide = |x: Vec<f64>, shape: &[usize]| Tensor::from_vec(x, shape, &Place::Cpu).unwrap();
        let var = |x: Vec<f64>, shape: &[usize]| candle_core::Var::from_tensor(&wide(x, shape)).unwrap();
        let shifted = (0..n * d).map(|i| rounded_sum(i, shifts[of[i / d] as usize * d + i % d])).collect();
        let plain = (0..n * d).map(|i| rounded_sum(i, 0.0)).collect();
        let [shifted, plain] = [shifted, plain].map(|x| var(x, &[n, d]));
        let book = var(f64s(&codebook), &[codes, d]);
        let ids = Tensor::new(tokens.as_slice(), &Place::Cpu).unwrap();
        let expected = token_logps(&shifted, decoder.lm_head(), &ids).unwrap();
        let expected_codes = code_logps(&plain, decoder.lm_head(), &book, &ids).unwrap();
        let of_tokens = (&expected * wide(f64s(&d_logps), &[n])).unwrap().sum_all().unwrap();
        let of_codes = (&expected_codes * wide(f64s(&d_codes), &[n, codes])).unwrap().sum_all().unwrap();
        let store = (of_tokens + of_codes).unwrap().backward().unwrap();

        let asked = Asked { rows: rows.clone(), tokens, shifts: None };
        let shifts = Shifts { of: of.clone(), numbers: shifts };
        let (logps, scored) = gpu.token_logps(run, Asked { shifts: Some(shifts), ..asked.clone() }).unwrap();
        let (code_logps, codes_scored) = gpu.code_logps(run, asked, &codebook).unwrap();
        for (got, expected) in logps.iter().zip(numbers(&expected)) {
            prop_assert!((f64::from(*got) - expected).abs() < 1e-5 * (1.0 + expected.abs()));
        }
        // Biases are as large as the codebook, and f32 rounds them.
        for (got, expected) in code_logps.iter().zip(numbers(&expected_codes)) {
            prop_assert!((f64::from(*got) - expected).abs() < 4e-5 * (1.0 + expected.abs()) + 1e-6 * spread, "{} for {}", got, expected);
        }
        // Backward in the other order than forward: what lies in the workspace is not what each needs.
        let d_shifts = gpu.token_logps_backward(&scored, &d_logps).unwrap();
        let d_book = gpu.code_logps_backward(&codes_scored, &d_codes).unwrap();
        // A probability near 1 cancels all but its rounding.
        let upstream = length(&f64s(&d_logps)) + length(&f64s(&d_codes));
        let root_mean_square = |x: &[f64]| length(x) / (x.len() as f64 / d as f64).sqrt();
        let floor = |other: f64| 2f64.powi(-8) * upstream * other;
        let weights = root_mean_square(&numbers(decoder.lm_head()));
        let mut expected = vec![0f64; b * d];
        for (i, g) in numbers(store.get(&shifted).unwrap()).into_iter().enumerate() {
            expected[of[i / d] as usize * d + i % d] += g;
        }
        assert_near("shifts", &f64s(&d_shifts), &expected, floor(weights));
        assert_near("codebook", &f64s(&d_book), &numbers(store.get(&book).unwrap()), floor(weights));
        let name = if config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
        let got = f64s(&gpu.weights.gradient_of(name).unwrap());
        let states = root_mean_square(&numbers(&shifted)) + root_mean_square(&f64s(&codebook));
        assert_near("head", &got, &numbers(store.get(decoder.lm_head()).unwrap()), floor(states));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// What the head gives to the pack's states goes back as if a caller gave it: of tokens and of codes, a state
    /// asked about several times.
    #[test]
    fn on_the_device_alone(
        config in wide_config(), seed: u64, codes in 1usize..4,
        lengths in prop::collection::vec((1usize..8, 1usize..8, 1usize..8), 1..4),
    ) {
        let parameters = rounded(&config, seed);
        let pairs = pairs(config.vocab_size, &lengths, seed);
        let members: Vec<&TokenizedPair> = pairs.iter().collect();
        let rows = PairBatch::new(&members, DType::F64, &Place::Cpu).unwrap().rows;
        let (tokens, d) = (rows.tokens(), config.hidden_size);
        let mut rng = seed::stream(seed, "asked");
        let mut below = |limit: usize| -> Vec<u32> { (0..tokens).map(|_| seed::below(&mut rng, limit) as u32).collect() };
        let asked = Asked { rows: below(tokens), tokens: below(config.vocab_size), shifts: None };
        let mut normal = |n: usize| -> Vec<f32> { seed::normal(&mut rng, n).into_iter().map(|x| x as f32).collect() };
        let (codebook, d_logps, d_codes) = (normal(codes * d), normal(tokens), normal(tokens * codes));
        let formats = Formats { moments: MomentsFormat::F32, exact_gradients: true };
        let room = Room { tokens, row: 30, scores: 1 };
        let mut both = [0, 1].map(|_| gpu(&device(), &config, &parameters, formats, room));

        let gpu = &mut both[0];
        let run = gpu.forward(&rows).unwrap();
        let (_, scored) = gpu.token_logps(run, asked.clone()).unwrap();
        let (_, codes_scored) = gpu.code_logps(run, asked.clone(), &codebook).unwrap();
        gpu.code_logps_backward(&codes_scored, &d_codes).unwrap();
        gpu.token_logps_backward(&scored, &d_logps).unwrap();
        gpu.backward(run, &[], &[]).unwrap();

        // By autograd from the same states, in f64.
        let gpu = &mut both[1];
        let run = gpu.forward(&rows).unwrap();
        let hidden: Vec<f64> = gpu.states(run, &asked.rows).unwrap().iter().map(|x| bf16::from_f32(*x).to_f64()).collect();
        let wide = |x: Vec<f64>, shape: &[usize]| Tensor::from_vec(x, shape, &Place::Cpu).unwrap();
        let hidden = candle_core::Var::from_tensor(&wide(hidden, &[tokens, d])).unwrap();
        let (head, ids) = (head_of(&config, &parameters), Tensor::new(asked.tokens.as_slice(), &Place::Cpu).unwrap());
        let book: Vec<f64> = codebook.iter().map(|x| bf16::from_f32(*x).to_f64()).collect();
        let of_codes = code_logps(&hidden, &head, &wide(book, &[codes, d]), &ids).unwrap();
        let of_codes = (of_codes * wide(f64s(&d_codes), &[tokens, codes])).unwrap().sum_all().unwrap();
        let of_tokens = (token_logps(&hidden, &head, &ids).unwrap() * wide(f64s(&d_logps), &[tokens])).unwrap().sum_all().unwrap();
        let store = (of_tokens + of_codes).unwrap().backward().unwrap();
        let d_states: Vec<f32> = numbers(store.get(&hidden).unwrap()).iter().map(|x| *x as f32).collect();
        gpu.backward(run, &asked.rows, &d_states).unwrap();
        let name = if config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
        let largest = parameters.iter().map(|(name, _)| length(&f64s(&gpu.weights.gradient_of(name).unwrap()))).fold(0.0, f64::max);
        // The head's own gradient is not among these.
        for (name, _) in parameters.iter().filter(|(other, _)| *other != name) {
            let [got, expected] = both.each_ref().map(|gpu| f64s(&gpu.weights.gradient_of(name).unwrap()));
            assert_near(name, &got, &expected, 2e-3 * largest);
        }
    }
}

fn head_of(config: &DecoderConfig, parameters: &Parameters) -> Tensor {
    Decoder::new(config, parameters, lpc::config::Precision::F32).unwrap().lm_head().detach()
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
        let asked = Asked { rows: vec![3, 3, 0, 9], tokens: vec![1, 2, 3, 4], shifts: None };
        let (_, codes) = gpu.code_logps(run, asked.clone(), &[0.5; 3 * 32]).unwrap();
        let shifts = Some(Shifts { of: vec![0, 1, 1, 0], numbers: vec![0.5; 2 * 32] });
        let (_, scored) = gpu.token_logps(run, Asked { shifts, ..asked }).unwrap();
        gpu.token_logps_backward(&scored, &[1.0; 4]).unwrap();
        gpu.code_logps_backward(&codes, &[1.0; 12]).unwrap();
        gpu.backward(run, &[1], &[0.0; 32]).unwrap();
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
    let rows = |tokens: &[&[u32]]| TokenRows::new(tokens.iter().map(|t| Row::causal(t)).collect());
    let refused = |gpu: &mut Gpu, tokens: &[&[u32]]| gpu.forward(&rows(tokens)).err().unwrap().to_string();
    assert!(refused(&mut gpu, &[&[1, 2, 3, 4, 5]]).contains("at most 6 tokens, rows of at most 4"));
    assert!(refused(&mut gpu, &[&[1, 2, 3], &[1, 2, 3, 4]]).contains("7 tokens"));
    assert!(refused(&mut gpu, &[&[1, 10]]).contains("below the vocabulary of 10"));
    assert!(gpu.weights.set("model.norm.weight", 4, &[1.0]).unwrap_err().to_string().contains("4 numbers"));
    assert!(gpu.weights.set("model.norm", 0, &[1.0]).unwrap_err().to_string().contains("no such parameter"));
    assert!(gpu.weights.get("model.norm").unwrap_err().to_string().contains("no such parameter"));
    assert!(gpu.weights.gradient_of("lm_head.weight").is_err());
    let run = gpu.forward(&rows(&[&[1, 2, 3]])).unwrap();
    let asked =
        |rows: &[u32], tokens: &[u32]| Asked { rows: rows.into(), tokens: tokens.into(), shifts: None };
    let mut refused = |asked: Asked| gpu.token_logps(run, asked).err().unwrap().to_string();
    assert!(refused(asked(&[0], &[10])).contains("vocabulary of 10"));
    assert!(refused(asked(&[0], &[1, 2])).contains("a row for each of 2 tokens"));
    assert!(refused(asked(&[0; 7], &[1; 7])).contains("at most 6"));
    for (of, numbers) in [(vec![1], vec![0.0; 4]), (vec![0], vec![0.0; 5]), (vec![], vec![])] {
        let shifts = Some(Shifts { of, numbers });
        assert!(refused(Asked { shifts, ..asked(&[0], &[1]) }).contains("a row of"));
    }
    assert!(gpu.code_logps(run, asked(&[0], &[1]), &[1.0; 5]).is_err());
    assert!(gpu.code_logps(run, asked(&[0], &[1]), &[]).is_err());
}
