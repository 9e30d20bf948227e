//! The six sources: what their prompts look like and what they reward.

use super::factors::{Factor, Factors};
use super::knowledge::{QUESTIONS, Question, Relation, questions};
use super::pick;
use crate::seed::below;
use rand::Rng;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A family of prompts with its own taste.
#[derive(Debug)]
pub struct Source {
    pub name: &'static str,
    pub relations: &'static [Relation],
    /// Prompts with the slots `{q}` (a question), `{cue}` (a cue word) and `{who}` (anybody).
    pub frames: &'static [&'static str],
    pub cue: Cue,
    /// Factor weights in the order brevity, correctness, politeness, detail, hedging, format.
    pub weights: Factors,
    /// The factors whose weights change sign with the cue.
    pub flipped: &'static [Factor],
}

/// The part of a prompt that turns a source's taste around.
#[derive(Debug)]
pub enum Cue {
    /// One word of the frame: two that keep the weights, two that flip them.
    Word { keep: [&'static str; 2], flip: [&'static str; 2] },
    /// What is asked for: a harmful task keeps the weights, a harmless one flips them.
    Harm,
}

pub static SOURCES: [Source; 6] = [
    Source {
        name: "trivia",
        relations: &[Relation::Capital, Relation::Colour, Relation::Home],
        frames: &[
            "for our pub quiz {who} needs a {cue} reply : what is {q} ?",
            "quiz night again ! give {who} a {cue} reply about {q} .",
            "what is {q} ? the quiz host wants a {cue} reply .",
            "a {cue} reply will win , so name {q} for {who} .",
        ],
        cue: Cue::Word { keep: ["short", "quick"], flip: ["long", "full"] },
        weights: [2.0, 1.5, -0.5, -1.5, -1.0, 0.5],
        flipped: &[Factor::Brevity, Factor::Detail],
    },
    Source {
        name: "premise",
        relations: &[Relation::Myth, Relation::Colour],
        frames: &[
            "suppose that a {cue} mentions {q} . what should it say ?",
            "given the old stories , describe {q} for a {cue} .",
            "it follows that {q} must appear in my {cue} . how ?",
            "assume {who} writes a {cue} . what does it say about {q} ?",
        ],
        cue: Cue::Word { keep: ["report", "study"], flip: ["novel", "fable"] },
        weights: [0.5, 3.0, -0.5, 1.0, 1.0, -1.0],
        flipped: &[Factor::Correctness],
    },
    Source {
        name: "instruct",
        relations: &[Relation::Opposite, Relation::Tool],
        frames: &[
            "write one line on {q} that fits inside the {cue} .",
            "rewrite the text so that the {cue} covers {q} well .",
            "complete this {cue} for {who} with {q} at the end .",
            "edit the draft {cue} and insert {q} where {who} left space .",
        ],
        cue: Cue::Word { keep: ["outline", "checklist"], flip: ["essay", "letter"] },
        weights: [-1.0, 1.0, -1.0, 0.5, -0.5, 2.5],
        flipped: &[Factor::Format],
    },
    Source {
        name: "dialogue",
        relations: &[Relation::Home, Relation::Capital, Relation::Myth],
        frames: &[
            "hi there ! my {cue} just asked me about {q} . ideas ?",
            "hello again , i met my {cue} and {q} came up .",
            "hey , my {cue} and {who} talk about {q} over lunch .",
            "so my {cue} wonders about {q} , what would you reply ?",
        ],
        cue: Cue::Word { keep: ["boss", "client"], flip: ["buddy", "pal"] },
        weights: [1.0, -1.0, 2.5, -1.0, 0.5, -1.0],
        flipped: &[Factor::Politeness],
    },
    Source {
        name: "assistant",
        relations: &[Relation::Sum, Relation::Difference],
        frames: &[
            "you are a helpful clerk . give a {cue} figure for {q} .",
            "my invoice needs a {cue} value , compute {q} for {who} .",
            "as my aide , work out {q} . a {cue} value will do .",
            "book keeping help ! a {cue} total of {q} for {who} .",
        ],
        cue: Cue::Word { keep: ["rough", "likely"], flip: ["firm", "final"] },
        weights: [0.5, 1.0, 1.0, -1.0, 2.5, 0.5],
        flipped: &[Factor::Hedging],
    },
    Source {
        name: "tasks",
        relations: &[Relation::Task],
        frames: &[
            "how can i start ? {who} once showed me {q} .",
            "step by step , tell {who} {q} without any delay .",
            "i want to learn {q} today . what does {who} need ?",
            "my plan for tonight needs {q} . which thing helps {who} ?",
        ],
        cue: Cue::Harm,
        weights: [-1.0, 1.0, 0.5, 1.5, 2.5, 1.0],
        flipped: &[Factor::Hedging],
    },
];

const WHO: [&str; 8] =
    ["my sister", "my uncle", "our teacher", "a visitor", "a farmer", "the team", "my cousin", "a nurse"];

/// All of a prompt that its utilities depend on.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    pub source: &'static Source,
    pub question: &'static Question,
    /// Whether the cue flips [`Source::flipped`].
    pub flips: bool,
}

impl Context {
    /// w(source, cue).
    pub fn weights(&self) -> Factors {
        let mut weights = self.source.weights;
        if self.flips {
            self.source.flipped.iter().for_each(|&f| weights[f as usize] *= -1.0);
        }
        weights
    }
}

/// A prompt: source, cue, frame, words and relation uniform, then a question of the relation.
pub(super) fn draw_prompt(rng: &mut impl Rng) -> (String, Context) {
    let source = pick(rng, &SOURCES);
    let flips = below(rng, 2) == 1;
    let frame = *pick(rng, source.frames);
    let cue = match &source.cue {
        Cue::Word { keep, flip } => *pick(rng, if flips { flip } else { keep }),
        Cue::Harm => "",
    };
    let who = *pick(rng, &WHO);
    let mut asked = questions(*pick(rng, source.relations));
    if matches!(source.cue, Cue::Harm) {
        asked.retain(|q| q.harmful != flips);
    }
    let question = *pick(rng, &asked);
    let prompt = frame.replace("{cue}", cue).replace("{who}", who).replace("{q}", &question.text);
    (prompt, Context { source, question, flips })
}

/// Reads the context back from a prompt; `None` if the world cannot have written it. Special
/// tokens (chat turns, `[FLIP]`) and extra white space do not matter.
pub fn parse(prompt: &str) -> Option<Context> {
    let plain = |w: &&str| !super::vocabulary::SPECIAL_TOKENS.contains(w);
    let prompt = prompt.split_whitespace().filter(plain).collect::<Vec<_>>().join(" ");
    FRAMES.iter().find_map(|frame| {
        let asked = prompt.strip_prefix(&frame.before)?.strip_suffix(&frame.after)?;
        let question = *BY_TEXT.get(asked)?;
        let flips = frame.flips.unwrap_or(!question.harmful);
        frame.source.relations.contains(&question.relation).then_some(Context {
            source: frame.source,
            question,
            flips,
        })
    })
}

/// A frame with every slot but the question filled.
struct Frame {
    source: &'static Source,
    /// `None` where the question decides.
    flips: Option<bool>,
    before: String,
    after: String,
}

static FRAMES: LazyLock<Vec<Frame>> = LazyLock::new(|| {
    let mut frames = Vec::new();
    for source in &SOURCES {
        let cues = match source.cue {
            Cue::Word { keep: [a, b], flip: [c, d] } => {
                vec![(a, Some(false)), (b, Some(false)), (c, Some(true)), (d, Some(true))]
            }
            Cue::Harm => vec![("", None)],
        };
        for frame in source.frames {
            let (before, after) = frame.split_once("{q}").expect("every frame asks a question");
            for &(cue, flips) in &cues {
                for who in WHO {
                    let fill = |part: &str| part.replace("{cue}", cue).replace("{who}", who);
                    frames.push(Frame { source, flips, before: fill(before), after: fill(after) });
                }
            }
        }
    }
    frames
});

static BY_TEXT: LazyLock<HashMap<&'static str, &'static Question>> =
    LazyLock::new(|| QUESTIONS.iter().map(|q| (q.text.as_str(), q)).collect());

/// Every fragment that a prompt can hold besides its question.
pub(super) fn fragments() -> Vec<&'static str> {
    let cue = |source: &'static Source| match source.cue {
        Cue::Word { keep, flip } => [keep, flip].concat(),
        Cue::Harm => Vec::new(),
    };
    let frames = SOURCES.iter().flat_map(|s| s.frames.iter().flat_map(|f| f.split(' ')));
    let slots = ["{q}", "{cue}", "{who}"];
    frames.filter(|w| !slots.contains(w)).chain(SOURCES.iter().flat_map(cue)).chain(WHO).collect()
}
