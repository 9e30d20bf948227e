//! How well simple predictors do: nothing trivial may decide the preferences, and knowing the
//! factors, sources and cues must. `cargo test --test world probes -- --nocapture` prints them.

use lpc::config::World;
use lpc::data::world::{Dataset, Factor, Factors, WorldPair, corpus, generate, vocabulary};
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// Enough for two standard errors of an accuracy to stay below 0.8 %.
const PAIRS: usize = 20_000;

static DATA: LazyLock<Dataset> =
    LazyLock::new(|| generate(&World { test: PAIRS, ..World::default() }).expect("valid settings"));

/// Share of the pairs with `margin` > 0; ties count a half.
fn accuracy(pairs: &[WorldPair], margin: impl Fn(&WorldPair) -> f64) -> f64 {
    let right = |pair| match margin(pair) {
        m if m > 0.0 => 1.0,
        m if m < 0.0 => 0.0,
        _ => 0.5,
    };
    pairs.iter().map(right).sum::<f64>() / pairs.len() as f64
}

fn ceiling(pairs: &[WorldPair]) -> f64 {
    pairs.iter().map(|p| p.truth.bayes).sum::<f64>() / pairs.len() as f64
}

fn difference(pair: &WorldPair) -> Factors {
    std::array::from_fn(|j| pair.truth.factors_chosen[j] - pair.truth.factors_rejected[j])
}

fn dot(a: &Factors, b: &Factors) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Logistic regression of "chosen" on factor differences by gradient ascent. No intercept:
/// which of the two completions is named first means nothing.
fn fit(rows: &[Factors]) -> Factors {
    let mut weights = [0.0; 6];
    for _ in 0..400 {
        let mut gradient = [0.0; 6];
        for row in rows {
            let miss = 1.0 / (1.0 + dot(row, &weights).exp());
            gradient.iter_mut().zip(row).for_each(|(g, r)| *g += miss * r);
        }
        weights.iter_mut().zip(gradient).for_each(|(w, g)| *w += 4.0 * g / rows.len() as f64);
    }
    weights
}

/// Test accuracy of one weighting for each group of pairs, fitted on the training pairs.
fn grouped<K: Ord>(train: &[WorldPair], test: &[WorldPair], group: impl Fn(&WorldPair) -> K) -> f64 {
    let mut rows: BTreeMap<K, Vec<Factors>> = BTreeMap::new();
    train.iter().for_each(|p| rows.entry(group(p)).or_default().push(difference(p)));
    let weights: BTreeMap<K, Factors> = rows.into_iter().map(|(key, rows)| (key, fit(&rows))).collect();
    accuracy(test, |p| dot(&difference(p), &weights[&group(p)]))
}

#[test]
fn the_ceiling_is_where_it_should_be() {
    let data = generate(&World::default()).unwrap();
    println!(
        "Bayes-optimal accuracy: {:.3} on the default's test pairs, {:.3} on {PAIRS}",
        ceiling(&data.test),
        ceiling(&DATA.test)
    );
    for pairs in [&data.train, &data.test, &DATA.test] {
        assert!((0.85..=0.90).contains(&ceiling(pairs)), "{}", ceiling(pairs));
    }
    // The ceiling is what always naming the better completion reaches, up to chance.
    let reached = accuracy(&DATA.test, |p| p.truth.utility_chosen - p.truth.utility_rejected);
    assert!((reached - ceiling(&DATA.test)).abs() < 0.008, "{reached}");
}

#[test]
fn no_trivial_feature_decides() {
    let test = &DATA.test;
    let tokens = |text: &str| text.split(' ').count() as f64;
    let features = Factor::ALL.map(|f| (f.name(), accuracy(test, |p| difference(p)[f as usize])));
    let longer =
        ("length", accuracy(test, |p| tokens(&p.pair.chosen_text()) - tokens(&p.pair.rejected_text())));
    for (name, more) in features.into_iter().chain([longer]) {
        println!("more {name:<12} {more:.3}, less {:.3}", 1.0 - more);
        assert!((0.40..=0.62).contains(&more) && (0.40..=0.62).contains(&(1.0 - more)), "{name}: {more}");
    }
}

#[test]
fn one_taste_fails_and_knowing_source_and_cue_does_not() {
    let data = &*DATA;
    let one = grouped(&data.train, &data.test, |_| ());
    let by_source = grouped(&data.train, &data.test, |p| p.pair.source.clone());
    let by_both = grouped(&data.train, &data.test, |p| (p.pair.source.clone(), p.truth.cue_flips));
    println!("one weighting {one:.3}; one a source {by_source:.3}; one a source and cue {by_both:.3}");
    assert!((0.55..=0.68).contains(&one), "{one}");
    assert!(one + 0.08 < by_source && by_source + 0.08 < by_both, "{one} {by_source} {by_both}");
    assert!((ceiling(&data.test) - by_both).abs() < 0.02, "{by_both}");
}

/// A bigram model of un-preferred completions must not know what is preferred.
#[test]
fn a_language_model_of_the_corpus_prefers_nothing() {
    let test = &DATA.test;
    let mut counts: HashMap<(String, String), f64> = HashMap::new();
    let mut totals: HashMap<String, f64> = HashMap::new();
    let written = |text: &str| format!("<s> {text} </s>").split(' ').map(String::from).collect::<Vec<_>>();
    for (_, completion) in corpus(1, PAIRS) {
        for pair in written(&completion).windows(2) {
            *counts.entry((pair[0].clone(), pair[1].clone())).or_default() += 1.0;
            *totals.entry(pair[0].clone()).or_default() += 1.0;
        }
    }
    let words = vocabulary().len() as f64;
    let logp = |text: &str| -> f64 {
        let seen = |a: &String, b: &String| counts.get(&(a.clone(), b.clone())).unwrap_or(&0.0) + 0.01;
        written(text).windows(2).map(|w| (seen(&w[0], &w[1]) / (totals[&w[0]] + 0.01 * words)).ln()).sum()
    };
    let mean = |text: &str| logp(text) / text.split(' ').count() as f64;
    let sums = accuracy(test, |p| logp(&p.pair.chosen_text()) - logp(&p.pair.rejected_text()));
    let means = accuracy(test, |p| mean(&p.pair.chosen_text()) - mean(&p.pair.rejected_text()));
    println!("bigram model of the corpus: {sums:.3} by sums, {means:.3} by means");
    assert!((0.45..=0.55).contains(&sums) && (0.45..=0.55).contains(&means));
}
