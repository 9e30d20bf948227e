//! The data set: identity, splits, truth, and labels at the rate that σ predicts.

use lpc::config::{Cues, Taste, World};
use lpc::data::world::source::parse;
use lpc::data::world::{Factor, WorldPair, corpus, generate, utility};
use lpc::data::{noise, pairs::Pair};
use sha2::{Digest, Sha256};
use statrs::distribution::{ChiSquared, ContinuousCDF};
use std::collections::HashSet;

fn digest(pairs: &[WorldPair]) -> Vec<u8> {
    Sha256::digest(serde_json::to_vec(pairs).unwrap()).to_vec()
}

#[test]
fn bit_identical_for_a_seed_at_any_size() {
    let small = World { train: 300, test: 100, ..World::default() };
    let large = World { train: 700, test: 250, ..World::default() };
    let [once, again, more] = [&small, &small, &large].map(|w| generate(w).unwrap());
    assert_eq!(digest(&once.train), digest(&again.train));
    assert_eq!(digest(&once.test), digest(&again.test));
    assert_eq!(digest(&once.train), digest(&more.train[..300]));
    assert_eq!(digest(&once.test), digest(&more.test[..100]));
    let other = generate(&World { seed: 7, ..small }).unwrap();
    assert_ne!(digest(&once.train), digest(&other.train));
    assert_eq!(corpus(7, 50), corpus(7, 80)[..50]);
    assert_eq!(
        (&*once.train[12].pair.id, &*once.test[12].pair.id),
        ("world/train/000012", "world/test/000012")
    );
}

/// Sharpness decides labels and nothing else.
#[test]
fn sharpness_moves_labels_only() {
    let texts = |sharpness| {
        let data = generate(&World { sharpness, train: 200, ..World::default() }).unwrap();
        let unordered = |p: &WorldPair| {
            let mut both = [p.pair.chosen_text().into_owned(), p.pair.rejected_text().into_owned()];
            both.sort();
            (p.pair.prompt_text().into_owned(), both)
        };
        data.train.iter().map(unordered).collect::<Vec<_>>()
    };
    assert_eq!(texts(0.1), texts(5.0));
    let sure = generate(&World { sharpness: 1e6, ..World::default() }).unwrap();
    assert!(sure.train.iter().all(|p| p.truth.bayes == 1.0 && !p.truth.swapped));
}

#[test]
fn no_test_prompt_is_trained_on() {
    let data = generate(&World::default()).unwrap();
    let trained: HashSet<String> = data.train.iter().map(|p| p.pair.prompt_text().into_owned()).collect();
    let pretrained: HashSet<String> = corpus(1, 10_000).into_iter().map(|(prompt, _)| prompt).collect();
    for pair in &data.test {
        let prompt = pair.pair.prompt_text();
        assert!(!trained.contains(&*prompt) && !pretrained.contains(&*prompt), "{prompt}");
    }
}

/// Everything in `Truth` follows from the texts.
#[test]
fn truth_follows_from_the_texts() {
    let data = generate(&World { flip_rate: 0.3, flip_marked: true, ..World::default() }).unwrap();
    for WorldPair { pair, truth } in data.train.iter().chain(&data.test) {
        let (prompt, chosen, rejected) = (pair.prompt_text(), pair.chosen_text(), pair.rejected_text());
        let context = parse(&prompt).unwrap();
        assert_eq!((context.source.name, context.flips), (&*pair.source, truth.cue_flips));
        assert_eq!(context.weights(), truth.weights);
        // What a policy may be told is the truth of the prompt, whatever became of the label.
        assert_eq!(pair.factor_weights.as_deref(), Some(&truth.weights[..]));
        assert_eq!(utility(&prompt, &chosen).unwrap(), truth.utility_chosen);
        assert_eq!(utility(&prompt, &rejected).unwrap(), truth.utility_rejected);
        let by_factors: f64 =
            (0..6).map(|j| truth.weights[j] * (truth.factors_chosen[j] - truth.factors_rejected[j])).sum();
        assert_eq!(by_factors, truth.utility_chosen - truth.utility_rejected);
        // A swap or a flip puts the worse one first; both together do not.
        assert_eq!(by_factors < 0.0, truth.swapped != truth.flipped);
        let tokens = prompt.trim_end_matches(" [FLIP]").split(' ').count();
        assert!((10..=20).contains(&tokens), "{tokens}: {prompt}");
    }
}

/// Swaps in ten bands of Bayes accuracy against Σ(1 − σ), by chi-square at p = 0.001.
#[test]
fn labels_swap_as_often_as_sigma_says() {
    for sharpness in [0.4, World::default().sharpness, 3.0] {
        let world = World { train: 20_000, sharpness, ..World::default() };
        let mut bands = [[0.0; 3]; 10];
        for WorldPair { truth, .. } in generate(&world).unwrap().train {
            let gap = (truth.utility_chosen - truth.utility_rejected).abs();
            let keep = 1.0 / (1.0 + (-sharpness * gap).exp());
            let band = &mut bands[((keep - 0.5) * 20.0).min(9.0) as usize];
            band[0] += f64::from(u8::from(truth.swapped));
            band[1] += 1.0 - keep;
            band[2] += keep * (1.0 - keep);
        }
        let filled: Vec<_> = bands.iter().filter(|b| b[2] > 5.0).collect();
        let statistic: f64 =
            filled.iter().map(|[swaps, mean, variance]| (swaps - mean).powi(2) / variance).sum();
        let limit = ChiSquared::new(filled.len() as f64).unwrap().inverse_cdf(0.999);
        assert!(filled.len() >= 8 && statistic < limit, "sharpness {sharpness}: {statistic} against {limit}");
    }
}

/// Every source and cue gets its share: a model cannot gain from knowing how often each occurs.
#[test]
fn sources_and_cues_are_uniform() {
    let data = generate(&World { train: 12_000, ..World::default() }).unwrap();
    let mut counts = std::collections::HashMap::new();
    for pair in &data.train {
        *counts.entry((pair.pair.source.clone(), pair.truth.cue_flips)).or_insert(0.0) += 1.0;
    }
    let statistic: f64 = counts.values().map(|c: &f64| (c - 1000.0).powi(2) / 1000.0).sum();
    assert_eq!(counts.len(), 12);
    // The hash that holds prompts out may favour a context a little: hence 1e-6, not 0.001.
    assert!(statistic < ChiSquared::new(11.0).unwrap().inverse_cdf(1.0 - 1e-6), "{statistic}");
}

#[test]
fn flips_of_the_world_are_marked_and_leave_the_test_alone() {
    let clean = generate(&World::default()).unwrap();
    for (rate, marked) in [(0.5, true), (0.3, false)] {
        let noisy = generate(&World { flip_rate: rate, flip_marked: marked, ..World::default() }).unwrap();
        assert_eq!(noisy.test, clean.test);
        let mut pairs: Vec<Pair> = clean.train.iter().map(|p| p.pair.clone()).collect();
        let flipped = noise::flip(&mut pairs, rate, marked, World::default().seed).unwrap();
        assert_eq!(flipped.len(), (rate * World::default().train as f64).round() as usize);
        for (i, (noisy, clean)) in noisy.train.iter().zip(&clean.train).enumerate() {
            assert_eq!(noisy.pair, pairs[i]);
            assert_eq!(noisy.truth.flipped, flipped.binary_search(&i).is_ok());
            let sign = if noisy.truth.flipped { -1.0 } else { 1.0 };
            let gap = |p: &WorldPair| p.truth.utility_chosen - p.truth.utility_rejected;
            assert_eq!(gap(noisy), sign * gap(clean));
            assert_eq!(noisy.truth.bayes, clean.truth.bayes);
        }
    }
}

#[test]
fn bad_settings_are_refused() {
    let error = |world| generate(&world).unwrap_err().to_string();
    let sharpness = World { sharpness: f64::NAN, ..World::default() };
    assert_eq!(error(sharpness), "world: sharpness = NaN, expected finite and >= 0");
    let rate = World { flip_rate: 1.5, ..World::default() };
    assert_eq!(error(rate), "flip: rate = 1.5, expected in [0, 1]");
}

/// Whose tastes there are changes labels and nothing else that is drawn; an exchanged prompt changes
/// the prompt alone.
#[test]
fn one_taste_and_exchanged_cues() {
    let plain = generate(&World::default()).unwrap();
    let exchanged = generate(&World { cues: Cues::Exchanged, ..World::default() }).unwrap();
    let mut same_source = 0;
    for (a, b) in plain.test.iter().zip(&exchanged.test) {
        assert_eq!((&a.truth, &a.pair.source), (&b.truth, &b.pair.source));
        assert_eq!((&a.pair.chosen, &a.pair.rejected), (&b.pair.chosen, &b.pair.rejected));
        let read = parse(&b.pair.prompt_text()).unwrap();
        same_source += usize::from(read.source.name == b.pair.source);
    }
    // One in six by chance: 167 of 1,000, give or take four standard deviations.
    assert!((119..=214).contains(&same_source), "{same_source}");
    let trained: HashSet<_> = exchanged.train.iter().map(|p| &p.pair.prompt).collect();
    assert!(exchanged.test.iter().all(|p| !trained.contains(&p.pair.prompt)));

    let one = generate(&World { taste: Taste::One, ..World::default() }).unwrap();
    for pair in one.train.iter().chain(&one.test) {
        let [chosen, rejected] = [&pair.truth.factors_chosen, &pair.truth.factors_rejected];
        assert_eq!(pair.truth.utility_chosen, 2.5 * chosen[Factor::Politeness as usize]);
        assert_eq!(pair.truth.utility_rejected, 2.5 * rejected[Factor::Politeness as usize]);
    }
}

/// An annotator's taste is one of the sources', and no prompt says which: weights and sources are independent, where
/// by source they are not. Prompts and questions are those of the world without annotators.
#[test]
fn annotators_have_tastes_that_no_prompt_tells() {
    let settings = World { train: 6000, ..World::default() };
    let by_source = generate(&settings).unwrap();
    let annotated = generate(&World { taste: Taste::ByAnnotator, ..settings }).unwrap();
    // X² of sources against tastes, and its degrees of freedom.
    let dependence = |pairs: &[WorldPair]| {
        let taste = |p: &WorldPair| p.truth.weights.map(f64::to_bits);
        let source = |p: &WorldPair| p.pair.source.clone();
        let tastes: HashSet<_> = pairs.iter().map(taste).collect();
        let sources: HashSet<_> = pairs.iter().map(source).collect();
        let count = |of: &dyn Fn(&WorldPair) -> bool| pairs.iter().filter(|p| of(p)).count() as f64;
        let cell = |s: &String, t: &[u64; 6]| {
            let both = count(&|p| source(p) == *s && taste(p) == *t);
            let expected = count(&|p| source(p) == *s) * count(&|p| taste(p) == *t) / pairs.len() as f64;
            (both - expected).powi(2) / expected
        };
        let sum: f64 =
            sources.iter().flat_map(|s| tastes.iter().map(move |t| (s, t))).map(|(s, t)| cell(s, t)).sum();
        let freedom = (sources.len() - 1) * (tastes.len() - 1);
        (1.0 - ChiSquared::new(freedom as f64).unwrap().cdf(sum), tastes)
    };
    let (p, known) = dependence(&by_source.train);
    assert!(p < 1e-9, "{p}");
    let (p, tastes) = dependence(&annotated.train);
    assert!(p > 0.001, "{p}");
    assert_eq!(tastes, known);
    for (a, b) in annotated.train.iter().zip(&by_source.train) {
        assert_eq!(a.pair.prompt, b.pair.prompt);
        assert_eq!(a.pair.factor_weights.as_deref(), Some(&a.truth.weights[..]));
        let weigh =
            |factors: &[f64; 6]| factors.iter().zip(&a.truth.weights).map(|(f, w)| f * w).sum::<f64>();
        assert!((weigh(&a.truth.factors_chosen) - a.truth.utility_chosen).abs() < 1e-12);
        assert!((weigh(&a.truth.factors_rejected) - a.truth.utility_rejected).abs() < 1e-12);
    }
    // A judge who knows the prompt's source but not the annotator is right far less often than one who knows both.
    let right = |told: bool| {
        let better = |p: &&WorldPair| match told {
            true => !p.truth.swapped,
            false => {
                let of = |text: &str| utility(&p.pair.prompt_text(), text).unwrap();
                of(&p.pair.chosen_text()) > of(&p.pair.rejected_text())
            }
        };
        annotated.train.iter().filter(better).count() as f64 / annotated.train.len() as f64
    };
    assert!(right(true) > 0.85 && right(false) < 0.75, "{} {}", right(true), right(false));
}
