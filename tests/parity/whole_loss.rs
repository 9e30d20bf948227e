//! The composite LPC loss: closed-form gradients of `spec` against candle's reverse mode.

use crate::composed::{Batch, Blocks, Head, Relaxed};
use crate::twins::{Problem, assert_close, log_uniform, problem, settings, size};
use candle_core::DType;
use lpc::config::Objective;
use lpc::spec::gradient::lpc_loss;
use proptest::prelude::*;

/// f32 against f64 on the same inputs, relative to the largest number in the computation: some ten
/// roundings of 6e-8, those of the logits multiplied by 1/τ ≤ 10 on their way into h_z and those of
/// the margin by the slope. Measured over 5,000 cases: 6.2e-6 at most, 1.1e-6 but for two.
const F32: f64 = 2e-5;

fn check(problem: &Problem, settings: &Relaxed) {
    let spec = problem.spec_blocks(settings);
    let tensor = Batch::new(&problem.pairs(), DType::F64).blocks(settings, &problem.upstream(), Head::Plain);
    let size = problem.size(settings, &spec);
    for ((what, tensor), (name, spec)) in tensor.iter().zip(&spec) {
        assert_eq!(what, name);
        assert_close(what, tensor, spec, size);
    }
}

/// Moves the reference until every pair's Δ is `margin`.
fn move_margins(problem: &mut Problem, settings: &Relaxed, margin: f64) {
    let found: Vec<f64> =
        problem.pairs().iter().map(|pair| lpc_loss(pair, &settings.spec()).unwrap().margin).collect();
    for (example, found) in problem.examples.iter_mut().zip(found) {
        example.reference.chosen += found - margin;
    }
}

/// The largest error among blocks, relative to `size`, and the block.
fn error(tensor: &Blocks, spec: &Blocks, size: f64) -> (f64, &'static str) {
    let mut worst = (0.0, "");
    for ((what, tensor), (_, spec)) in tensor.iter().zip(spec) {
        for (t, s) in tensor.iter().zip(spec) {
            let off = (t - s).abs() / size;
            // What is not a number is the worst of all.
            if off.is_nan() || off > worst.0 {
                worst = (off, what);
            }
        }
    }
    worst
}

proptest! {
    #[test]
    fn double_precision(problem in problem(), settings in settings()) {
        check(&problem, &settings);
    }

    /// Pairs won and lost by up to 1e4 in the argument of σ, and for IPO in Δ itself.
    #[test]
    fn far_tails(mut problem in problem(), settings in settings(), distance in log_uniform(30.0, 1e4), won: bool) {
        let target = if won { distance } else { -distance };
        let mut settings = settings;
        match settings.objective {
            Objective::Dpo { beta } | Objective::Gpo { beta, .. } => move_margins(&mut problem, &settings, target / beta),
            Objective::Ipo { .. } => move_margins(&mut problem, &settings, target),
            Objective::Simpo { beta, .. } => settings.objective = Objective::Simpo { beta, gamma: -target },
        }
        check(&problem, &settings);
    }

    /// Vocabulary scores of thousands: certain tokens, and impossible ones.
    #[test]
    fn certain_tokens(mut problem in problem(), settings in settings(), scale in log_uniform(10.0, 1e3)) {
        problem.lm_head.mapv_inplace(|v| v * scale);
        check(&problem, &settings);
    }

    /// What trains: f32, with the fused head, and without it.
    #[test]
    fn single_precision(problem in problem(), settings in settings()) {
        let problem = problem.to_f32();
        let spec = problem.spec_blocks(&settings);
        let size = problem.size(&settings, &spec);
        let batch = Batch::new(&problem.pairs(), DType::F32);
        for head in [Head::Plain, Head::Fused] {
            let tensor = batch.blocks(&settings, &problem.upstream(), head);
            let (error, what) = error(&tensor, &spec, size);
            prop_assert!(error <= F32, "{:?} {}: off by {:e} of {:e}", head, what, error, size);
        }
    }
}

/// The tolerance of f64 has teeth: a loss off by one part in 1e8 would be noticed.
#[test]
#[should_panic(expected = "off by")]
fn a_small_error_is_noticed() {
    let exact = [1.0, 2.0, 3.0];
    assert_close("loss", &[1.0, 2.0 + 2e-8, 3.0], &exact, size(&exact));
}
