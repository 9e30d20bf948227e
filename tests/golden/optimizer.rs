//! Clipping, AdamW and the linear schedule against PyTorch and transformers.

use crate::toy_recipe::toy_recipe;
use candle_core::{DType, Device, Tensor};
use lpc::config::Training;
use lpc::model::parameters::Parameters;
use lpc::train::optim::{AdamW, linear_schedule};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Ours keeps f32 moments and parameters; up to 25 updates from gradients of order 10.
const SINGLE_PRECISION: f64 = 2e-5;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    steps: usize,
    warmup_ratio: f64,
    learning_rate: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
    max_grad_norm: f64,
    start: (Vec<Vec<f64>>, Vec<f64>),
    gradients: Vec<(Vec<Vec<f64>>, Vec<f64>)>,
    norms: Vec<f64>,
    factors: Vec<f64>,
    end: (Vec<Vec<f64>>, Vec<f64>),
}

fn tensors((matrix, norm): &(Vec<Vec<f64>>, Vec<f64>)) -> BTreeMap<String, Tensor> {
    let rows = matrix.len();
    let flat: Vec<f32> = matrix.iter().flatten().map(|&x| x as f32).collect();
    let columns = flat.len() / rows;
    let norm: Vec<f32> = norm.iter().map(|&x| x as f32).collect();
    BTreeMap::from([
        ("a.matrix".to_string(), Tensor::from_vec(flat, (rows, columns), &Device::Cpu).unwrap()),
        ("b.norm".to_string(), Tensor::new(norm, &Device::Cpu).unwrap()),
    ])
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
}

fn parameters(case: &Case, composed: bool) -> Parameters {
    let parameters = Parameters::from_tensors(&tensors(&case.start)).unwrap();
    if composed { parameters.composed() } else { parameters }
}

#[test]
fn updates_equal_torch() {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../../fixtures/golden/optimizer.json")).unwrap();
    let both = |case| [false, true].map(|composed| (case, composed));
    for (case, composed) in fixture.cases.iter().flat_map(both) {
        let parameters = parameters(case, composed);
        let training = Training {
            learning_rate: case.learning_rate,
            warmup_ratio: case.warmup_ratio,
            weight_decay: case.weight_decay,
            adam_beta1: case.beta1,
            adam_beta2: case.beta2,
            adam_epsilon: case.epsilon,
            max_grad_norm: case.max_grad_norm,
            ..toy_recipe().training
        };
        let mut optimizer = AdamW::new(&parameters, &training, 0.0).unwrap();
        for (step, gradients) in case.gradients.iter().enumerate() {
            let factor = linear_schedule(step, case.steps, case.warmup_ratio);
            assert!((factor - case.factors[step]).abs() < 1e-12, "step {step}: {factor}");
            // Half-way, the optimiser is stored and restored, as a resumed run does.
            if step == case.steps / 2 {
                let bytes = safetensors::serialize(optimizer.state(), None).unwrap();
                let state = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
                let state = state.into_iter().collect();
                optimizer = AdamW::new(&parameters, &training, 0.0).unwrap();
                optimizer.restore(&state).unwrap();
            }
            let norm = optimizer.step(&tensors(gradients), factor).unwrap();
            assert!(
                (norm - case.norms[step]).abs() < SINGLE_PRECISION * norm,
                "composed: {composed}, step {step}: norm {norm}"
            );
        }
        let expected = tensors(&case.end);
        for (name, var) in parameters.iter() {
            for (ours, theirs) in values(var.as_tensor()).iter().zip(values(&expected[name])) {
                assert!(
                    (ours - theirs).abs() < SINGLE_PRECISION * (1.0 + theirs.abs()),
                    "composed: {composed}, {name}: {ours} and {theirs}"
                );
            }
        }
    }
}

#[test]
fn a_missing_gradient_is_an_error_and_a_bad_one_changes_nothing() {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../../fixtures/golden/optimizer.json")).unwrap();
    [false, true].into_iter().for_each(|composed| bad_gradients(&fixture.cases[0], composed));
}

fn bad_gradients(case: &Case, composed: bool) {
    let parameters = parameters(case, composed);
    let training = Training {
        learning_rate: 0.1,
        warmup_ratio: 0.0,
        weight_decay: 0.1,
        adam_beta1: 0.9,
        adam_beta2: 0.9,
        adam_epsilon: 1e-8,
        max_grad_norm: 1.0,
        ..toy_recipe().training
    };
    let mut optimizer = AdamW::new(&parameters, &training, 0.0).unwrap();
    let mut gradients = tensors(&case.gradients[0]);
    let before = values(&parameters.tensors()["a.matrix"]);
    let nan = (&gradients["b.norm"] * f64::NAN).unwrap();
    gradients.insert("b.norm".into(), nan);
    assert!(optimizer.step(&gradients, 1.0).unwrap().is_nan());
    assert_eq!(values(&parameters.tensors()["a.matrix"]), before);
    gradients.remove("b.norm");
    let error = optimizer.step(&gradients, 1.0).unwrap_err().to_string();
    assert!(error.contains("b.norm") && error.contains("no gradient"), "{error}");
}

/// The bound of `paper/derivations.md`, section 9: met by gradients that grow by β₂/β₁ a step, which reach it to the
/// digits of f32, and passed by none of a thousand random sequences.
#[test]
fn no_gradients_move_a_weight_further() {
    let training = Training {
        weight_decay: 0.0,
        max_grad_norm: 1e30,
        adam_epsilon: 1e-30,
        adam_beta1: 0.9,
        adam_beta2: 0.95,
        warmup_ratio: 0.1,
        ..crate::toy_recipe::toy_recipe().training
    };
    let (steps, peak) = (40, 1e-3);
    let reach = lpc::train::optim::furthest(&training, peak, steps);
    let moved = |gradients: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
        let n = 1000;
        let mut parameters = Parameters::default();
        parameters.insert("x", Tensor::zeros(n, DType::F32, &Device::Cpu).unwrap()).unwrap();
        let settings = Training { learning_rate: peak, ..training.clone() };
        let mut optimiser = AdamW::new(&parameters, &settings, peak).unwrap();
        for step in 0..steps {
            let values: Vec<f32> = (0..n).map(|i| gradients(step, i) as f32).collect();
            let gradient = Tensor::from_vec(values, n, &Device::Cpu).unwrap();
            let schedule = linear_schedule(step, steps, training.warmup_ratio);
            optimiser.step(&BTreeMap::from([("x".to_string(), gradient)]), schedule).unwrap();
        }
        let x = parameters.get("x", &[n]).unwrap().to_vec1::<f32>().unwrap();
        x.into_iter().map(|v| f64::from(v).abs()).collect()
    };
    let worst = moved(&|step, _| (0.95f64 / 0.9).powi(step as i32));
    assert!(worst.iter().all(|v| (v / reach - 1.0).abs() < 1e-4), "{} of {reach}", worst[0]);
    let mut rng = lpc::seed::stream(3, "gradients");
    let random = lpc::seed::normal(&mut rng, 1000 * steps);
    // Some rare and large, some of one sign, some falling.
    let any = moved(&|step, i| {
        let g = random[1000 * step + i];
        match i % 3 {
            0 => g.powi(9),
            1 => g.abs() * 0.8f64.powi(step as i32),
            _ => g,
        }
    });
    assert!(
        any.iter().all(|v| *v <= reach * (1.0 + 1e-5)),
        "{:?} of {reach}",
        any.iter().fold(0.0f64, |m, v| m.max(*v))
    );
    // A bound of Σ rate alone would be wrong.
    let sum: f64 = (0..steps).map(|step| peak * linear_schedule(step, steps, 0.1)).sum();
    assert!(worst[0] > 1.02 * sum && sum < reach);
}
