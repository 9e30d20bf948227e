//! The penalised logistic regression is at the optimum, by conditions worked out here.

use lpc::eval::winrate::logistic::{Observation, fit, fit_cross_validated, grid};
use proptest::prelude::*;

/// Soft and hard labels, unequal weights, features of very different sizes, one of them maybe 0.
fn rows() -> impl Strategy<Value = Vec<Observation<3>>> {
    let label = prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0f64];
    let row = (prop::array::uniform3(-3.0..3.0f64), label, 0.05..2.0f64);
    let scale = prop_oneof![Just(0.0), Just(1.0), Just(0.01), Just(30.0)];
    (prop::collection::vec(row, 1..60), prop::array::uniform3(scale)).prop_map(|(rows, scale)| {
        let scaled = |x: [f64; 3]| std::array::from_fn(|j| x[j] * scale[j]);
        rows.into_iter()
            .map(|(x, positive, weight)| Observation { features: scaled(x), positive, weight })
            .collect()
    })
}

/// Karush, Kuhn and Tucker: the gradient ∂/∂βⱼ of C Σ w [ln(1 + e^z) − p z] opposes the penalty where β
/// is not 0 and is within it elsewhere; up to 1e-8 and to rounding, of each term and of z in it.
fn is_optimal(rows: &[Observation<3>], c: f64, beta: [f64; 3]) -> Result<(), String> {
    for j in 0..3 {
        let (mut gradient, mut rounding) = (0.0, 0.0);
        for row in rows {
            let products: [f64; 3] = std::array::from_fn(|k| row.features[k] * beta[k]);
            let p = 1.0 / (1.0 + (-products.iter().sum::<f64>()).exp());
            let factor = c * row.weight * row.features[j];
            gradient += factor * (p - row.positive);
            let size: f64 = products.iter().map(|product| product.abs()).sum();
            rounding += 16.0 * f64::EPSILON * factor.abs() * (1.0 + p * (1.0 - p) * size);
        }
        let violation = match beta[j] {
            0.0 => gradient.abs() - 1.0,
            b => (gradient + b.signum()).abs(),
        };
        if violation.is_nan() || violation > 1e-8 + rounding {
            return Err(format!("{j}: {violation}, rounding {rounding}, at {beta:?}"));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_fit_is_the_optimum(rows in rows(), c in -4.0..4.0f64) {
        let c = 10f64.powf(c);
        let optimal = is_optimal(&rows, c, fit(&rows, c).unwrap());
        prop_assert!(optimal.is_ok(), "{optimal:?}");
    }

    /// A row with the soft label p is a positive row that counts p and a negative that counts 1 − p,
    /// which is how AlpacaEval writes it for a solver of hard labels. Coefficients of nearly dependent
    /// features are hardly determined: the optimum of the one problem is an optimum of the other.
    #[test]
    fn soft_labels_are_two_hard_ones(rows in rows(), c in 0.01..100.0f64) {
        let hard: Vec<_> = rows
            .iter()
            .flat_map(|row| {
                let of = |positive, share| Observation { positive, weight: row.weight * share, ..*row };
                [of(1.0, row.positive), of(0.0, 1.0 - row.positive)]
            })
            .collect();
        for optimal in [is_optimal(&rows, c, fit(&hard, c).unwrap()), is_optimal(&hard, c, fit(&rows, c).unwrap())] {
            prop_assert!(optimal.is_ok(), "{optimal:?}");
        }
    }
}

#[test]
fn the_grid_is_numpys() {
    // numpy.logspace(-4, 4, 10)
    let expected = [
        1e-4,
        7.742636826811278e-4,
        5.994842503189409e-3,
        4.641588833612782e-2,
        0.3593813663804626,
        2.782559402207126,
        21.54434690031882,
        166.81005372000593,
        1291.5496650148827,
        1e4,
    ];
    for (c, expected) in grid().zip(expected) {
        assert!((c / expected - 1.0).abs() < 1e-13, "{c} {expected}");
    }
}

#[test]
fn refusals() {
    let row = Observation { features: [1.0], positive: 0.5, weight: 1.0 };
    for (c, message) in [(0.0, "C = 0"), (f64::NAN, "C = NaN")] {
        assert!(fit(&[row], c).unwrap_err().to_string().contains(message));
    }
    assert!(fit(&[Observation { positive: f64::NAN, ..row }], 1.0).is_err());
    assert!(
        fit_cross_validated(&[row; 4])
            .unwrap_err()
            .to_string()
            .contains("rows with a verdict = 4, expected at least 5")
    );
}
