//! Preference pairs as token ids: chat template, end of turn, truncation.

use crate::config::Truncation;
use crate::data::pairs::Pair;
use crate::error::{Error, Result};
use crate::model::chat_template::Message;
use crate::model::tokenizer::TextTokenizer;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// One pair as the policy reads it: `prompt` then `chosen`, and the same `prompt` then `rejected`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenizedPair {
    /// Into the pairs that were tokenised.
    pub index: usize,
    pub prompt: Vec<u32>,
    pub chosen: Vec<u32>,
    pub rejected: Vec<u32>,
    pub prompt_truncated: bool,
    /// At least one of the two; a truncated completion has no end-of-turn token.
    pub completion_truncated: bool,
    /// The pair's; they follow from the prompt and are no part of a fingerprint.
    #[serde(skip)]
    pub factor_weights: Option<Vec<f64>>,
}

/// How many pairs lost tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruncationReport {
    pub pairs: usize,
    pub prompts_truncated: usize,
    pub completions_truncated: usize,
    /// Pairs that lost tokens on either side.
    pub truncated: usize,
}

impl TruncationReport {
    pub fn of(pairs: &[TokenizedPair]) -> Self {
        let count = |truncated: fn(&TokenizedPair) -> bool| pairs.iter().filter(|p| truncated(p)).count();
        Self {
            pairs: pairs.len(),
            prompts_truncated: count(|p| p.prompt_truncated),
            completions_truncated: count(|p| p.completion_truncated),
            truncated: count(|p| p.prompt_truncated || p.completion_truncated),
        }
    }
}

/// Tokenises every pair, in order.
///
/// A prompt goes through the tokenizer's chat template as a user message behind its context, up to
/// where the answer begins; without a template it is the bare text, with what the tokenizer puts
/// around a text.
/// Prompt and completions are tokenised apart, so that both completions share the prompt's tokens,
/// and a completion ends with the end-of-turn token. Over-long prompts keep their end, then
/// over-long completions their beginning.
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

/// Token ids of a prompt as the policy reads it, before any truncation.
///
/// # Errors
/// The template refuses the prompt, or the tokenizer has no token for a part of it.
pub fn tokenize_prompt(prompt: &str, tokenizer: &TextTokenizer) -> Result<Vec<u32>> {
    match tokenizer.chat_template() {
        // The template writes the special tokens itself.
        Some(template) => tokenizer.encode(&template.render(&[Message::user(prompt)], true)?, false),
        None => tokenizer.encode(prompt, true),
    }
}

fn tokenize_conversation(pair: &Pair, tokenizer: &TextTokenizer) -> Result<Vec<u32>> {
    if pair.context.is_empty() {
        return tokenize_prompt(&pair.prompt, tokenizer);
    }
    let Some(template) = tokenizer.chat_template() else {
        let argument = format!("prompt of pair {}", pair.id);
        let got = format!("{} messages", pair.context.len() + 1);
        return Err(Error::argument(
            "tokenize",
            argument,
            got,
            "one message, or a tokenizer with a chat template",
        ));
    };
    let before = pair.context.iter().map(|turn| Message { role: &turn.role, content: &turn.content });
    let messages: Vec<Message> = before.chain([Message::user(&pair.prompt)]).collect();
    tokenizer.encode(&template.render(&messages, true)?, false)
}

fn tokenize_pair(
    index: usize,
    pair: &Pair,
    tokenizer: &TextTokenizer,
    truncation: &Truncation,
) -> Result<TokenizedPair> {
    let without_token = |what: &str, text: &str| {
        let argument = format!("{what} of pair {}", pair.id);
        Error::argument("tokenize", argument, format!("{text:.40?}"), "a text with at least one token")
    };
    let mut prompt = tokenize_conversation(pair, tokenizer)?;
    if prompt.is_empty() {
        return Err(without_token("prompt", &pair.prompt));
    }
    let surplus = prompt.len().saturating_sub(truncation.max_prompt_length);
    prompt.drain(..surplus);
    let room = truncation.max_length.saturating_sub(prompt.len());
    if prompt.is_empty() || room == 0 {
        let got = format!("{} and {}", truncation.max_prompt_length, truncation.max_length);
        let expected = "at least one token for the prompt and one for a completion";
        return Err(Error::argument("tokenize", "max_prompt_length and max_length", got, expected));
    }
    let completion = |what: &str, text: &str| -> Result<(Vec<u32>, bool)> {
        let mut ids = tokenizer.encode(text, false)?;
        if ids.is_empty() {
            return Err(without_token(what, text));
        }
        ids.push(tokenizer.end_of_turn());
        let truncated = ids.len() > room;
        ids.truncate(room);
        Ok((ids, truncated))
    };
    let (chosen, chosen_truncated) = completion("chosen", &pair.chosen)?;
    let (rejected, rejected_truncated) = completion("rejected", &pair.rejected)?;
    Ok(TokenizedPair {
        index,
        prompt,
        chosen,
        rejected,
        prompt_truncated: surplus > 0,
        completion_truncated: chosen_truncated || rejected_truncated,
        factor_weights: pair.factor_weights.clone(),
    })
}
