//! Clusters against scikit-learn, and their nulls against what counting gives.

use lpc::eval::clusters::*;
use lpc::seed;
use ndarray::Array2;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    points: Vec<Vec<f64>>,
    labels: Vec<usize>,
    kinds: usize,
    k: usize,
    votes: Vec<usize>,
    silhouettes: Vec<f64>,
    codes: Vec<usize>,
    information: f64,
}

#[test]
fn scikit_learn_says_the_same() {
    let text = include_str!("../../fixtures/golden/clusters.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    assert_eq!(golden.cases.len(), 4);
    for case in golden.cases {
        let (n, d) = (case.points.len(), case.points[0].len());
        let points = Array2::from_shape_fn((n, d), |(i, j)| case.points[i][j]);
        let distances = distances(points.view());
        for (ours, theirs) in
            silhouettes(distances.view(), &case.labels, case.kinds).iter().zip(&case.silhouettes)
        {
            assert!((ours - theirs).abs() < 1e-12, "{ours}, scikit-learn {theirs}");
        }
        let near = neighbours(distances.view(), case.k);
        let right: Vec<bool> =
            case.votes.iter().zip(&case.labels).map(|(vote, label)| vote == label).collect();
        assert_eq!(votes_right(&near, &case.labels, case.kinds), right);
        let sure = Array2::from_shape_fn((n, 4), |(i, k)| f64::from(u8::from(case.codes[i] == k)));
        let information = mutual_information(&case.labels, case.kinds, sure.view());
        assert!((information - case.information).abs() < 1e-12, "{information}");
    }
}

#[test]
fn a_null_is_that_of_random_orders() {
    // Of 2 ones among 4 places, the first two are both ones in 1 of 6 orders, one of them in 4 of 6.
    let statistic = |labels: &[usize]| (labels[0] + labels[1]) as f64;
    let found = against_permutations(&[1, 1, 0, 0], 6000, &mut seed::stream(1, "null"), statistic).unwrap();
    assert_eq!((found.value, found.null_low, found.null_high), (2.0, 0.0, 2.0));
    assert!((found.null_mean - 1.0).abs() < 0.03, "{found:?}");
    assert!((found.p_value - 1.0 / 6.0).abs() < 0.02, "{found:?}");
    assert!(against_permutations(&[1], 0, &mut seed::stream(1, "null"), statistic).is_err());
}

/// Labels that mean nothing are told apart no better than chance says; true ones are.
#[test]
fn the_null_holds_where_there_is_nothing() {
    let mut rng = seed::stream(5, "points");
    let mut below = 0;
    for trial in 0..40 {
        let points = Array2::from_shape_vec((60, 4), seed::normal(&mut rng, 240)).unwrap();
        let labels: Vec<usize> = (0..60).map(|i| i % 3).collect();
        let near = neighbours(distances(points.view()).view(), 5);
        let share = |labels: &[usize]| votes_right(&near, labels, 3).iter().filter(|r| **r).count() as f64;
        let found = against_permutations(&labels, 99, &mut seed::stream(trial, "order"), share).unwrap();
        below += usize::from(found.p_value <= 0.1);
    }
    // 40 trials at 10 %: more than 10 would be a one in a thousand event.
    assert!(below <= 10, "{below} of 40 below 0.1");
}
