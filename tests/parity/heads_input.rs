//! What the heads read: the statistics and the map on both sides, and a latent that reads by them.

use crate::composed::{gradient, numbers};
use crate::twins::{Draw, assert_close, backward, log_uniform, size, var1, var2};
use candle_core::{Device, Tensor};
use lpc::config::{HeadsInput, Latent, LatentAtTest, PriorWeight};
use lpc::latent::{
    Drawn, FIXED, LatentInputs, PriorLatent, Seen, States, heads, init_heads, insert_statistics,
};
use lpc::model::parameters::Parameters;
use lpc::tensor::elbo::SampleNoise;
use lpc::{seed, spec, tensor};
use ndarray::Array2;
use proptest::prelude::*;

fn flat(a: &Array2<f64>) -> Vec<f64> {
    a.iter().copied().collect()
}

fn tensor_of(a: &Array2<f64>) -> Tensor {
    Tensor::from_vec(flat(a), a.dim(), &Device::Cpu).unwrap()
}

proptest! {
    #[test]
    fn statistics_and_the_map(
        seed: u64, n in 3usize..20, d in 1usize..8, offset in log_uniform(0.1, 100.0), ridge in log_uniform(1e-4, 1.0),
    ) {
        let mut draw = Draw::new(seed);
        let states = draw.matrix(n, d, 1.0) + offset;
        let (mean, covariance) = spec::heads_input::moments(&states).unwrap();
        let (mean_t, covariance_t) = tensor::heads_input::moments(&tensor_of(&states)).unwrap();
        assert_close("mean", &numbers(&mean_t), &mean.to_vec(), offset);
        assert_close("covariance", &numbers(&covariance_t), &flat(&covariance), offset);
        let matrix = spec::heads_input::whitening(&covariance, ridge).unwrap();
        let matrix_t = tensor::heads_input::whitening(&tensor_of(&covariance), ridge).unwrap();
        // An inverse root magnifies the rounding of the smallest variance.
        let rounding = size(&matrix) * (d * d) as f64 / ridge;
        assert_close("whitening", &numbers(&matrix_t), &flat(&matrix), rounding);
        let (hidden, upstream) = (var2(&states), draw.matrix(n, d, 1.0));
        for matrix in [None, Some(&matrix)] {
            let with = matrix.map(tensor_of);
            let read =
                tensor::heads_input::standardise(&hidden, var1(mean.as_slice().unwrap()).as_tensor(), with.as_ref()).unwrap();
            let rows = |f: &dyn Fn(usize) -> Vec<f64>| (0..n).flat_map(f).collect::<Vec<f64>>();
            let of = |i: usize| {
                spec::heads_input::standardise(&states.row(i), &mean, matrix.map(|m| &**m)).unwrap().to_vec()
            };
            let rounding = offset * matrix.map_or(1.0, size) * d as f64;
            assert_close("standardise", &numbers(&read), &rows(&of), rounding);
            let store = backward(&read, &flat(&upstream));
            let of = |i: usize| {
                spec::heads_input::standardise_gradient(&upstream.row(i), matrix.map(|m| &**m)).unwrap().to_vec()
            };
            assert_close("∂hidden", &gradient(&store, &hidden), &rows(&of), rounding * size(&upstream));
        }
    }
}

/// Every latent whose networks read hidden states, with one input or another.
fn latents(heads_input: HeadsInput) -> Vec<Latent> {
    let (codes, codebook_std, kl_weight, heads_learning_rate) = (3, 0.7, 0.1, None);
    let prior_weight = PriorWeight::Fixed { value: 0.4 };
    vec![
        Latent::Gumbel {
            codes,
            gumbel_tau: 0.8,
            kl_weight,
            prior_weight,
            codebook_std,
            heads_learning_rate,
            heads_input,
        },
        Latent::ExactElbo { codes, kl_weight, codebook_std, heads_learning_rate, heads_input },
        Latent::Marginal { codes, codebook_std, heads_learning_rate, heads_input },
        Latent::Control { match_codes: codes, output_std: 0.7, heads_learning_rate, heads_input },
        Latent::Gaussian {
            dimension: 3,
            kl_weight,
            prior_weight,
            output_std: 0.7,
            heads_learning_rate,
            heads_input,
        },
    ]
}

/// What a latent makes of states in training and at test, as numbers.
fn made(latent: &Latent, parameters: &Parameters, d: usize, states: &[Tensor; 3]) -> Vec<f64> {
    let heads = heads(parameters, d, latent).unwrap().unwrap();
    let [prompt_hidden, chosen_hidden, rejected_hidden] = states;
    let seen = Seen { prompt_hidden, chosen_hidden, rejected_hidden, factor_weights: None };
    let noise = Tensor::new(vec![vec![0.3f32, -0.2, 0.9]; 2], &Device::Cpu).unwrap();
    let noise = SampleNoise { prior: noise.clone(), posterior: (noise * -0.7).unwrap() };
    let inputs = LatentInputs { noise, prior_weight: 0.4 };
    let mut all = match heads.draw(&seen, Some(&inputs)).unwrap() {
        Drawn::One { h_z, divergence, .. } => {
            let kl = divergence.map_or(vec![], |d| numbers(&d.kl));
            [numbers(&h_z), kl].concat()
        }
        Drawn::EveryCode(codes, _) => {
            let prior = codes.prior_logits(prompt_hidden).unwrap();
            [numbers(&prior), numbers(&codes.posterior_logits(&seen).unwrap())].concat()
        }
    };
    match heads.at_test(LatentAtTest::Mean, prompt_hidden, None, &mut |_| unreachable!()).unwrap() {
        PriorLatent::Latent(h_z) => all.extend(numbers(&h_z)),
        PriorLatent::Mixture(logps) => all.extend(logps.concat()),
    }
    all
}

/// A latent that reads by statistics makes of states what the same latent with raw states makes of those that `spec`
/// has centred or whitened: prompts by the prompts' statistics, completions by theirs.
#[test]
fn latents_read_by_their_statistics() {
    let d = 6;
    let mut draw = Draw::new(5);
    let mut states = |n: usize, offset: f64| draw.matrix(n, d, 1.0) + offset;
    let (of_prompts, of_completions) = (states(40, 3.0), states(80, -2.0));
    let asked = [states(2, 3.0), states(2, -2.0), states(2, -2.0)];
    let single = |a: &Array2<f64>| tensor_of(a).to_dtype(candle_core::DType::F32).unwrap();
    let states = States { prompt: tensor_of(&of_prompts), completion: tensor_of(&of_completions) };
    for input in [HeadsInput::Centred, HeadsInput::Whitened] {
        let read = |asked: &Array2<f64>, of: &Array2<f64>| {
            let (mean, covariance) = spec::heads_input::moments(of).unwrap();
            let matrix = spec::heads_input::whitening(&covariance, lpc::latent::RIDGE).unwrap();
            let matrix = (input == HeadsInput::Whitened).then_some(matrix);
            let rows = asked
                .outer_iter()
                .flat_map(|h| spec::heads_input::standardise(&h, &mean, matrix.as_deref()).unwrap().to_vec());
            single(&Array2::from_shape_vec(asked.dim(), rows.collect()).unwrap())
        };
        let [prompt, chosen, rejected] = &asked;
        let standard =
            [read(prompt, &of_prompts), read(chosen, &of_completions), read(rejected, &of_completions)];
        for (latent, raw) in latents(input).iter().zip(latents(HeadsInput::Raw)) {
            let mut parameters = Parameters::default();
            init_heads(&mut parameters, d, latent, &mut seed::stream(3, "heads")).unwrap();
            let error = heads(&parameters, d, latent).err().unwrap().to_string();
            assert!(error.contains(FIXED), "{error}");
            insert_statistics(&mut parameters, latent, &states).unwrap();
            let asked = asked.each_ref().map(single);
            let (got, expected) =
                (made(latent, &parameters, d, &asked), made(&raw, &parameters, d, &standard));
            assert_eq!(got.len(), expected.len());
            for (g, e) in got.iter().zip(&expected) {
                assert!((g - e).abs() < 2e-5 * (1.0 + e.abs()), "{latent:?}: {g} {e}");
            }
            let unread = made(&raw, &parameters, d, &asked);
            assert!(
                got.iter().zip(&unread).any(|(g, u)| (g - u).abs() > 1e-2),
                "{latent:?} reads raw states"
            );
        }
    }
}
