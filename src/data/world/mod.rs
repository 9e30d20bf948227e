//! The built-in preference world: prompts, completions and labels whose truth is known.
//!
//! There are six response factors, which can be scored exactly. Each of six sources gives them its own weights, and
//! one word of a prompt can change the sign of a weight. A pair is the best of four completions and a random other
//! one. Its label is kept with probability σ(sharpness · Δutility), so no model can be expected to agree with more
//! labels than the mean of σ(sharpness · |Δutility|).

pub mod completion;
pub mod factors;
pub mod knowledge;
pub mod source;
mod vocabulary;

pub use factors::{Factor, Factors};
pub use vocabulary::{BOS_ID, EOS_ID, PAD_ID, SPECIAL_TOKENS, UNK_ID, tokenizer, vocabulary};

use super::noise;
use super::pairs::Pair;
use crate::config::{Cues, Taste, World};
use crate::error::{Error, Result};
use crate::seed::{below, open_unit, stream};
use rand::Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use source::Context;

/// A generated world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    pub train: Vec<WorldPair>,
    pub test: Vec<WorldPair>,
}

/// A pair and what no real data set can tell about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorldPair {
    pub pair: Pair,
    pub truth: Truth,
}

/// The truth about a pair; `chosen` and `rejected` as labelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Whether the cue changes the sign of some weights of the source.
    pub cue_flips: bool,
    pub weights: Factors,
    pub factors_chosen: Factors,
    pub factors_rejected: Factors,
    pub utility_chosen: f64,
    pub utility_rejected: f64,
    /// σ(sharpness · |Δutility|): the chance that the label, before any flip, prefers the
    /// better completion. Its mean is the Bayes-optimal accuracy.
    pub bayes: f64,
    /// The Bradley–Terry draw preferred the worse completion.
    pub swapped: bool,
    /// The label was flipped afterwards; see [`noise::flip`].
    pub flipped: bool,
}

impl Default for World {
    /// The calibrated world: see `paper/world.md` for the criteria.
    fn default() -> Self {
        Self {
            seed: 20_260_101,
            train: 8192,
            test: 1000,
            sharpness: 1.5,
            flip_rate: 0.0,
            flip_marked: false,
            taste: Taste::BySource,
            cues: Cues::Shown,
        }
    }
}

/// Training and test pairs of the world, bit-identical for equal settings.
///
/// Every pair has its own random stream, so the first n pairs do not depend on how many follow. No test prompt
/// occurs in training. Sharpness changes only labels. Flips change only training labels; their number depends on
/// `train`.
///
/// Errors: `sharpness` negative or not finite, `flip_rate` outside [0, 1].
pub fn generate(world: &World) -> Result<Dataset> {
    if !(world.sharpness.is_finite() && world.sharpness >= 0.0) {
        return Err(Error::argument("world", "sharpness", world.sharpness, "finite and >= 0"));
    }
    let draw = |split: Split, count: usize| -> Vec<WorldPair> {
        (0..count).map(|i| draw_pair(world, split, i)).collect()
    };
    let (mut train, test) = (draw(Split::Train, world.train), draw(Split::Test, world.test));
    let mut pairs: Vec<Pair> = train.iter().map(|p| p.pair.clone()).collect();
    let flipped = noise::flip(&mut pairs, world.flip_rate, world.flip_marked, world.seed)?;
    train.iter_mut().zip(pairs).for_each(|(p, pair)| p.pair = pair);
    flipped.into_iter().for_each(|i| train[i].truth.flip());
    Ok(Dataset { train, test })
}

/// `count` prompts, none of them a test prompt, with completions as they come: what a base
/// model is trained on.
pub fn corpus(seed: u64, count: usize) -> Vec<(String, String)> {
    let mut rng = stream(seed, "world/corpus");
    (0..count)
        .map(|_| {
            let (prompt, context) = draw_prompt(Split::Train, &mut rng);
            (prompt, completion::write(context.question, &mut rng).0)
        })
        .collect()
}

/// A prompt of the kind that only test pairs have, with what it asks.
pub fn held_out_prompt(rng: &mut impl Rng) -> (String, &'static knowledge::Question) {
    let (prompt, context) = draw_prompt(Split::Test, rng);
    (prompt, context.question)
}

/// u(x, y) = Σ_j w_j(source, cue) f_j(x, y), all read from the two texts.
///
/// Errors: the prompt is not one of the world's. Any completion has a utility.
///
/// ```
/// let prompt = "what is the capital of france ? the quiz host wants a short reply .";
/// let (right, wrong) = ("that is paris , check first .", "that is rome , check first .");
/// let utility = |completion| lpc::data::world::utility(prompt, completion).unwrap();
/// assert_eq!(utility(right) - utility(wrong), 1.5); // the weight of correctness in trivia
/// ```
pub fn utility(prompt: &str, completion: &str) -> Result<f64> {
    let context = source::parse(prompt).ok_or_else(|| {
        Error::argument("utility", "prompt", format!("`{prompt}`"), "a prompt of the world")
    })?;
    Ok(factors::weigh(&context.weights(), &factors::score(context.question, completion)))
}

/// [`Taste::One`]: politeness at the weight that the source which cares most gives it.
const ONE_TASTE: Factors = [0.0, 0.0, 2.5, 0.0, 0.0, 0.0];

#[derive(Clone, Copy, PartialEq)]
enum Split {
    Train,
    Test,
}

impl Split {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }

    /// One prompt in eight, chosen by its hash, is kept for testing: disjoint at any size.
    fn of(prompt: &str) -> Self {
        if Sha256::digest(prompt)[0].is_multiple_of(8) { Self::Test } else { Self::Train }
    }
}

fn draw_prompt(split: Split, rng: &mut impl Rng) -> (String, Context) {
    loop {
        let (prompt, context) = source::draw_prompt(rng);
        if Split::of(&prompt) == split {
            return (prompt, context);
        }
    }
}

fn draw_pair(world: &World, split: Split, index: usize) -> WorldPair {
    let id = format!("world/{}/{index:06}", split.name());
    let mut rng = stream(world.seed, &id);
    let (prompt, context) = draw_prompt(split, &mut rng);
    let weights = match world.taste {
        Taste::BySource => context.weights(),
        Taste::One => ONE_TASTE,
        // Of a stream of its own: prompt and question are as they would be without an annotator.
        Taste::ByAnnotator => {
            draw_prompt(split, &mut stream(world.seed, &format!("{id}/annotator"))).1.weights()
        }
    };
    let ([better, worse], [best, other]) = loop {
        let mut four: Vec<_> = (0..4)
            .map(|_| {
                let text = completion::write(context.question, &mut rng).0;
                let factors = factors::score(context.question, &text);
                (text, factors, factors::weigh(&weights, &factors))
            })
            .collect();
        let best = (0..4).max_by(|&a, &b| four[a].2.total_cmp(&four[b].2)).expect("four completions");
        let (text, factors, utility) = four.swap_remove(best);
        let (other_text, other_factors, other_utility) = four.swap_remove(below(&mut rng, 3));
        // A tie has no better completion: draw all four again.
        if utility > other_utility {
            break ([text, other_text], [(factors, utility), (other_factors, other_utility)]);
        }
    };
    let bayes = 1.0 / (1.0 + (-world.sharpness * (best.1 - other.1)).exp());
    // Of a stream of its own: everything else about the pair is as with its own prompt.
    let prompt = match world.cues {
        Cues::Shown => prompt,
        Cues::Exchanged => draw_prompt(split, &mut stream(world.seed, &format!("{id}/other"))).0,
    };
    let mut drawn = WorldPair {
        pair: Pair {
            id,
            source: context.source.name.into(),
            factor_weights: Some(weights.to_vec()),
            ..Pair::of_texts(&prompt, &better, &worse)
        },
        truth: Truth {
            cue_flips: context.flips,
            weights,
            factors_chosen: best.0,
            factors_rejected: other.0,
            utility_chosen: best.1,
            utility_rejected: other.1,
            bayes,
            swapped: open_unit(&mut rng) >= bayes,
            flipped: false,
        },
    };
    if drawn.truth.swapped {
        std::mem::swap(&mut drawn.pair.chosen, &mut drawn.pair.rejected);
        drawn.truth.exchange();
    }
    drawn
}

impl Truth {
    /// What [`noise::flip`] did to the pair.
    fn flip(&mut self) {
        self.flipped = true;
        self.exchange();
    }

    fn exchange(&mut self) {
        std::mem::swap(&mut self.factors_chosen, &mut self.factors_rejected);
        std::mem::swap(&mut self.utility_chosen, &mut self.utility_rejected);
    }
}

/// A uniform element of `items`.
fn pick<'a, T>(rng: &mut impl Rng, items: &'a [T]) -> &'a T {
    &items[below(rng, items.len())]
}
