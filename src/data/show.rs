//! One pair as a model reads it: which tokens are its prompt, which are scored, and which are cut off.

use crate::Result;
use crate::config::Truncation;
use crate::data::pairs::Pair;
use crate::data::tokenize::{TokenizedPair, tokenize};
use crate::text::tokenizer::TextTokenizer;
use std::fmt::Write;

/// How a token is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Read but not scored; the completion follows.
    Prompt,
    /// Scored: the loss and the accuracy use its log-probability.
    Scored,
    /// Beyond the recipe's limits, so not read.
    CutOff,
}

/// The tokens of a prompt with one of its completions.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    pub tokens: Vec<(Part, String)>,
}

/// A pair's tokens with `chosen` and with `rejected`, and what happened to them in words.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownPair {
    pub chosen: Shown,
    pub rejected: Shown,
    pub notes: Vec<String>,
}

/// # Errors
/// As [`tokenize`].
pub fn show(pair: &Pair, tokenizer: &TextTokenizer, limits: &Truncation) -> Result<ShownPair> {
    let whole = Truncation { max_length: usize::MAX, max_prompt_length: usize::MAX - 1 };
    let one = |limits: &Truncation| -> Result<TokenizedPair> {
        Ok(tokenize(std::slice::from_ref(pair), tokenizer, limits)?.remove(0))
    };
    let (whole, kept) = (one(&whole)?, one(limits)?);
    let tokens = |all: &[u32], scored: &[u32]| {
        let lost = whole.prompt.len() - kept.prompt.len();
        let parts = (0..whole.prompt.len())
            .map(|i| if i < lost { Part::CutOff } else { Part::Prompt })
            .chain((0..all.len()).map(|i| if i < scored.len() { Part::Scored } else { Part::CutOff }));
        let ids = whole.prompt.iter().chain(all);
        Shown { tokens: parts.zip(ids.map(|&id| tokenizer.piece(id))).collect() }
    };
    let mut notes = vec![];
    if kept.dressed {
        notes.push("the prompt's text holds the template already: nothing was put around it".to_string());
    }
    if kept.boundary_moved {
        notes.push(
            "the prompt alone ends with other tokens than with a completion behind it: what both share is the prompt"
                .to_string(),
        );
    }
    if kept.is_identical() {
        notes.push("both completions have the same tokens: the margin is 0 whatever the model".to_string());
    }
    Ok(ShownPair {
        chosen: tokens(&whole.chosen, &kept.chosen),
        rejected: tokens(&whole.rejected, &kept.rejected),
        notes,
    })
}

impl Shown {
    /// The tokens between bars, part by part. With `colour` each part has its own colour on a terminal.
    pub fn lines(&self, colour: bool) -> String {
        let mut text = String::new();
        let mut rest = self.tokens.as_slice();
        while let Some((part, _)) = rest.first() {
            let length = rest.iter().take_while(|(other, _)| other == part).count();
            let (name, code) = match part {
                Part::Prompt => ("prompt", "2"),
                Part::Scored => ("scored", "1;32"),
                Part::CutOff => ("cut off", "9;31"),
            };
            let pieces: String = rest[..length].iter().map(|(_, piece)| format!("{piece}|")).collect();
            let (on, off) = if colour { (format!("\x1b[{code}m"), "\x1b[0m") } else { (String::new(), "") };
            let _ = writeln!(text, "  {name:8} {length:4}  {on}|{pieces}{off}");
            rest = &rest[length..];
        }
        text
    }
}
