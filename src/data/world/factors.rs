//! The factors of a completion, scored from its words alone.

use super::knowledge::Question;

/// Index into [`Factors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    Brevity,
    Correctness,
    Politeness,
    Detail,
    Hedging,
    Format,
}

impl Factor {
    pub const ALL: [Self; 6] =
        [Self::Brevity, Self::Correctness, Self::Politeness, Self::Detail, Self::Hedging, Self::Format];

    pub fn name(self) -> &'static str {
        ["brevity", "correctness", "politeness", "detail", "hedging", "format"][self as usize]
    }
}

/// One number a factor, in the order of [`Factor::ALL`]. Scores are multiples of 1/8 and weights
/// of 1/2, so utilities are exact in f64 and equal utilities compare as equal.
pub type Factors = [f64; 6];

pub(super) const COURTESY_OPENERS: &[&str] = &["thanks", "gladly", "dear friend"];
pub(super) const COURTESY_CLOSERS: &[&str] = &["my pleasure", "with respect", "warm regards"];
pub(super) const HEDGE_OPENERS: &[&str] = &["perhaps", "maybe", "i think", "i guess"];
pub(super) const HEDGE_CLOSERS: &[&str] = &["be careful", "not certain", "check first"];
pub(super) const DETAIL_MARKERS: &[&str] = &["because", "since", "also"];
pub(super) const HEADINGS: &[&str] = &["answer :", "note :"];
pub(super) const BULLETS: &[&str] = &["-", "*"];

/// Completions with at most this many tokens get the full score for brevity.
pub(super) const BRIEF: usize = 8;

/// Completions with at least this many tokens get no score for brevity.
pub const LONG: usize = 16;

/// The six factors of `completion` as an answer to `question`, each in [0, 1]:
///
/// - brevity: (16 − tokens)/8, clamped; punctuation counts as tokens;
/// - correctness: 1 if the word after the first `is` is the right answer, else 0;
/// - politeness, detail, hedging, format: half the number of their markers, at most 1.
///
/// Any text has a score: a completion that states no answer is not correct.
pub fn score(question: &Question, completion: &str) -> Factors {
    let words: Vec<&str> = completion.split_whitespace().collect();
    let brevity = LONG.saturating_sub(words.len()).min(LONG - BRIEF) as f64 / (LONG - BRIEF) as f64;
    let stated = words.iter().skip_while(|w| **w != "is").nth(1);
    let correctness = if stated == Some(&question.answer) { 1.0 } else { 0.0 };
    let half = |markers: [&[&str]; 2]| {
        let found: usize = markers.into_iter().flatten().map(|m| occurrences(&words, m)).sum();
        found.min(2) as f64 / 2.0
    };
    [
        brevity,
        correctness,
        half([COURTESY_OPENERS, COURTESY_CLOSERS]),
        half([DETAIL_MARKERS, &[]]),
        half([HEDGE_OPENERS, HEDGE_CLOSERS]),
        half([HEADINGS, BULLETS]),
    ]
}

/// Σ_j w_j f_j.
pub fn weigh(weights: &Factors, factors: &Factors) -> f64 {
    weights.iter().zip(factors).map(|(w, f)| w * f).sum()
}

/// How often the words of `phrase` stand next to each other in `words`.
fn occurrences(words: &[&str], phrase: &str) -> usize {
    let phrase: Vec<&str> = phrase.split(' ').collect();
    words.windows(phrase.len()).filter(|w| *w == phrase.as_slice()).count()
}
