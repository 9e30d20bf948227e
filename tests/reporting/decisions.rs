//! What decides: equivalence, score intervals and shared seeds against scipy, and simulated populations whose truth
//! is known.

use lpc::eval::stats::*;
use lpc::report::verdict::{Claim, Compared, Verdict, decide};
use lpc::seed;
use ndarray::Array2;
use rand_chacha::ChaCha12Rng;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    paired: Vec<Paired>,
    tost: Vec<Tost>,
}

#[derive(Deserialize)]
struct Paired {
    gained: f64,
    lost: f64,
    examples: usize,
    low: f64,
    high: f64,
    scores: Vec<(f64, f64)>,
}

#[derive(Deserialize)]
struct Tost {
    x: Vec<f64>,
    margin: f64,
    p_value: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../fixtures/golden/decisions.json")).unwrap()
}

fn close(what: &str, got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "{what}: got {got:e}, expected {expected:e}");
}

/// The reference maximises a likelihood numerically, to about eight digits where its slope cannot be bracketed.
#[test]
fn paired_scores_equal_a_likelihood_that_scipy_maximises() {
    for case in golden().paired {
        let what = format!("{} gained, {} lost of {}", case.gained, case.lost, case.examples);
        for (difference, expected) in case.scores {
            let got = paired_score(case.gained, case.lost, case.examples, difference);
            close(&what, got, expected, 1e-6 * expected.abs());
        }
        let (low, high) = paired_score_interval(case.gained, case.lost, case.examples);
        close(&what, low, case.low, 1e-8);
        close(&what, high, case.high, 1e-8);
    }
}

#[test]
fn equivalence_equals_two_tests_of_scipy() {
    for case in golden().tost {
        let e = student_interval(&case.x).unwrap();
        close("p", equivalence_p(&e, case.margin).unwrap(), case.p_value, 1e-10);
        assert!(equivalence_p(&e, -1.0).unwrap_err().to_string().contains("margin = -1"));
    }
}

/// By a score interval the test and the interval agree: at 95 % just inside the margin, TOST's p is 0.025.
#[test]
fn equivalence_of_few_verdicts_is_the_score_test() {
    let mut x = Array2::zeros((1, 300));
    x[[0, 4]] = 1.0;
    x[[0, 9]] = -1.0;
    x[[0, 11]] = 1.0;
    let e = paired_interval(x.view(), None).unwrap();
    assert!(matches!(e.method, Method::Score { .. }));
    close("p at the upper end", equivalence_p(&e, e.high).unwrap(), 0.025, 1e-9);
    close("McNemar", e.p_value, 1.0, 0.0);
}

/// One draw of paired verdicts: each example of each seed gains or loses with probability `p` each, beside a gain
/// or loss in every seed with probability `q` each.
fn verdicts(rng: &mut ChaCha12Rng, shape: (usize, usize), p: f64, q: f64) -> Array2<f64> {
    let mut draw = |p: f64| match seed::open_unit(rng) {
        u if u < p => 1.0,
        u if u < 2.0 * p => -1.0,
        _ => 0.0,
    };
    let mut x = Array2::zeros(shape);
    for mut example in x.columns_mut() {
        let common = draw(q);
        example.iter_mut().for_each(|v| *v = if common == 0.0 { draw(p) } else { common });
    }
    x
}

/// Where nearly all verdicts agree, and where not: the true difference, 0, lies inside as often as promised.
#[test]
fn paired_intervals_cover_at_the_edges() {
    let mut rng = seed::stream(21, "paired");
    for (shape, p, q) in [
        ((1, 200), 0.002, 0.0),
        ((1, 200), 0.01, 0.0),
        ((1, 200), 0.1, 0.0),
        ((3, 400), 0.0005, 0.0005),
        ((3, 400), 0.003, 0.003),
        ((5, 300), 0.05, 0.02),
    ] {
        let held = (0..1000).filter(|_| {
            let e = paired_interval(verdicts(&mut rng, shape, p, q).view(), None).unwrap();
            assert!(e.low < e.high, "an interval without length");
            e.low <= 0.0 && 0.0 <= e.high
        });
        let held = held.count() as f64 / 1000.0;
        assert!(held >= 0.93, "{shape:?}, {p}, {q}: {held}");
    }
}

/// Shares close to 1 are covered too.
#[test]
fn shares_cover_at_the_edges() {
    let mut rng = seed::stream(22, "shares");
    for (shape, share) in [((1, 100), 0.97), ((3, 200), 0.998), ((3, 200), 0.7)] {
        let held = (0..1000).filter(|_| {
            let right = |_| f64::from(u8::from(seed::open_unit(&mut rng) < share));
            let e = share_interval(Array2::from_shape_fn(shape, right).view()).unwrap();
            e.low <= share && share <= e.high
        });
        let held = held.count() as f64 / 1000.0;
        assert!(held >= 0.92, "{shape:?}, {share}: {held}");
    }
}

/// x_{se} = mean + seed + example + noise, all normal.
fn crossed(rng: &mut ChaCha12Rng, shape: (usize, usize), mean: f64, sd: [f64; 3]) -> Array2<f64> {
    let [seeds, examples, noise] = sd;
    let (a, b) = (seed::normal(rng, shape.0), seed::normal(rng, shape.1));
    let r = seed::normal(rng, shape.0 * shape.1);
    Array2::from_shape_fn(shape, |(s, e)| mean + seeds * a[s] + examples * b[e] + noise * r[s * shape.1 + e])
}

/// The seeds' mean square of nine cells together: intervals shorter by a quarter, and as often right.
#[test]
fn sharing_the_seeds_variance_shortens_intervals_and_keeps_their_coverage() {
    let mut rng = seed::stream(23, "shared");
    let (mut held, mut alone, mut together) = (0, 0.0, 0.0);
    const REPEATS: usize = 400;
    for _ in 0..REPEATS {
        let cells: Vec<_> = (0..9).map(|_| crossed(&mut rng, (3, 60), 0.0, [0.08, 0.2, 0.2])).collect();
        let own: Vec<Crossed> = cells.iter().map(|x| Crossed::of(x.view()).unwrap()).collect();
        let seed = shared(&own.iter().map(|c| c.seed).collect::<Vec<_>>()).unwrap();
        assert_eq!(seed.degrees_of_freedom, 18.0);
        let e = Crossed { seed, ..own[0] }.estimate();
        held += usize::from(e.low <= 0.0 && 0.0 <= e.high);
        let one = own[0].estimate();
        alone += one.high - one.low;
        together += e.high - e.low;
    }
    let held = held as f64 / REPEATS as f64;
    assert!((0.92..=0.98).contains(&held), "{held}");
    assert!(together < 0.75 * alone, "{} of {}", together / REPEATS as f64, alone / REPEATS as f64);
}

/// A true difference of what is called detectable is found as often as promised; so is one of the margin with the
/// seeds that were said to be needed.
#[test]
fn power_is_as_promised() {
    let mut rng = seed::stream(24, "power");
    let sd = [0.5, 0.3, 1.0];
    let (shape, n) = ((8, 60), 1000);
    let mean = |of: &mut dyn FnMut() -> f64| (0..200).map(|_| of()).sum::<f64>() / 200.0;
    let detectable = mean(&mut || {
        detectable(&Crossed::of(crossed(&mut rng, shape, 0.0, sd).view()).unwrap().estimate(), 0.05)
    });
    let found = (0..n).filter(|_| {
        let e = Crossed::of(crossed(&mut rng, shape, detectable, sd).view()).unwrap().estimate();
        e.p_value < 0.05
    });
    let power = found.count() as f64 / n as f64;
    assert!((0.75..=0.87).contains(&power), "{detectable}: {power}");
    let e = Crossed::of(crossed(&mut rng, (40, 60), 0.0, sd).view()).unwrap().estimate();
    let Seeds::Enough(seeds) = seeds_needed(&e, 40, 0.35, 0.05) else { panic!("{e:?}") };
    let found = (0..n).filter(|_| {
        let e = Crossed::of(crossed(&mut rng, (seeds, 60), 0.35, sd).view()).unwrap().estimate();
        e.p_value < 0.05
    });
    let power = found.count() as f64 / n as f64;
    assert!((0.7..=0.9).contains(&power), "{seeds} seeds: {power}");
    assert!(matches!(seeds_needed(&e, 40, 0.05, 0.05), Seeds::MoreExamples(times) if times > 1));
}

/// Ten comparisons, some without any difference and some of exactly the margin: a false word about any of them is
/// said in at most 5 % of families, for either kind of word.
#[test]
fn families_err_as_seldom_as_promised() {
    let mut rng = seed::stream(25, "family");
    let truths = [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, -1.0, -1.0, 1.0];
    const REPEATS: usize = 2000;
    let (mut directions, mut equivalences) = (0, 0);
    for _ in 0..REPEATS {
        let family = truths.map(|truth| {
            let x: Vec<f64> = seed::normal(&mut rng, 12).into_iter().map(|v| truth + 0.8 * v).collect();
            let estimate = student_interval(&x).unwrap();
            Compared { estimate, claim: Claim::Higher, margin: Some(1.0), seeds: 12 }
        });
        let decided = decide(&family).unwrap();
        let wrong = |said: &dyn Fn(Verdict) -> bool, of: &dyn Fn(f64) -> bool| {
            truths.iter().zip(&decided).any(|(truth, d)| of(*truth) && said(d.verdict))
        };
        let direction = |v| matches!(v, Verdict::Supported | Verdict::Refuted);
        directions += usize::from(wrong(&direction, &|truth| truth == 0.0));
        equivalences += usize::from(wrong(&|v| v == Verdict::NoDifference, &|truth| truth != 0.0));
    }
    for errors in [directions, equivalences] {
        let rate = errors as f64 / REPEATS as f64;
        // 5 %, and three standard errors of the simulation.
        assert!(rate <= 0.065, "{rate}");
    }
    assert!(directions > 0, "the simulation never erred: it shows nothing");
}

#[test]
fn a_claim_of_equivalence_is_refuted_only_beyond_its_margin() {
    let at = |mean: f64| {
        let x = [-0.1, 0.0, 0.1, 0.05, -0.05].map(|v| v + mean);
        Compared {
            estimate: student_interval(&x).unwrap(),
            claim: Claim::Within,
            margin: Some(1.0),
            seeds: 5,
        }
    };
    let family = [0.2, 0.95, 2.0, -2.0].map(at);
    let verdicts: Vec<_> = decide(&family).unwrap().iter().map(|d| d.verdict).collect();
    use Verdict::*;
    assert_eq!(verdicts, [Supported, Undecided, Refuted, Refuted]);
    // The same differences as claims of a direction; a small one that is certain is still a direction.
    let higher = family.map(|c| Compared { claim: Claim::Higher, ..c });
    let verdicts: Vec<_> = decide(&higher).unwrap().iter().map(|d| d.verdict).collect();
    assert_eq!(verdicts, [Supported, Supported, Supported, Refuted]);
    let unsure = Compared { claim: Claim::Higher, ..at(0.01) };
    assert_eq!(decide(&[unsure]).unwrap()[0].verdict, NoDifference);
    assert_eq!(decide(&[Compared { margin: None, ..unsure }]).unwrap()[0].verdict, Undecided);
    assert!(decide(&[]).unwrap().is_empty());
}
