//! bf16 factors: the fused operations against the composed ones, which round the same numbers by
//! candle's own conversion and multiply them in f32.
//!
//! Values agree to f32's rounding, but where a sum in another order falls on the other side of a
//! rounding to bf16. Gradients are rounded at other places in the two: they agree as vectors.

use crate::gradients::problem;
use crate::support::{Kernels, places};
use candle_core::{DType, Device, Tensor, Var};
use lpc::config::Precision::{Bf16, F32};
use lpc::seed;
use lpc::tensor::code_head::{code_logps_composed, code_logps_fused};
use lpc::tensor::lm_head::{token_logps_composed, token_logps_fused};
use proptest::prelude::*;

/// Of a gradient's length: some roundings of 2⁻⁹ that do not all point the same way.
const GRADIENT: f64 = 0.02;

fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn length(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let difference: Vec<f64> = values(a).iter().zip(values(b)).map(|(a, b)| a - b).collect();
    length(&difference)
}

fn normal(seed: u64, name: &str, shape: &[usize], scale: f64) -> Var {
    let n = shape.iter().product();
    let draws = seed::normal(&mut seed::stream(seed, name), n);
    let draws: Vec<f32> = draws.into_iter().map(|v| (v * scale) as f32).collect();
    Var::from_tensor(&Tensor::from_vec(draws, shape, &Device::Cpu).unwrap()).unwrap()
}

/// Values of both, and gradients of Σ upstream · value for each variable of both.
fn compare(seed: u64, vars: &[&Var], fused: &Tensor, composed: &Tensor) -> Result<(), TestCaseError> {
    for (a, b) in values(fused).iter().zip(values(composed)) {
        prop_assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{} and {}", a, b);
    }
    let upstream = normal(seed, "upstream", fused.dims(), 1.0).detach();
    let gradients = |x: &Tensor| (x * &upstream).unwrap().sum_all().unwrap().backward().unwrap();
    let (fused, composed) = (gradients(fused), gradients(composed));
    // A probability near 1 cancels all but its rounding, 2⁻⁹ of upstream times the other factor's row.
    let longest = |var: &&Var| {
        let width = var.dims()[1];
        values(var).chunks(width).map(length).fold(0.0, f64::max)
    };
    let rounding = 2f64.powi(-9) * length(&values(&upstream)) * vars.iter().map(longest).fold(0.0, f64::max);
    for var in vars {
        let (a, b) = (fused.get(var).unwrap(), composed.get(var).unwrap());
        let allowed = GRADIENT * length(&values(b)) + rounding;
        prop_assert!(distance(a, b) <= allowed, "{:?}: {} of {}", var.dims(), distance(a, b), allowed);
    }
    Ok(())
}

fn head_problem() -> impl Strategy<Value = (usize, usize, usize, f64, u64)> {
    // Tokens, width, vocabulary: around the 8 rows, 48 columns and 32 terms of a tile.
    (1usize..40, 1usize..90, 2usize..130, 0.1..3.0f64, any::<u64>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn log_probabilities((n, d, vocab, scale, seed) in head_problem()) {
        let scale = scale / (d as f64).sqrt();
        let (hidden, head) = (normal(seed, "hidden", &[n, d], 1.0), normal(seed, "head", &[vocab, d], scale));
        let mut rng = seed::stream(seed, "tokens");
        let tokens: Vec<u32> = (0..n).map(|_| seed::below(&mut rng, vocab) as u32).collect();
        let fused = token_logps_fused(&hidden, &head, &tokens, Bf16).unwrap();
        let composed = token_logps_composed(&hidden, &head, &tokens, Bf16).unwrap();
        compare(seed, &[&hidden, &head], &fused, &composed)?;
    }

    #[test]
    fn log_probabilities_under_every_code((n, d, vocab, scale, seed) in head_problem(), codes in 1usize..9) {
        let scale = scale / (d as f64).sqrt();
        let (hidden, head) = (normal(seed, "hidden", &[n, d], 1.0), normal(seed, "head", &[vocab, d], scale));
        let codebook = normal(seed, "codebook", &[codes, d], 0.5);
        let mut rng = seed::stream(seed, "tokens");
        let tokens: Vec<u32> = (0..n).map(|_| seed::below(&mut rng, vocab) as u32).collect();
        let fused = code_logps_fused(&hidden, &head, &codebook, &tokens, Bf16).unwrap();
        let composed = code_logps_composed(&hidden, &head, &codebook, &tokens, Bf16).unwrap();
        compare(seed, &[&hidden, &head, &codebook], &fused, &composed)?;
    }

    /// The whole training step: blocks, head, objective and latent.
    #[test]
    fn loss_and_every_gradient(problem in problem()) {
        let single = problem.parameters(DType::F32);
        let (loss_fused, fused) = problem.gradients(&single, Bf16, Kernels::Fused, false);
        let whole = length(&fused.values().flat_map(values).collect::<Vec<_>>());
        let (exact, in_f32) = problem.gradients(&single, F32, Kernels::Fused, false);
        let moved = fused.iter().map(|(name, gradient)| distance(gradient, &in_f32[name]).powi(2)).sum::<f64>();
        let magnified = moved.sqrt() > 0.02 * whole || (exact - loss_fused).abs() > 0.004 * (1.0 + exact.abs());
        for place in places() {
            // A GPU rounds products as well: where rounding their factors moves much, that moves more.
            if magnified && !place.is_cpu() {
                continue;
            }
            let more = if place.is_cpu() { 1.0 } else { 6.0 };
            let there = single.to(DType::F32, place).unwrap();
            let (loss, plain) = problem.gradients(&there, Bf16, Kernels::Composed, false);
            let allowed = more * 0.02 * (1.0 + loss.abs());
            prop_assert!((loss - loss_fused).abs() < allowed, "{loss} and {loss_fused}, {place:?}");
            for (name, gradient) in &plain {
                // What is left where numbers of size 1 cancel is the rounding of their f32 sums.
                let allowed = more * (0.05 * length(&values(gradient)) + 0.01 * whole + 1e-6);
                let gradient = gradient.to_device(&Device::Cpu).unwrap();
                let distance = distance(&gradient, &fused[name]);
                prop_assert!(distance <= allowed, "{}: {} apart, allowed {}, {place:?}", name, distance, allowed);
            }
        }
        // Recomputed: the same numbers.
        let (again, recomputed) = problem.gradients(&single, Bf16, Kernels::Fused, true);
        prop_assert_eq!(again.to_bits(), loss_fused.to_bits());
        for (name, gradient) in &fused {
            prop_assert_eq!(values(gradient), values(&recomputed[name]), "{}", name);
        }
        // And bf16 is what was asked for: f32 gives other numbers.
        // A loss may round to the same in both; no gradient is there where completions are the same.
        prop_assume!(whole > 1e-3);
        let same = fused.iter().all(|(name, gradient)| values(gradient) == values(&in_f32[name]));
        prop_assert!(exact.to_bits() != loss_fused.to_bits() || !same, "{} in both precisions", exact);
    }
}
