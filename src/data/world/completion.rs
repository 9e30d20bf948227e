//! Writes completions in a random style that does not depend on preferences.

use super::factors::{
    BRIEF, BULLETS, COURTESY_CLOSERS, COURTESY_OPENERS, HEADINGS, HEDGE_CLOSERS, HEDGE_OPENERS,
};
use super::knowledge::{Question, Relation};
use super::pick;
use crate::seed::{below, open_unit};
use rand::Rng;

/// How a completion is written. Levels are 0, 1 or 2; all fields are drawn independently of
/// each other and of the prompt, then styles whose text has the wrong length are drawn again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    pub correct: bool,
    pub courtesy: usize,
    pub detail: usize,
    pub hedging: usize,
    pub format: usize,
    /// Words that say nothing; moves brevity and no other factor.
    pub verbosity: usize,
}

/// Completions have 8 to 18 tokens.
pub const LENGTH: std::ops::RangeInclusive<usize> = BRIEF..=18;

/// Share of completions that state the right answer.
const CORRECT: f64 = 0.5;

/// Probabilities of the levels 0, 1 and 2 of courtesy, detail, hedging and format.
const LEVELS: [f64; 3] = [0.40, 0.35, 0.25];

/// Sentences up to the answer, by verbosity. The answer follows the only `is`.
const CORES: [[&str; 2]; 3] = [
    ["it is", "that is"],
    ["the answer here is", "what you want is"],
    ["after all the answer to that is", "well now what you should know is"],
];

/// A completion for `question` and the style it was written in.
pub fn write(question: &Question, rng: &mut impl Rng) -> (String, Style) {
    loop {
        let style = draw_style(rng);
        let text = render(question, style, rng);
        if LENGTH.contains(&text.split(' ').count()) {
            return (text, style);
        }
    }
}

fn draw_style(rng: &mut impl Rng) -> Style {
    let mut level = || {
        let u = open_unit(rng);
        if u < LEVELS[0] { 0 } else { 1 + usize::from(u >= LEVELS[0] + LEVELS[1]) }
    };
    let (courtesy, detail, hedging, format) = (level(), level(), level(), level());
    Style { correct: open_unit(rng) < CORRECT, courtesy, detail, hedging, format, verbosity: below(rng, 3) }
}

fn render(question: &Question, style: Style, rng: &mut impl Rng) -> String {
    let (courtesy_first, courtesy_last) = split_level(style.courtesy, rng);
    let (hedge_first, hedge_last) = split_level(style.hedging, rng);
    let (heading, bullet) = split_level(style.format, rng);
    let mut parts: Vec<String> = Vec::new();
    if courtesy_first {
        parts.push(format!("{} ,", pick(rng, COURTESY_OPENERS)));
    }
    for (wanted, words) in [(heading, HEADINGS), (bullet, BULLETS), (hedge_first, HEDGE_OPENERS)] {
        if wanted {
            parts.push(pick(rng, words).to_string());
        }
    }
    let answer = if style.correct { question.answer } else { *pick(rng, &question.wrong) };
    parts.push(format!("{} {answer}", pick(rng, &CORES[style.verbosity])));
    let clauses = details(question.relation);
    let first = below(rng, clauses.len());
    parts.extend((0..style.detail).map(|i| clauses[(first + i) % clauses.len()].to_string()));
    for (wanted, words) in [(hedge_last, HEDGE_CLOSERS), (courtesy_last, COURTESY_CLOSERS)] {
        if wanted {
            parts.push(format!(", {}", pick(rng, words)));
        }
    }
    parts.push(".".into());
    parts.join(" ")
}

/// Which of the two places of a factor are filled: none, either, both.
fn split_level(level: usize, rng: &mut impl Rng) -> (bool, bool) {
    let second = below(rng, 2) == 1;
    (level == 2 || level == 1 && !second, level == 2 || level == 1 && second)
}

/// Clauses that add something to the answer; each begins with its own marker.
fn details(relation: Relation) -> [&'static str; 3] {
    match relation {
        Relation::Capital => {
            ["because rulers live there", "since trade began there", "also tourists visit often"]
        }
        Relation::Colour => {
            ["because light scatters so", "since painters use it", "also children learn that"]
        }
        Relation::Home => ["because young stay safe", "since rain falls outside", "also food keeps there"],
        Relation::Opposite => {
            ["because meanings point apart", "since dictionaries say so", "also writers pair them"]
        }
        Relation::Tool => ["because hands need help", "since workers carry one", "also shops sell many"],
        Relation::Sum => ["because counting shows that", "since fingers prove it", "also tables list it"],
        Relation::Difference => {
            ["because taking away works", "since fingers prove it", "also tables list it"]
        }
        Relation::Myth => {
            ["because scientists measured it", "since old tales spread", "also museums explain this"]
        }
        Relation::Task => ["because practice shows that", "since experts do so", "also guides mention it"],
    }
}

/// Every fragment that a completion can hold besides its answer.
pub(super) fn fragments() -> Vec<&'static str> {
    use super::knowledge::QUESTIONS;
    let phrases =
        [HEADINGS, BULLETS, HEDGE_OPENERS, HEDGE_CLOSERS, COURTESY_OPENERS, COURTESY_CLOSERS, &[", ."]];
    let clauses = QUESTIONS.iter().flat_map(|q| details(q.relation));
    phrases.concat().into_iter().chain(CORES.concat()).chain(clauses).collect()
}
