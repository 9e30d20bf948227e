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
    bootstrap: Vec<Bootstrap>,
    two_proportions: Vec<TwoProportions>,
    examples_needed: Vec<Needed>,
}

#[derive(Deserialize)]
struct Bootstrap {
    x: Vec<f64>,
    resamples: Vec<Vec<usize>>,
    mean: f64,
    low: f64,
    high: f64,
    p_value: f64,
}

#[derive(Deserialize)]
struct TwoProportions {
    first: (usize, usize),
    second: (usize, usize),
    p_value: f64,
}

#[derive(Deserialize)]
struct Needed {
    first: f64,
    second: f64,
    power: f64,
    examples: f64,
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

/// The same resamples on both sides: the tolerance of closed forms.
#[test]
fn bootstrap_equals_scipy() {
    for case in golden().bootstrap {
        let shape = (case.resamples.len(), case.x.len());
        let indices = Array2::from_shape_fn(shape, |(b, i)| case.resamples[b][i]);
        let interval = bootstrap_interval(&case.x, indices.view()).unwrap();
        close("low", interval.low, case.low);
        close("high", interval.high, case.high);
        // Paired: the same values as differences, half of them from either side. Sums with another number
        // would round, and a resample that is a permutation has the sample's own mean only to the last bit.
        let sides = |(i, x): (usize, &f64)| if i % 2 == 0 { (0.0, *x) } else { (-x, 0.0) };
        let (first, second): (Vec<f64>, Vec<f64>) = case.x.iter().enumerate().map(sides).unzip();
        let paired = paired_bootstrap(&first, &second, indices.view()).unwrap();
        close("difference", paired.difference, case.mean);
        close("paired low", paired.interval.low, case.low);
        close("paired high", paired.interval.high, case.high);
        close("p", paired.p_value, case.p_value);
    }
}

#[test]
fn two_proportions_equal_statsmodels() {
    for TwoProportions { first, second, p_value } in golden().two_proportions {
        let share = |(k, n): (usize, usize)| (k as f64 / n as f64, n);
        close("p", two_proportion_p(share(first), share(second)).unwrap(), p_value);
        close("p, swapped", two_proportion_p(share(second), share(first)).unwrap(), p_value);
    }
}

#[test]
fn examples_needed_equal_statsmodels() {
    for case in golden().examples_needed {
        close("n", examples_needed(case.first, case.second, case.power).unwrap(), case.examples);
    }
}

/// With as many examples as it says, the test finds the difference as often as it says. Two thousand
/// draws at 80 % leave ± 1.8 points; the normal approximation itself is off by less than one here.
#[test]
fn the_power_is_as_promised() {
    let (first, second) = (0.5, 0.7);
    let n = examples_needed(first, second, 0.8).unwrap().ceil() as usize;
    let mut rng = seed::stream(5, "power");
    let mut share = |p: f64| (0..n).filter(|_| seed::open_unit(&mut rng) < p).count() as f64 / n as f64;
    let found = (0..2000).filter(|_| two_proportion_p((share(first), n), (share(second), n)).unwrap() < 0.05);
    let power = found.count() as f64 / 2000.0;
    assert!((0.77..=0.83).contains(&power), "{n}: {power}");
    // The same rule for an estimate of any kind.
    let error = ((first * (1.0 - first) + second * (1.0 - second)) / n as f64).sqrt();
    assert!((sizes_needed(second - first, error, 0.8) - 1.0).abs() < 0.05);
}

/// Resampled intervals of means hold the true mean as often as they say, and so as drawn by us.
#[test]
fn the_bootstrap_covers_as_often_as_it_says() {
    let mut rng = seed::stream(6, "bootstrap");
    let held = (0..1000).filter(|_| {
        let x = seed::normal(&mut rng, 40);
        let indices = resamples(&mut rng, 400, 40);
        let i = bootstrap_interval(&x, indices.view()).unwrap();
        i.low <= 0.0 && 0.0 <= i.high
    });
    let held = held.count() as f64 / 1000.0;
    // Forty values: a little below 95 %, ± 1.4 points of Monte Carlo noise.
    assert!((0.915..=0.965).contains(&held), "{held}");
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
    let few = |indices: Array2<usize>| bootstrap_interval(&[1.0, 2.0], indices.view()).unwrap_err();
    refused(few(Array2::zeros((1, 2))), "resamples = 1");
    refused(few(Array2::zeros((5, 3))), "resamples = of 3, expected of 2");
    refused(few(Array2::from_elem((5, 2), 2)), "index = 2, expected below 2");
    refused(few(Array2::zeros((5, 2))), "enough to surround the mean");
    let indices = Array2::zeros((5, 2));
    refused(paired_bootstrap(&[1.0, 2.0], &[1.0], indices.view()).unwrap_err(), "second = 1");
    refused(two_proportion_p((1.5, 10), (0.5, 10)).unwrap_err(), "1.5 of 10");
    refused(examples_needed(0.0, 0.5, 0.8).unwrap_err(), "first = 0");
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
