//! What the heads read, against numpy's moments and scipy's inverse matrix root.

use crate::fixture::{Matrix, Tolerance, Vector, matrix, read, vector};
use lpc::spec;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    states: Matrix,
    ridge: f64,
    mean: Vector,
    covariance: Matrix,
    matrix: Matrix,
    standardised: Matrix,
}

/// scipy's root of a matrix whose eigenvalues lie five orders apart is good to about ten digits.
const CLOSE: Tolerance = Tolerance { relative: 1e-9, floor: 1e-10 };

#[test]
fn statistics_and_what_they_make_of_states() {
    for case in read::<Vec<Case>>("heads_input.json") {
        let states = matrix(&case.states);
        let (mean, covariance) = spec::heads_input::moments(&states).unwrap();
        CLOSE.check("mean", &mean, &vector(&case.mean));
        CLOSE.check("covariance", &covariance, &matrix(&case.covariance));
        let whitening = spec::heads_input::whitening(&covariance, case.ridge).unwrap();
        CLOSE.check("matrix", &whitening, &matrix(&case.matrix));
        for (state, expected) in states.outer_iter().zip(matrix(&case.standardised).outer_iter()) {
            let got = spec::heads_input::standardise(&state, &mean, Some(&whitening)).unwrap();
            CLOSE.check("standardised", &got, expected);
        }
    }
}

#[cfg(feature = "train")]
#[test]
fn the_same_on_tensors() {
    use candle_core::{Device::Cpu, Tensor};
    use lpc::tensor::heads_input::{moments, standardise, whitening};
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    for case in read::<Vec<Case>>("heads_input.json") {
        let states = matrix(&case.states);
        let shape = states.dim();
        let states = Tensor::from_iter(states, &Cpu).unwrap().reshape(shape).unwrap();
        let (mean, covariance) = moments(&states).unwrap();
        CLOSE.check("mean", &flat(&mean), &vector(&case.mean));
        CLOSE.check("covariance", &flat(&covariance), &matrix(&case.covariance));
        let matrix_of = whitening(&covariance, case.ridge).unwrap();
        CLOSE.check("matrix", &flat(&matrix_of), &matrix(&case.matrix));
        let got = standardise(&states, &mean, Some(&matrix_of)).unwrap();
        CLOSE.check("standardised", &flat(&got), &matrix(&case.standardised));
    }
}
