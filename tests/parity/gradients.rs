//! Gradients: finite differences of every parameter, and the ways of computing them.

use crate::decoders::{decoder_config, parameters, parameters_of};
use crate::difference::max_abs_diff;
use crate::random_pairs::pairs;
use crate::random_settings::{CODES, latent, objective};
use crate::support::Kernels;
use candle_core::{DType, Device, Tensor};
use lpc::config::{Latent, Objective, Precision};
use lpc::data::tokenize::TokenizedPair;
use lpc::latent::LatentInputs;
use lpc::model::batch::PairBatch;
use lpc::model::config::DecoderConfig;
use lpc::model::gradients::Gradients;
use lpc::model::parameters::Parameters;
use lpc::passes::policy::{PairPolicy, Policy};
use lpc::seed;
use lpc::tensor::elbo::SampleNoise;
use lpc::tensor::lm_head::{token_logps_composed, token_logps_fused};
use lpc::tensor::objective::PairLogps;
use lpc::train::loss::pair_losses;
use lpc::train::step::forward_backward;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// f32 against f64, relative to the largest entry of the same gradient: roundings of 6e-8, some
/// hundred of them, and up to 50 times more where a norm divides by a few nearly vanishing
/// numbers. Measured over 15,000 gradients: 3e-4 at most.
const RELATIVE: f64 = 1e-3;
/// What cancels to nothing keeps the rounding of its terms, which are no larger than the largest
/// gradient of the model: 16 roundings of 6e-8 of it. That is for gradients that are exactly 0 in
/// f64 (queries and keys where a window of 1 leaves one weight of 1); measured: 1.4e-7 at most.
const NOISE: f64 = 1e-6;
/// Over every code, differences of distributions reach the networks, (6)'s p − p*, and the two
/// sides of a pair meet code by code: roundings of 6e-8 of terms up to 1, also where the pair is
/// decided and the whole gradient nearly 0. Measured: 5.9e-8.
const EVERY_CODE: f64 = 1e-6;

#[derive(Debug)]
pub struct Problem {
    pub config: DecoderConfig,
    pub pairs: Vec<TokenizedPair>,
    pub objective: Objective,
    pub latent: Latent,
    pub prior_weight: f64,
    pub seed: u64,
}

impl Problem {
    /// The decoder's and the latent's; a plain policy's stand beside LPC's heads, which it never reads.
    pub fn parameters(&self, dtype: DType) -> Parameters {
        match self.latent {
            Latent::None {} => parameters(&self.config, CODES, self.seed, dtype),
            latent => parameters_of(&self.config, &latent, self.seed, dtype),
        }
    }

    pub fn gradients(
        &self,
        parameters: &Parameters,
        precision: Precision,
        kernels: Kernels,
        recompute: bool,
    ) -> (f64, BTreeMap<String, Tensor>) {
        let parameters = &kernels.given(parameters);
        let policy = Policy::new(&self.config, parameters, &self.latent, precision).unwrap();
        let members: Vec<&TokenizedPair> = self.pairs.iter().collect();
        let dtype = policy.decoder.dtype();
        let device = policy.decoder.device();
        let batch = PairBatch::new(&members, dtype, device).unwrap();
        let mut rng = seed::stream(self.seed, "inputs");
        let mut draw = |shape: &[usize], scale: f64| {
            let n = shape.iter().product();
            let values: Vec<f64> = seed::gumbel(&mut rng, n).iter().map(|g| g * scale).collect();
            Tensor::from_vec(values, shape, device).unwrap().to_dtype(dtype).unwrap()
        };
        let n = self.pairs.len();
        let reference = PairLogps { chosen: draw(&[n], 3.0), rejected: draw(&[n], 3.0) };
        let noise = SampleNoise { prior: draw(&[n, CODES], 1.0), posterior: draw(&[n, CODES], 1.0) };
        let inputs = LatentInputs { noise, prior_weight: self.prior_weight };
        let mut gradients = Gradients::default();
        let loss = forward_backward(
            policy.forward(&batch, recompute).unwrap(),
            parameters,
            &mut gradients,
            |states| {
                let outputs =
                    pair_losses(&policy, states, &batch, Some(&reference), self.objective, Some(&inputs))?;
                let loss = outputs.loss.mean_all()?;
                Ok((loss.clone(), loss.to_dtype(DType::F64)?.to_scalar::<f64>()?))
            },
        )
        .unwrap();
        (loss, gradients.into_tensors(parameters).unwrap())
    }

    /// Both hand-written backward passes in f32 against autograd in f64: the loss and every gradient.
    pub fn blocks_equal_plain_ones(&self, relative: f64) -> Result<(), TestCaseError> {
        self.equal_plain_ones(Kernels::Fused, relative)?;
        self.equal_plain_ones(Kernels::Composed, relative)
    }

    fn equal_plain_ones(&self, kernels: Kernels, relative: f64) -> Result<(), TestCaseError> {
        let exact = self.parameters(DType::F64);
        let single = exact.to(DType::F32, &Device::Cpu).unwrap();
        let (loss, plain) = self.gradients(&exact, Precision::F32, Kernels::Composed, false);
        let (loss_fused, fused) = self.gradients(&single, Precision::F32, kernels, false);
        prop_assert!((loss - loss_fused).abs() < 1e-4 * (1.0 + loss.abs()), "{loss} and {loss_fused}");
        prop_assert_eq!(plain.keys().collect::<Vec<_>>(), fused.keys().collect::<Vec<_>>());
        let scale = plain.values().map(largest).fold(0.0, f64::max);
        for (name, gradient) in &plain {
            prop_assert_eq!(gradient.dims(), fused[name].dims());
            let (diff, largest) = (max_abs_diff(gradient, &fused[name]), largest(gradient));
            let floor = match self.latent {
                Latent::ExactElbo { .. } | Latent::Marginal { .. } => EVERY_CODE,
                _ => 0.0,
            };
            let allowed = relative * largest + NOISE * scale + floor;
            prop_assert!(
                diff <= allowed,
                "{} differs by {:e} of {:e}, allowed {:e}",
                name,
                diff,
                largest,
                allowed
            );
        }
        Ok(())
    }
}

pub fn problem() -> impl Strategy<Value = Problem> {
    let lengths = prop::collection::vec((1usize..6, 1usize..6, 1usize..6), 1..4);
    (
        decoder_config(),
        lengths,
        objective(),
        latent(),
        0.0..=1.0f64,
        any::<u64>(),
        prop::option::of(1usize..9),
    )
        .prop_map(|(config, lengths, objective, latent, prior_weight, seed, sliding_window)| Problem {
            pairs: pairs(config.vocab_size, &lengths, seed),
            config: DecoderConfig { sliding_window, ..config },
            objective,
            latent,
            prior_weight,
            seed,
        })
}

pub fn largest(t: &Tensor) -> f64 {
    max_abs_diff(t, &t.zeros_like().unwrap())
}

fn perturbed(parameters: &Parameters, name: &str, direction: &Tensor, step: f64) -> Parameters {
    let copy = parameters.to(DType::F64, &Device::Cpu).unwrap();
    let (_, var) = copy.iter().find(|(n, _)| *n == name).unwrap();
    var.set(&(var.as_tensor() + (direction * step).unwrap()).unwrap()).unwrap();
    copy
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Each parameter along a random direction, central differences in f64, extrapolated from
    /// two steps. Norms of a few nearly vanishing numbers bend the loss at a scale of 1e-3, so
    /// the steps are small: truncation (h/1e-3)⁴, rounding 1e-16/h, both below 1e-8.
    #[test]
    fn every_gradient_matches_finite_differences(problem in problem()) {
        let parameters = problem.parameters(DType::F64);
        let (loss, gradients) = problem.gradients(&parameters, Precision::F32, Kernels::Composed, false);
        let mut rng = seed::stream(problem.seed, "directions");
        for (name, var) in parameters.iter() {
            let unread = match problem.latent {
                Latent::None {} => "lpc.",
                Latent::Marginal { .. } => "lpc.posterior.",
                _ => "nothing",
            };
            if name.starts_with(unread) {
                prop_assert!(!gradients.contains_key(name), "{name} has a gradient that nothing reads");
                continue;
            }
            let gradient = gradients.get(name);
            prop_assert!(gradient.is_some(), "{name} has no gradient");
            let direction = Tensor::from_vec(seed::normal(&mut rng, var.elem_count()), var.shape(), &Device::Cpu).unwrap();
            let at = |s: f64| problem.gradients(&perturbed(&parameters, name, &direction, s), Precision::F32, Kernels::Composed, false).0;
            let central = |h: f64| (at(h) - at(-h)) / (2.0 * h);
            let numeric = (4.0 * central(1e-6) - central(2e-6)) / 3.0;
            let analytic: f64 = (gradient.unwrap() * &direction).unwrap().sum_all().unwrap().to_scalar().unwrap();
            let scale = 1.0 + loss.abs() + numeric.abs();
            prop_assert!((analytic - numeric).abs() < 2e-6 * scale, "{name}: {analytic} and {numeric} by differences");
        }
    }

    /// Recomputation repeats the same operations on the same numbers.
    #[test]
    fn recomputation_changes_no_bit(problem in problem(), kernels in prop::sample::select(vec![Kernels::Composed, Kernels::Fused])) {
        let parameters = problem.parameters(DType::F32);
        let (loss, kept) = problem.gradients(&parameters, Precision::F32, kernels, false);
        let (loss_again, recomputed) = problem.gradients(&parameters, Precision::F32, kernels, true);
        prop_assert_eq!(loss.to_bits(), loss_again.to_bits());
        prop_assert_eq!(kept.keys().collect::<Vec<_>>(), recomputed.keys().collect::<Vec<_>>());
        for (name, gradient) in &kept {
            let diff = max_abs_diff(gradient, &recomputed[name]);
            prop_assert!(diff == 0.0, "{} differs by {:e}", name, diff);
        }
    }

    #[test]
    fn blocks_equal_plain_ones(problem in problem()) {
        problem.blocks_equal_plain_ones(RELATIVE)?;
    }

    /// The chunked head against its plain composition, f32 values and gradients.
    #[test]
    fn the_fused_head_equals_the_plain_one(n in 1usize..40, d in 1usize..20, vocab in 1usize..300, scale in 0.1..10.0f32, seed: u64) {
        let mut rng = seed::stream(seed, "head");
        let mut normal = |rows: usize, cols: usize| {
            let v: Vec<f32> = seed::normal(&mut rng, rows * cols).iter().map(|x| *x as f32 * scale).collect();
            candle_core::Var::from_tensor(&Tensor::from_vec(v, (rows, cols), &Device::Cpu).unwrap()).unwrap()
        };
        let (hidden, head, upstream) = (normal(n, d), normal(vocab, d), normal(n, 1));
        let tokens: Vec<u32> = (0..n).map(|i| ((i as u64 * 31 + seed % 97) % vocab as u64) as u32).collect();
        let upstream = upstream.flatten_all().unwrap();
        let run = |logps: Tensor| {
            let grads = (&logps * &upstream).unwrap().sum_all().unwrap().backward().unwrap();
            (logps, grads.get(&hidden).unwrap().clone(), grads.get(&head).unwrap().clone())
        };
        let (plain, dh, dw) = run(token_logps_composed(&hidden, &head, &tokens, Precision::F32).unwrap());
        let (fused, dh_fused, dw_fused) = run(token_logps_fused(&hidden, &head, &tokens, Precision::F32).unwrap());
        // f32 rounding of scores of size `size`, through exp and a sum of up to 40 terms.
        let size = f64::from(scale * scale) * d as f64 + 1.0;
        let tolerance = 1e-5 * size * f64::from(scale.max(1.0)).powi(2);
        for (what, a, b) in [("logps", plain, fused), ("hidden", dh, dh_fused), ("head", dw, dw_fused)] {
            let diff = max_abs_diff(&a, &b);
            prop_assert!(diff < tolerance, "{} differ by {:e}, tolerance {:e}", what, diff, tolerance);
        }
    }
}
