//! The whole step of training through flat memory: every objective and latent, over several packs.

use crate::decoders::parameters_of;
use crate::pass::{TOLERANCE, numbers, wide_config};
use crate::random_pairs::pairs;
use crate::random_settings::{CODES, latent, objective};
use crate::tools::{device, distance, f64s, length};
use crate::toy_recipe::toy_recipe;
use candle_core::{DType, Device as Place, Tensor};
use half::bf16;
use lpc::config::{Latent, Objective, Precision, Training};
use lpc::data::tokenize::TokenizedPair;
use lpc::latent::{LatentInputs, PREFIX};
use lpc::machine::device::kernels::MomentsFormat;
use lpc::model::batch::PairBatch;
use lpc::model::config::DecoderConfig;
use lpc::model::gradients::Gradients;
use lpc::model::parameters::Parameters;
use lpc::passes::gpu::{Flat, Formats, Gpu, Room};
use lpc::passes::trainable::Trainable;
use lpc::seed;
use lpc::tensor::elbo::SampleNoise;
use lpc::tensor::objective::PairLogps;
use lpc::train::loss::{exact_latents, pair_losses};
use lpc::train::optim::AdamW;
use lpc::train::step::forward_backward;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Where a sigmoid is saturated, a small error of its argument is a large share of next to nothing.
const SATURATED: f64 = 1e-7;

#[derive(Debug)]
struct Problem {
    config: DecoderConfig,
    pairs: Vec<TokenizedPair>,
    objective: Objective,
    latent: Latent,
    prior_weight: f64,
    /// Pairs of a pack.
    pack: usize,
    /// Whether what every code makes of the pairs is asked in between, as metrics do.
    gap: bool,
    seed: u64,
}

/// Slopes at which a rounding of a log-probability stays about as small in the loss, as they are in use.
fn milder(objective: Objective) -> Objective {
    match objective {
        Objective::Dpo { beta } => Objective::Dpo { beta: beta / 10.0 },
        Objective::Simpo { beta, gamma } => Objective::Simpo { beta: beta / 5.0, gamma },
        other => other,
    }
}

fn problem() -> impl Strategy<Value = Problem> {
    let lengths = prop::collection::vec((1usize..8, 1usize..8, 1usize..8), 1..5);
    let settings = (objective(), latent(), 0.0..=1.0f64, 1usize..4, any::<bool>());
    (wide_config(), lengths, prop::option::of(1usize..10), any::<bool>(), settings, any::<u64>()).prop_map(
        |(config, lengths, window, equal, (objective, latent, prior_weight, pack, gap), seed)| {
            let mut pairs = pairs(config.vocab_size, &lengths, seed);
            if equal {
                pairs[0].rejected = pairs[0].chosen.clone();
            }
            let config = DecoderConfig { sliding_window: window, ..config };
            let objective = milder(objective);
            Problem { config, pairs, objective, latent, prior_weight, pack, gap, seed }
        },
    )
}

impl Problem {
    /// The decoder's numbers are some that bf16 has, the heads' are small.
    fn parameters(&self) -> Parameters {
        let parameters = parameters_of(&self.config, &self.latent, self.seed, DType::F64);
        for (name, var) in parameters.iter() {
            let of = |x: f64| match name.starts_with(PREFIX) {
                // Networks of that width would have outputs whose exponentials overflow.
                true => 0.2 * x,
                false => bf16::from_f64(x).to_f64(),
            };
            let rounded = numbers(var).into_iter().map(of).collect();
            var.set(&Tensor::from_vec(rounded, var.shape(), &Place::Cpu).unwrap()).unwrap();
        }
        parameters
    }

    fn flat(&self) -> Trainable {
        self.flat_with(MomentsFormat::EightBit)
    }

    fn flat_with(&self, moments: MomentsFormat) -> Trainable {
        let formats = Formats { moments, exact_gradients: self.seed.is_multiple_of(2) };
        let tokens = self.pairs.iter().map(TokenizedPair::row_tokens).sum();
        let room = Room { tokens, row: 30, scores: 100 };
        let gpu = Gpu::new(&device(), &self.config, formats, room).unwrap();
        let mut heads = Parameters::default();
        for (name, var) in self.parameters().to(DType::F32, &Place::Cpu).unwrap().iter() {
            match name.starts_with(PREFIX) {
                true => heads.insert(name, var.as_detached_tensor()).unwrap(),
                false => {
                    gpu.weights.set(name, 0, &var.flatten_all().unwrap().to_vec1::<f32>().unwrap()).unwrap()
                }
            }
        }
        Trainable::Flat { decoder: Flat::new(gpu), heads, device: Place::Cpu }
    }

    /// The loss, and every gradient, of all packs.
    fn step(&self, model: &Trainable, precision: Precision) -> (f64, BTreeMap<String, Vec<f64>>) {
        let policy = model.policy(&self.config, &self.latent, precision).unwrap();
        let (mut gradients, mut total) = (Gradients::default(), 0.0);
        let mut rng = seed::stream(self.seed, "inputs");
        for members in self.pairs.chunks(self.pack) {
            let members: Vec<&TokenizedPair> = members.iter().collect();
            let batch = PairBatch::new(&members, policy.dtype(), &Place::Cpu).unwrap();
            let n = members.len();
            let mut draw = |shape: &[usize], scale: f64| {
                let values = seed::gumbel(&mut rng, shape.iter().product());
                let values: Vec<f64> = values.iter().map(|g| g * scale).collect();
                Tensor::from_vec(values, shape, &Place::Cpu).unwrap().to_dtype(policy.dtype()).unwrap()
            };
            let reference = PairLogps { chosen: draw(&[n], 3.0), rejected: draw(&[n], 3.0) };
            let noise = SampleNoise { prior: draw(&[n, CODES], 1.0), posterior: draw(&[n, CODES], 1.0) };
            let inputs = LatentInputs { noise, prior_weight: self.prior_weight };
            let pass = policy.forward(&batch, true).unwrap();
            let loss = forward_backward(pass, model.parameters(), &mut gradients, |states| {
                let reference = Some(&reference);
                let outputs =
                    pair_losses(policy.as_ref(), states, &batch, reference, self.objective, Some(&inputs))?;
                if self.gap {
                    exact_latents(policy.as_ref(), &states.detached(), &batch, reference, self.objective)?;
                }
                let loss = (outputs.loss.sum_all()? / self.pairs.len() as f64)?;
                Ok((loss.clone(), loss.to_dtype(DType::F64)?.to_scalar::<f64>()?))
            });
            total += loss.unwrap();
        }
        let tensors = gradients.into_tensors(model.parameters()).unwrap();
        let mut all: BTreeMap<String, Vec<f64>> =
            tensors.iter().map(|(name, gradient)| (name.clone(), numbers(gradient))).collect();
        if let Some(flat) = model.flat() {
            let gpu = flat.lock();
            let of = |(name, _)| (String::clone(&name), f64s(&gpu.weights.gradient_of(&name).unwrap()));
            all.extend(self.config.parameter_shapes().map(of));
        }
        (total, all)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Within roundings of autograd's step in f64. Activations are rounded too, so it may be some times as far from
    /// it as the CPU's own bf16 step, which rounds factors alone: where slopes of the loss are steep, both are.
    #[test]
    fn loss_and_every_gradient(problem in problem()) {
        let exact = problem.parameters();
        let single = exact.to(DType::F32, &Place::Cpu).unwrap();
        let (loss, expected) = problem.step(&exact.into(), Precision::F32);
        let (cpu_loss, cpu) = problem.step(&single.into(), Precision::Bf16);
        let (flat_loss, flat) = problem.step(&problem.flat(), Precision::Bf16);
        let allowed = 0.02 * (1.0 + loss.abs()) + 10.0 * (cpu_loss - loss).abs();
        prop_assert!((flat_loss - loss).abs() <= allowed, "{flat_loss}, expected {loss} within {allowed}");
        prop_assert_eq!(flat.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        let largest = expected.values().map(|g| length(g)).fold(0.0, f64::max);
        for (name, expected) in &expected {
            let far = distance(&flat[name], expected);
            let of_cpu = distance(&cpu[name], expected);
            let allowed = TOLERANCE * length(expected) + 5e-3 * largest + 10.0 * of_cpu + SATURATED;
            prop_assert!(far <= allowed, "{}: {} from it, allowed {} of {}, the CPU's {}", name, far, allowed, length(expected), of_cpu);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]

    /// Given the same gradients, weights in flat memory and in tensors move alike: one norm over decoder and heads,
    /// a learning rate for each, decay of matrices alone.
    #[test]
    fn updates(problem in problem(), rates in (1e-4..1e-2f64, 1e-4..1e-2f64), max_grad_norm in 0.01..10.0f64) {
        let settings = Training { learning_rate: rates.0, max_grad_norm, weight_decay: 0.3, ..toy_recipe().training };
        let problem = Problem { seed: problem.seed & !1, ..problem };
        let flat = problem.flat_with(MomentsFormat::F32);
        let tensors = problem.parameters().to(DType::F32, &Place::Cpu).unwrap();
        let mut of_flat = AdamW::new(flat.parameters(), &settings, rates.1).unwrap().with(flat.flat());
        let mut of_tensors = AdamW::new(&tensors, &settings, rates.1).unwrap();
        for schedule in [0.5, 1.0] {
            let (_, gradients) = problem.step(&flat, Precision::Bf16);
            let tensor = |name: &String, var: &Tensor| {
                let numbers: Vec<f32> = gradients.get(name).map_or(vec![0.0; var.elem_count()], |g| g.iter().map(|x| *x as f32).collect());
                Tensor::from_vec(numbers, var.shape(), &Place::Cpu).unwrap()
            };
            let all: BTreeMap<String, Tensor> = tensors.iter().map(|(name, var)| (name.clone(), tensor(name, var))).collect();
            let heads = flat.parameters().iter().map(|(name, _)| (name.clone(), all[name].clone())).collect();
            let norms = [of_flat.step(&heads, schedule).unwrap(), of_tensors.step(&all, schedule).unwrap()];
            prop_assert!((norms[0] - norms[1]).abs() <= 1e-5 * norms[1], "{:?}", norms);
        }
        for (name, var) in tensors.iter() {
            let got = match flat.parameters().tensors().get(name) {
                Some(head) => numbers(head),
                None => f64s(&flat.flat().unwrap().lock().weights.get(name).unwrap()),
            };
            // Two updates of at most some rates; the second of slightly different gradients' roundings.
            let far = got.iter().zip(numbers(var)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            prop_assert!(far <= 1e-3 * rates.0.min(rates.1), "{}: {}", name, far);
        }
    }
}
