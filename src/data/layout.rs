//! The layouts in which people keep preference pairs, and what a row of each means.

use crate::data::pairs::{LeftOut, Pair};
use crate::data::transcript;
use crate::data::ultrafeedback::{self, ScoreCounts};
use crate::error::{Error, Place, Result};
use crate::model::message::Message;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;

/// How a row holds its pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `prompt`, `chosen`, `rejected`: three strings.
    Strings,
    /// `chosen` and `rejected` alone, two strings that begin with the prompt.
    ImplicitStrings,
    /// `prompt`, `chosen`, `rejected`: messages with role and content.
    Messages,
    /// `chosen` and `rejected`: two conversations that begin with the prompt.
    ImplicitMessages,
    /// HH-RLHF's transcripts.
    Transcripts,
    /// UltraFeedback as it was published: an instruction and scored completions.
    UltraFeedback,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strings => "prompt, chosen and rejected as text",
            Self::ImplicitStrings => "chosen and rejected as text that begins with the prompt",
            Self::Messages => "prompt, chosen and rejected as messages",
            Self::ImplicitMessages => "chosen and rejected as messages that begin with the prompt",
            Self::Transcripts => "HH-RLHF transcripts",
            Self::UltraFeedback => "raw UltraFeedback",
        })
    }
}

/// A row's pair, still without id and source, or why it has none.
pub enum Found {
    Pair(Pair),
    LeftOut(LeftOut),
}

/// Reads one row. Where the prompt is implicit it is what the two sides share, as TRL defines it:
/// whole messages, or text up to a space.
///
/// `seed` draws the rejected completion of raw UltraFeedback, row `number`; without one such a row
/// is refused.
///
/// # Errors
/// A key is missing or holds something else, a conversation has no prompt of the user's before its
/// answer, or several messages behind it.
pub fn read_row(
    mut row: Map<String, Value>,
    place: &Place,
    seed: Option<u64>,
    number: usize,
    scores: &mut ScoreCounts,
) -> Result<(Layout, Found)> {
    if row.contains_key("completions") && row.contains_key("instruction") {
        let Some(seed) = seed else {
            let got = "raw UltraFeedback (`lpc data binarize` makes pairs of it)";
            return Err(Error::input(place.clone(), "a preference pair", got));
        };
        return Ok((Layout::UltraFeedback, ultrafeedback::pair(row, place, seed, number, scores)?));
    }
    let prompt = row.remove("prompt").filter(|v| !v.is_null());
    let [chosen, rejected] = ["chosen", "rejected"].map(|key| row.remove(key));
    match (prompt, chosen, rejected) {
        (prompt, Some(Value::Array(chosen)), Some(Value::Array(rejected))) => {
            let chosen = turns(place, "chosen", chosen)?;
            let rejected = turns(place, "rejected", rejected)?;
            match prompt {
                Some(Value::Array(prompt)) => {
                    let prompt = turns(place, "prompt", prompt)?;
                    Ok((Layout::Messages, conversation(prompt, chosen, rejected, place)?))
                }
                Some(Value::String(text)) if chosen.len() == 1 && rejected.len() == 1 => {
                    let prompt = vec![Message::user(text)];
                    Ok((Layout::Messages, conversation(prompt, chosen, rejected, place)?))
                }
                // A prompt that is text repeats what the conversations begin with.
                None | Some(Value::String(_)) => {
                    let shared = shared_turns(&chosen, &rejected);
                    let (prompt, chosen) = split_at(chosen, shared);
                    let (_, rejected) = split_at(rejected, shared);
                    Ok((Layout::ImplicitMessages, conversation(prompt, chosen, rejected, place)?))
                }
                Some(other) => Err(wrong(place, "prompt", "text or messages", Some(other))),
            }
        }
        (Some(Value::Array(prompt)), chosen, rejected) => {
            let prompt = turns(place, "prompt", prompt)?;
            let answer =
                |field, value| Ok::<_, Error>(vec![Message::assistant(string(place, field, value)?)]);
            let (chosen, rejected) = (answer("chosen", chosen)?, answer("rejected", rejected)?);
            Ok((Layout::Messages, conversation(prompt, chosen, rejected, place)?))
        }
        (None, Some(Value::String(chosen)), Some(Value::String(rejected))) => {
            if transcript::is_transcript(&chosen) && transcript::is_transcript(&rejected) {
                return Ok((Layout::Transcripts, transcript::pair(&chosen, &rejected, place)?));
            }
            let shared = shared_text(&chosen, &rejected);
            if shared == 0 {
                let expected = "a string, or chosen and rejected that begin with it";
                return Err(wrong(place, "prompt", expected, None));
            }
            let (prompt, chosen) = chosen.split_at(shared);
            let pair = Pair::of_texts(prompt, chosen, &rejected[shared..]);
            Ok((Layout::ImplicitStrings, Found::Pair(pair)))
        }
        (prompt, chosen, rejected) => {
            let chosen = string(place, "chosen", chosen)?;
            let rejected = string(place, "rejected", rejected)?;
            let prompt = string(place, "prompt", prompt)?;
            match transcript::prompt(&prompt) {
                Some(prompt) => {
                    ends_with_user(&prompt, place)?;
                    let [chosen, rejected] =
                        [chosen, rejected].map(|text| vec![Message::assistant(text.trim())]);
                    let pair = Pair { prompt, chosen, rejected, ..Pair::default() };
                    Ok((Layout::Transcripts, Found::Pair(pair)))
                }
                None => Ok((Layout::Strings, Found::Pair(Pair::of_texts(&prompt, &chosen, &rejected)))),
            }
        }
    }
}

const ASSISTANT: &str = "assistant";

/// A prompt and one answer each.
fn conversation(
    prompt: Vec<Message>,
    chosen: Vec<Message>,
    rejected: Vec<Message>,
    place: &Place,
) -> Result<Found> {
    let is_answer = |field: &str, messages: &[Message]| match messages {
        [message] if message.role() == ASSISTANT => Ok(()),
        [message] => {
            let got = format!("one of role {:?}", message.role());
            Err(Error::input(place.clone().field(field), "a message of the assistant", got))
        }
        messages => {
            let expected = "one message behind the prompt, the assistant's";
            Err(Error::input(place.clone().field(field), expected, messages.len()))
        }
    };
    is_answer("chosen", &chosen)?;
    is_answer("rejected", &rejected)?;
    ends_with_user(&prompt, place)?;
    Ok(Found::Pair(Pair { prompt, chosen, rejected, ..Pair::default() }))
}

/// Refuses a prompt whose last message is not the user's.
pub(super) fn ends_with_user(prompt: &[Message], place: &Place) -> Result<()> {
    match prompt.last() {
        Some(message) if message.role() == "user" => Ok(()),
        other => {
            let got = other.map_or("no message".into(), |m| format!("one of role {:?}", m.role()));
            Err(Error::input(place.clone().field("prompt"), "a last message of the user", got))
        }
    }
}

/// Messages that both conversations begin with; the last of the shorter one always stays an answer.
fn shared_turns(chosen: &[Message], rejected: &[Message]) -> usize {
    let same = chosen.iter().zip(rejected).take_while(|(a, b)| a == b).count();
    same.min(chosen.len().min(rejected.len()).saturating_sub(1))
}

/// Bytes that both texts begin with, without a space at their end; the last character of the
/// shorter one always stays a completion.
fn shared_text(chosen: &str, rejected: &str) -> usize {
    let shorter = chosen.chars().count().min(rejected.chars().count());
    let same = chosen.chars().zip(rejected.chars()).take_while(|(a, b)| a == b).count();
    let prompt: String = chosen.chars().take(same.min(shorter.saturating_sub(1))).collect();
    // TRL takes the space away only where the texts differ behind it.
    if same < shorter { prompt.strip_suffix(' ').unwrap_or(&prompt).len() } else { prompt.len() }
}

fn split_at(mut turns: Vec<Message>, at: usize) -> (Vec<Message>, Vec<Message>) {
    let rest = turns.split_off(at);
    (turns, rest)
}

fn turns(place: &Place, field: &str, values: Vec<Value>) -> Result<Vec<Message>> {
    let turn = |(i, value): (usize, Value)| {
        let Value::Object(mut message) = value else {
            return Err(wrong(place, &format!("{field}[{i}]"), "a message", Some(value)));
        };
        let role = string(place, &format!("{field}[{i}].role"), message.remove("role"))?;
        Ok(Message::new(&role, string(place, &format!("{field}[{i}].content"), message.remove("content"))?))
    };
    values.into_iter().enumerate().map(turn).collect()
}

/// The string, or what is there instead.
pub(super) fn string(place: &Place, field: &str, value: Option<Value>) -> Result<String> {
    match value {
        Some(Value::String(text)) => Ok(text),
        other => Err(wrong(place, field, "a string", other)),
    }
}

pub(super) fn wrong(place: &Place, field: &str, expected: &str, value: Option<Value>) -> Error {
    let got = match value {
        Some(Value::String(_)) => "a string",
        None => "nothing",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::Array(_)) => "an array",
        Some(Value::Object(_)) => "an object",
    };
    Error::input(place.clone().field(field), expected, got)
}
