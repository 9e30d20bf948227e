//! Whitening by its definition, on states of any mean and spread.

use lpc::spec::heads_input::*;
use ndarray::{Array1, Array2};
use proptest::prelude::*;

/// States of rank d with a mean that dwarfs their spread.
fn states() -> impl Strategy<Value = Array2<f64>> {
    (1usize..6, 8usize..30).prop_flat_map(|(d, n)| {
        let numbers = prop::collection::vec(-1.0..1.0f64, n * d);
        let means = prop::collection::vec(-50.0..50.0f64, d);
        let scales = prop::collection::vec(-2.0..1.0f64, d);
        (numbers, means, scales).prop_map(move |(numbers, means, scales)| {
            let scales = scales.into_iter().map(|s| 10f64.powf(s)).collect();
            Array2::from_shape_vec((n, d), numbers).unwrap() * Array1::from_vec(scales)
                + Array1::from_vec(means)
        })
    })
}

proptest! {
    /// What is read has mean 0 and covariance Σ (Σ + ε)⁻¹: the matrix commutes with Σ, and its square undoes Σ + ε.
    #[test]
    fn whitened_states_vary_alike_in_every_direction(states in states(), ridge in 1e-4..1.0f64) {
        let (mean, covariance) = moments(&states).unwrap();
        let matrix = whitening(&covariance, ridge).unwrap();
        let d = mean.len();
        let epsilon = ridge * covariance.diag().sum() / d as f64;
        let raised = &covariance + &(Array2::<f64>::eye(d) * epsilon);
        let undone = matrix.dot(&raised).dot(&matrix);
        for ((i, j), v) in undone.indexed_iter() {
            prop_assert!((v - f64::from(u8::from(i == j))).abs() < 1e-8, "{undone}");
        }
        let read = states.outer_iter().map(|h| standardise(&h, &mean, Some(&matrix)).unwrap());
        let read: Vec<Array1<f64>> = read.collect();
        let total = read.iter().fold(Array1::<f64>::zeros(d), |sum, r| sum + r) / read.len() as f64;
        prop_assert!(total.iter().all(|v| v.abs() < 1e-9), "{total}");
        let spread: f64 = read.iter().map(|r| r.dot(r)).sum::<f64>() / read.len() as f64;
        let expected = covariance.dot(&matrix).dot(&matrix).diag().sum();
        prop_assert!((spread - expected).abs() < 1e-8 * (1.0 + expected));
    }

    /// Where the states lie, and in which units, is nothing that a network can see, a ridge being relative.
    #[test]
    fn a_shift_and_a_unit_are_not_seen(states in states(), shift in -1e3..1e3f64, unit in 0.1..10.0f64) {
        let read = |states: &Array2<f64>| {
            let (mean, covariance) = moments(states).unwrap();
            let matrix = whitening(&covariance, 1e-3).unwrap();
            standardise(&states.row(0), &mean, Some(&matrix)).unwrap()
        };
        let (one, other) = (read(&states), read(&(&states * unit + shift)));
        for (a, b) in one.iter().zip(&other) {
            prop_assert!((a - b).abs() < 1e-6 * (1.0 + a.abs()), "{one} {other}");
        }
    }

    #[test]
    fn its_gradient_is_its_slope(states in states(), centred: bool) {
        let (mean, covariance) = moments(&states).unwrap();
        let matrix = (!centred).then(|| whitening(&covariance, 0.1).unwrap());
        let (hidden, upstream) = (states.row(0).to_owned(), states.row(1).to_owned());
        let at = |hidden: &Array1<f64>| {
            standardise(hidden, &mean, matrix.as_deref()).unwrap().dot(&upstream)
        };
        let slopes = standardise_gradient(&upstream, matrix.as_deref()).unwrap();
        for i in 0..hidden.len() {
            let (mut up, mut down) = (hidden.clone(), hidden.clone());
            (up[i], down[i]) = (up[i] + 1e-3, down[i] - 1e-3);
            // The map is affine: a wide step has no error but rounding.
            let slope = (at(&up) - at(&down)) / 2e-3;
            prop_assert!((slope - slopes[i]).abs() < 1e-6 * (1.0 + slope.abs()), "{slope} {}", slopes[i]);
        }
    }
}

#[test]
fn statistics_refuse_what_has_none() {
    let refused = |e: lpc::Error, text: &str| assert!(e.to_string().contains(text), "{e}");
    refused(moments(&Array2::zeros((0, 3))).unwrap_err(), "hidden = empty");
    refused(whitening(&Array2::zeros((2, 2)), 0.1).unwrap_err(), "no variance");
    refused(whitening(&Array2::zeros((2, 3)), 0.1).unwrap_err(), "shape");
    refused(whitening(&Array2::eye(2), 0.0).unwrap_err(), "ridge = 0");
    let skew = ndarray::array![[1.0, 0.5], [0.0, 1.0]];
    refused(whitening(&skew, 0.1).unwrap_err(), "symmetric");
    refused(standardise(&Array1::zeros(2), &Array1::zeros(3), None).unwrap_err(), "mean");
}
