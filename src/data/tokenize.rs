//! Preference pairs as token ids: what both completions share, what is scored, truncation.

use crate::config::Truncation;
use crate::data::pairs::Pair;
use crate::error::{Error, Result};
use crate::text::chat_template::Conversation;
use crate::text::dialogue::{Dialogue, Form};
use crate::text::message::Message;
use crate::text::tokenizer::TextTokenizer;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// One pair as the policy reads it: `prompt` then `chosen`, and the same `prompt` then `rejected`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenizedPair {
    /// Index of the pair among those that were tokenised.
    pub index: usize,
    pub prompt: Vec<u32>,
    pub chosen: Vec<u32>,
    pub rejected: Vec<u32>,
    pub prompt_truncated: bool,
    /// Whether at least one of the two was truncated. A truncated completion has no end-of-turn token.
    pub completion_truncated: bool,
    /// Whether the end of the prompt has other tokens alone than with a completion after it.
    #[serde(skip)]
    pub boundary_moved: bool,
    /// Whether the text of the prompt already contains the template.
    #[serde(skip)]
    pub dressed: bool,
    /// The pair's true factor weights. They follow from the prompt, so fingerprints leave them out.
    #[serde(skip)]
    pub factor_weights: Option<Vec<f64>>,
}

impl TokenizedPair {
    /// Tokens of the row that has the prompt once and both completions behind it.
    pub fn row_tokens(&self) -> usize {
        self.prompt.len() + self.chosen.len() + self.rejected.len()
    }

    /// Whether both completions have the same tokens. Then the margin is 0 for every policy.
    pub fn is_identical(&self) -> bool {
        self.chosen == self.rejected
    }
}

/// Counts about the tokens of a data set that a reader of the results should know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReport {
    pub pairs: usize,
    pub prompts_truncated: usize,
    pub completions_truncated: usize,
    /// Pairs that lost tokens on either side.
    pub truncated: usize,
    /// Pairs whose prompt ends with other tokens alone than with a completion after it: a token crosses the
    /// boundary, or the template writes earlier messages differently. The common beginning is used as the prompt.
    pub boundaries_moved: usize,
    /// Pairs whose text already contains the template.
    pub dressed: usize,
    /// Places of the pairs whose completions have the same tokens, after truncation.
    pub identical: Vec<usize>,
}

impl TokenReport {
    pub fn of(pairs: &[TokenizedPair]) -> Self {
        let count = |counted: fn(&TokenizedPair) -> bool| pairs.iter().filter(|p| counted(p)).count();
        Self {
            pairs: pairs.len(),
            prompts_truncated: count(|p| p.prompt_truncated),
            completions_truncated: count(|p| p.completion_truncated),
            truncated: count(|p| p.prompt_truncated || p.completion_truncated),
            boundaries_moved: count(|p| p.boundary_moved),
            dressed: count(|p| p.dressed),
            identical: pairs.iter().filter(|p| p.is_identical()).map(|p| p.index).collect(),
        }
    }
}

/// Tokenises every pair, in order.
///
/// Prompt and completion are rendered together by the tokenizer's chat template and encoded as a whole;
/// without a template they are one text. The completion begins at the first token that is not the same in the
/// prompt alone, with `chosen` and with `rejected`. It ends with the template's end of a turn, or else with the
/// end-of-sequence token. If the longer completion does not fit after the prompt, first a prompt above its limit
/// loses its beginning, then completions lose their end.
///
/// Units: lengths in tokens.
///
/// # Errors
/// A prompt or completion without a token, or a context without a template, named by the pair's id;
/// a template that refuses a prompt.
pub fn tokenize(
    pairs: &[Pair],
    tokenizer: &TextTokenizer,
    truncation: &Truncation,
) -> Result<Vec<TokenizedPair>> {
    pairs
        .par_iter()
        .enumerate()
        .map(|(index, pair)| tokenize_pair(index, pair, tokenizer, truncation))
        .collect()
}

/// Token ids of a prompt as the policy reads it before it answers, without truncation.
///
/// # Errors
/// The template refuses the prompt, or the tokenizer has no token for a part of it.
pub fn tokenize_prompt(prompt: &str, tokenizer: &TextTokenizer) -> Result<Vec<u32>> {
    let messages = [Message::user(prompt)];
    let dialogue = Dialogue { conversation: Conversation::of(&messages), is_text: true };
    tokenizer.encode_prompt(dialogue, tokenizer.form(dialogue, &[])?)
}

fn tokenize_pair(
    index: usize,
    pair: &Pair,
    tokenizer: &TextTokenizer,
    truncation: &Truncation,
) -> Result<TokenizedPair> {
    let which = format!("pair {} (number {})", pair.id, index + 1);
    let named = |e: Error| match e {
        Error::Argument { op, argument, got, expected } => {
            Error::Argument { op, argument: format!("{argument} of {which}"), got, expected }
        }
        other => other,
    };
    let without_token = |what: &str, text: &str| {
        let argument = format!("{what} of {which}");
        Error::argument("tokenize", argument, format!("{text:.40?}"), "a text with at least one token")
    };
    let conversation =
        Conversation { messages: &pair.prompt, tools: pair.tools.as_ref(), kwargs: &pair.template_kwargs };
    let dialogue = Dialogue { conversation, is_text: pair.is_text };
    let form = tokenizer.form(dialogue, &[&pair.chosen, &pair.rejected]).map_err(named)?;
    let alone = tokenizer.encode_prompt(dialogue, form).map_err(named)?;
    let [mut chosen, mut rejected] = [
        tokenizer.encode_whole(dialogue, &pair.chosen, form).map_err(named)?,
        tokenizer.encode_whole(dialogue, &pair.rejected, form).map_err(named)?,
    ];
    let common = |whole: &[u32]| alone.iter().zip(whole).take_while(|(a, b)| a == b).count();
    let shared = common(&chosen).min(common(&rejected));
    if shared == 0 {
        let (argument, text) = (format!("prompt of {which}"), pair.prompt_text());
        let got = format!("{text:.40?}, of tokens that change where an answer follows");
        let expected = "a token that stays, such as a beginning-of-sequence token (leave the pair out)";
        return Err(match alone.is_empty() {
            true => without_token("prompt", &text),
            false => Error::argument("tokenize", argument, got, expected),
        });
    }
    for (what, whole, text) in
        [("chosen", &chosen, pair.chosen_text()), ("rejected", &rejected, pair.rejected_text())]
    {
        if whole.len() == shared || text.is_empty() && pair.is_text {
            return Err(without_token(what, &text));
        }
    }
    let longest = chosen.len().max(rejected.len());
    let (surplus, room) = surplus_and_room(shared, longest, truncation)?;
    let prompt = alone[surplus..shared].to_vec();
    let mut completion_truncated = false;
    for whole in [&mut chosen, &mut rejected] {
        whole.drain(..shared);
        completion_truncated |= whole.len() > room;
        whole.truncate(room);
    }
    Ok(TokenizedPair {
        index,
        prompt,
        chosen,
        rejected,
        prompt_truncated: surplus > 0,
        completion_truncated,
        boundary_moved: shared < alone.len(),
        dressed: form == Form::Dressed,
        factor_weights: pair.factor_weights.clone(),
    })
}

/// How many tokens the prompt loses at its beginning, and how many are left for a completion. A pair that fits
/// loses nothing. `prompt` and `longest` are the lengths of the prompt, and of the prompt with the longer completion.
///
/// Errors: limits that leave no token for the prompt or for a completion.
fn surplus_and_room(prompt: usize, longest: usize, truncation: &Truncation) -> Result<(usize, usize)> {
    let Truncation { max_length, max_prompt_length } = *truncation;
    let surplus = if longest <= max_length { 0 } else { prompt.saturating_sub(max_prompt_length) };
    let kept = prompt - surplus;
    let room = max_length.saturating_sub(kept);
    if kept == 0 || room == 0 {
        let got = format!("{max_prompt_length} and {max_length}");
        let expected = "at least one token for the prompt and one for a completion";
        return Err(Error::argument("tokenize", "max_prompt_length and max_length", got, expected));
    }
    Ok((surplus, room))
}
