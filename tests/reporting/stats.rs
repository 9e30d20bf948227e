//! Against numpy, scipy and statsmodels, and against a crossed population whose mean is known.

use lpc::eval::stats::*;
use lpc::seed;
use ndarray::Array2;
use serde::Deserialize;

/// Closed forms and special functions in double precision.
const RELATIVE: f64 = 1e-10;

#[derive(Deserialize)]
struct Golden {
    student: Vec<Case<Vec<f64>>>,
    wilson: Vec<Wilson>,
    mcnemar: Vec<McNemar>,
    holm: Vec<Holm>,
    crossed: Vec<Case<Vec<Vec<f64>>>>,
}

#[derive(Deserialize)]
struct Case<X> {
    x: X,
    mean: f64,
    standard_error: f64,
    degrees_of_freedom: f64,
    low: f64,
    high: f64,
    p_value: f64,
}

#[derive(Deserialize)]
struct Wilson {
    successes: usize,
    trials: usize,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct McNemar {
    only_first: usize,
    only_second: usize,
    p_value: f64,
}

#[derive(Deserialize)]
struct Holm {
    p: Vec<f64>,
    adjusted: Vec<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../fixtures/golden/stats.json")).unwrap()
}

/// Relative, with an absolute floor where the truth is a rounding error of zero.
fn close(what: &str, got: f64, expected: f64) {
    let tolerance = (RELATIVE * expected.abs()).max(1e-14);
    assert!((got - expected).abs() <= tolerance, "{what}: got {got:e}, expected {expected:e}");
}

fn same<X>(got: Estimate, case: &Case<X>) {
    close("mean", got.mean, case.mean);
    close("standard error", got.standard_error, case.standard_error);
    close("degrees of freedom", got.degrees_of_freedom, case.degrees_of_freedom);
    // The bounds may lie near 0; they are as good as the half width they are made from.
    close("half width below", got.mean - got.low, case.mean - case.low);
    close("half width above", got.high - got.mean, case.high - case.mean);
    close("p", got.p_value, case.p_value);
}

#[test]
fn student_interval_equals_scipy() {
    for case in golden().student {
        same(student_interval(&case.x).unwrap(), &case);
        let (mean, error) = mean_and_error(&case.x).unwrap();
        close("mean", mean, case.mean);
        close("error", error, case.standard_error);
    }
}

#[test]
fn wilson_interval_equals_statsmodels() {
    for case in golden().wilson {
        let got = wilson_interval(case.successes, case.trials).unwrap();
        close("low", got.low, case.low);
        close("high", got.high, case.high);
    }
}

#[test]
fn mcnemar_equals_statsmodels() {
    for case in golden().mcnemar {
        close("p", mcnemar_exact(case.only_first, case.only_second), case.p_value);
        close("p, swapped", mcnemar_exact(case.only_second, case.only_first), case.p_value);
    }
}

#[test]
fn holm_equals_statsmodels() {
    for case in golden().holm {
        for (got, expected) in holm(&case.p).into_iter().zip(case.adjusted) {
            close("adjusted p", got, expected);
        }
    }
    assert!(holm(&[]).is_empty());
}

#[test]
fn crossed_interval_equals_the_analysis_of_variance() {
    for case in golden().crossed {
        let x = Array2::from_shape_fn((case.x.len(), case.x[0].len()), |(s, e)| case.x[s][e]);
        let got = crossed_interval(x.view()).unwrap();
        assert_eq!(got.generalises, Generalises::OverSeedsAndExamples);
        same(got, &case);
    }
}

#[test]
fn one_seed_speaks_about_examples_alone() {
    for case in golden().student {
        let x = Array2::from_shape_vec((1, case.x.len()), case.x.clone()).unwrap();
        let got = crossed_interval(x.view()).unwrap();
        assert_eq!(got.generalises, Generalises::OverExamples);
        same(got, &case);
    }
}

#[test]
fn no_variation_is_a_point() {
    let flat = |value| crossed_interval(Array2::from_elem((3, 5), value).view()).unwrap();
    let (zero, one) = (flat(0.0), flat(1.0));
    assert_eq!((zero.low, zero.high, zero.p_value), (0.0, 0.0, 1.0));
    assert_eq!((one.low, one.high, one.p_value), (1.0, 1.0, 0.0));
}

#[test]
fn bad_input_is_refused_by_name() {
    let refused = |e: lpc::Error, text: &str| assert!(e.to_string().contains(text), "{e}");
    refused(mean_and_error(&[1.0]).unwrap_err(), "values = 1, expected at least 2");
    refused(student_interval(&[1.0, f64::NAN]).unwrap_err(), "x = NaN, expected finite");
    refused(wilson_interval(3, 2).unwrap_err(), "3 of 2");
    refused(wilson_interval(0, 0).unwrap_err(), "0 of 0");
    refused(crossed_interval(Array2::zeros((3, 1)).view()).unwrap_err(), "examples = 1");
    refused(crossed_interval(Array2::zeros((0, 9)).view()).unwrap_err(), "seeds = 0");
}

/// Share of `repeats` draws of a layout with true mean 0 whose interval holds 0.
fn coverage(
    name: &str,
    repeats: usize,
    mut draw: impl FnMut(&mut rand_chacha::ChaCha12Rng) -> Array2<f64>,
) -> f64 {
    let mut rng = seed::stream(11, name);
    let held = (0..repeats).filter(|_| {
        let e = crossed_interval(draw(&mut rng).view()).unwrap();
        // The interval and the test are one statement.
        assert_eq!(e.low <= 0.0 && 0.0 <= e.high, e.p_value >= 0.05, "{e:?}");
        e.low <= 0.0 && 0.0 <= e.high
    });
    held.count() as f64 / repeats as f64
}

#[test]
fn the_interval_covers_as_often_as_it_says() {
    // Seeds, examples; standard deviations of seed, example and residual effects. Five thousand
    // draws leave ± 0.6 points of noise around 95 %.
    for (seeds, examples, by_seed, by_example, residual) in
        [(3, 60, 0.0, 1.0, 1.0), (3, 60, 0.1, 0.5, 0.9), (5, 40, 0.3, 0.5, 0.9), (5, 40, 0.05, 0.5, 0.9)]
    {
        let name = format!("coverage {seeds} {by_seed} {by_example}");
        let held = coverage(&name, 5000, |rng| {
            let (a, b) = (seed::normal(rng, seeds), seed::normal(rng, examples));
            let r = seed::normal(rng, seeds * examples);
            Array2::from_shape_fn((seeds, examples), |(s, e)| {
                by_seed * a[s] + by_example * b[e] + residual * r[s * examples + e]
            })
        });
        assert!((0.92..=0.98).contains(&held), "{name}: {held}");
    }
}

#[test]
fn the_interval_covers_differences_of_right_and_wrong_answers() {
    // Two systems of equal skill on shared examples: each answer is right when ability, example
    // and luck sum above 0. By symmetry the mean difference is 0.
    let (seeds, examples) = (3, 80);
    let held = coverage("paired answers", 4000, |rng| {
        let easy = seed::normal(rng, examples);
        let skill = seed::normal(rng, 2 * seeds);
        let luck = seed::normal(rng, 2 * seeds * examples);
        let right = |system: usize, s: usize, e: usize| {
            let run = system * seeds + s;
            f64::from(u8::from(easy[e] + 0.1 * skill[run] + luck[run * examples + e] > 0.0))
        };
        Array2::from_shape_fn((seeds, examples), |(s, e)| right(1, s, e) - right(0, s, e))
    });
    assert!((0.92..=0.98).contains(&held), "{held}");
}
