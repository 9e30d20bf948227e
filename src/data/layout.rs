//! The layouts of preference pairs, and how a row of each is read.

use crate::data::columns::{self, Asked};
use crate::data::json;
use crate::data::messages::{ASSISTANT, is_result, is_said, messages};
use crate::data::pairs::{LeftOut, Pair};
use crate::data::transcript;
use crate::data::ultrafeedback::{self, ScoreCounts};
use crate::error::{Error, Place, Result};
use crate::text::message::Message;
use crate::visible::one_line;
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
    /// `prompt`, `chosen`, `rejected`: messages.
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

/// A row's pair, still without id and source, or the reason why it has none.
pub enum Found {
    Pair(Box<Pair>),
    LeftOut(LeftOut),
}

impl Found {
    pub(super) fn of(pair: Pair) -> Self {
        Self::Pair(Box::new(pair))
    }
}

/// What a row says.
pub struct Row {
    pub layout: Layout,
    pub found: Found,
    /// The columns that its prompt and its system message come from, where that is not `prompt`.
    pub renamed: Vec<String>,
    /// Columns with content that the pair does not have.
    pub not_read: Vec<String>,
}

/// A pair's two answers, as the row has them.
enum Answers {
    Texts(String, String),
    Messages(Vec<Message>, Vec<Message>),
}

impl Answers {
    fn of(row: &mut Map<String, Value>, place: &Place) -> Result<Self> {
        let columns = names(row);
        let [chosen, rejected] =
            ["chosen", "rejected"].map(|field| row.shift_remove(field).filter(|value| !value.is_null()));
        let text = |field: &str, value| match value {
            None => {
                let got = format!("nothing{columns}");
                Err(Error::input(place.clone().field(field), "a string", got))
            }
            value => string(place, field, value),
        };
        match (chosen, rejected) {
            (Some(chosen), Some(rejected)) if is_said(&chosen) && is_said(&rejected) => {
                let [chosen, rejected] =
                    [("chosen", chosen), ("rejected", rejected)].map(|(field, value)| {
                        messages(value, field, place)?.map_err(|v| wrong(place, field, "messages", Some(v)))
                    });
                Ok(Self::Messages(chosen?, rejected?))
            }
            (chosen, rejected) => Ok(Self::Texts(text("chosen", chosen)?, text("rejected", rejected)?)),
        }
    }

    /// Whether they begin with the prompt instead of an answer.
    fn hold_the_prompt(&self) -> bool {
        match self {
            Self::Texts(chosen, rejected) => {
                transcript::is_transcript(chosen) && transcript::is_transcript(rejected)
            }
            Self::Messages(chosen, rejected) => {
                let asks = |messages: &[Message]| messages.first().is_some_and(|m| m.role() != ASSISTANT);
                asks(chosen) && asks(rejected)
            }
        }
    }

    fn messages(self) -> (Vec<Message>, Vec<Message>) {
        match self {
            Self::Texts(chosen, rejected) => {
                (vec![Message::assistant(chosen)], vec![Message::assistant(rejected)])
            }
            Self::Messages(chosen, rejected) => (chosen, rejected),
        }
    }
}

/// Reads one row. Its prompt may be in a column that [`columns::prompt`] knows. If no column has it, it is the common
/// beginning of the two sides, as TRL defines it: whole messages, or text up to a space.
///
/// `draw` (a seed and the row's number) draws the rejected completion of raw UltraFeedback; without it such
/// a row is refused. `elsewhere` names columns with text that are not in the row.
///
/// # Errors
/// A key is missing or has a wrong type; a conversation has no message of the user or a tool before its answer; or
/// something else than an answer follows the prompt.
pub(super) fn read_row(
    mut row: Map<String, Value>,
    place: &Place,
    draw: Option<(u64, usize)>,
    elsewhere: &[(String, usize)],
    scores: &mut ScoreCounts,
) -> Result<Row> {
    if row.contains_key("completions") && row.contains_key("instruction") {
        return raw_ultrafeedback(row, place, draw, scores);
    }
    let tools = columns::tools(row.shift_remove("tools"), place)?;
    let template_kwargs = columns::template_kwargs(row.shift_remove("chat_template_kwargs"), place)?;
    let answers = Answers::of(&mut row, place)?;
    let mut renamed = vec![];
    let prompt = match row.shift_remove("prompt").filter(|value| !value.is_null()) {
        Some(prompt) => Some(Asked::of(prompt, "prompt", place)?),
        None if answers.hold_the_prompt() => None,
        None => columns::prompt(&mut row, place)?.map(|(name, asked)| {
            renamed.push(name);
            asked
        }),
    };
    let (layout, found) = lay_out(prompt, answers, !renamed.is_empty(), &mut row, elsewhere, place)?;
    let found = match found {
        Found::Pair(mut pair) => {
            renamed.extend(columns::put_system(&mut row, &mut pair, place)?);
            Found::of(Pair { tools, template_kwargs, ..*pair })
        }
        left_out => left_out,
    };
    let pair = match &found {
        Found::Pair(pair) => Some(&**pair),
        Found::LeftOut(_) => None,
    };
    let not_read = columns::not_read(&row, pair);
    Ok(Row { layout, found, renamed, not_read })
}

/// A row of raw UltraFeedback. Errors: without `draw`; a key that is missing or holds something else.
fn raw_ultrafeedback(
    mut row: Map<String, Value>,
    place: &Place,
    draw: Option<(u64, usize)>,
    scores: &mut ScoreCounts,
) -> Result<Row> {
    let Some((seed, number)) = draw else {
        let got = "raw UltraFeedback (`lpc data binarize` makes pairs of it)";
        return Err(Error::input(place.clone(), "a preference pair", got));
    };
    let mut read = Map::new();
    for key in ["instruction", "completions"] {
        read.extend(row.shift_remove(key).map(|value| (key.to_string(), value)));
    }
    let found = ultrafeedback::pair(read, place, seed, number, scores)?;
    let not_read = columns::not_read(&row, None);
    Ok(Row { layout: Layout::UltraFeedback, found, renamed: vec![], not_read })
}

/// The layout of a prompt and its answers, and their pair. `is_renamed`: the prompt is in a column of another
/// name. A prompt that is not used goes back into the row.
fn lay_out(
    prompt: Option<Asked>,
    answers: Answers,
    is_renamed: bool,
    row: &mut Map<String, Value>,
    elsewhere: &[(String, usize)],
    place: &Place,
) -> Result<(Layout, Found)> {
    Ok(match (prompt, answers) {
        (Some(Asked::Messages(mut prompt)), answers) => {
            let (chosen, rejected) = answers.messages();
            // Such a column may have the conversation up to its end, which is what was chosen.
            let is_chosen =
                |m: &Message| chosen.len() == 1 && m.role() == ASSISTANT && m.text() == chosen[0].text();
            if is_renamed && prompt.last().is_some_and(is_chosen) {
                prompt.pop();
            }
            (Layout::Messages, conversation(prompt, chosen, rejected, place)?)
        }
        (Some(Asked::Text(prompt)), Answers::Texts(chosen, rejected)) => match transcript::prompt(&prompt) {
            Some(prompt) => {
                ends_with_question(&prompt, place)?;
                let [chosen, rejected] = [chosen, rejected].map(|text| vec![Message::assistant(text.trim())]);
                let pair = Pair { prompt, chosen, rejected, ..Pair::default() };
                (Layout::Transcripts, Found::of(pair))
            }
            None => (Layout::Strings, Found::of(Pair::of_texts(&prompt, &chosen, &rejected))),
        },
        (prompt, answers @ Answers::Messages(..)) => {
            let is_inside = prompt.is_none() || answers.hold_the_prompt();
            let (chosen, rejected) = answers.messages();
            match prompt {
                Some(Asked::Text(text)) if !is_inside => {
                    let prompt = vec![Message::user(text)];
                    (Layout::Messages, conversation(prompt, chosen, rejected, place)?)
                }
                prompt => {
                    // A prompt that is text repeats what the conversations begin with, if it is read at all.
                    if let Some(Asked::Text(text)) = prompt {
                        row.insert("prompt".into(), text.into());
                    }
                    let shared = shared_turns(&chosen, &rejected);
                    let (prompt, chosen) = split_at(chosen, shared);
                    let (_, rejected) = split_at(rejected, shared);
                    (Layout::ImplicitMessages, conversation(prompt, chosen, rejected, place)?)
                }
            }
        }
        (None, Answers::Texts(chosen, rejected)) => {
            match transcript::is_transcript(&chosen) && transcript::is_transcript(&rejected) {
                true => (Layout::Transcripts, transcript::pair(&chosen, &rejected, place)?),
                false => implicit_texts(&chosen, &rejected, row, elsewhere, place)?,
            }
        }
    })
}

/// Two texts that begin with the prompt. If another column has text, that could be the prompt.
fn implicit_texts(
    chosen: &str,
    rejected: &str,
    row: &Map<String, Value>,
    elsewhere: &[(String, usize)],
    place: &Place,
) -> Result<(Layout, Found)> {
    let in_row = row.iter().filter(|(_, value)| columns::has_text(value)).map(|(name, _)| name);
    let others: Vec<&str> =
        in_row.chain(elsewhere.iter().map(|(name, _)| name)).map(String::as_str).collect();
    if !others.is_empty() {
        let expected = "a prompt in a column that `lpc data --help` lists (rename its column to `prompt`)";
        let got = format!("text in {}, beside chosen and rejected", others.join(", "));
        return Err(Error::input(place.clone().field("prompt"), expected, one_line(got)));
    }
    let shared = shared_text(chosen, rejected);
    if shared == 0 {
        let expected = "a string, or chosen and rejected that begin with it";
        let got = format!("nothing{}", names(row));
        return Err(Error::input(place.clone().field("prompt"), expected, got));
    }
    let (prompt, chosen) = chosen.split_at(shared);
    let pair = Pair::of_texts(prompt, chosen, &rejected[shared..]);
    Ok((Layout::ImplicitStrings, Found::of(pair)))
}

/// The names of a row's columns, for an error about a missing one.
fn names(row: &Map<String, Value>) -> String {
    match row.is_empty() {
        true => String::new(),
        false => {
            let names: Vec<&str> = row.keys().map(String::as_str).collect();
            format!(" (columns: {})", one_line(names.join(", ")))
        }
    }
}

/// A prompt and two answers. An answer is usually one message; it may also call tools and hold their results.
fn conversation(
    prompt: Vec<Message>,
    chosen: Vec<Message>,
    rejected: Vec<Message>,
    place: &Place,
) -> Result<Found> {
    let is_answer = |field: &str, messages: &[Message]| {
        let refuse =
            |expected: &str, got: String| Err(Error::input(place.clone().field(field), expected, got));
        let role = |message: Option<&Message>| {
            message.map_or("no message".into(), |m| format!("one of role {:?}", m.role()))
        };
        let answers = |m: &Message| m.role() == ASSISTANT;
        match messages {
            [first, .., last] if !answers(first) || !answers(last) => {
                let other = if answers(first) { last } else { first };
                refuse("the assistant's message first and last", role(Some(other)))
            }
            [first, ..] if answers(first) => match messages.iter().find(|m| !answers(m) && !is_result(m)) {
                None => Ok(()),
                other => refuse("messages of the assistant and of tools behind the prompt", role(other)),
            },
            messages => refuse("a message of the assistant", role(messages.first())),
        }
    };
    is_answer("chosen", &chosen)?;
    is_answer("rejected", &rejected)?;
    ends_with_question(&prompt, place)?;
    Ok(Found::of(Pair { prompt, chosen, rejected, ..Pair::default() }))
}

/// Refuses a prompt whose last message is not one that the assistant answers.
pub(super) fn ends_with_question(prompt: &[Message], place: &Place) -> Result<()> {
    match prompt.last() {
        Some(message) if message.role() == "user" || is_result(message) => Ok(()),
        other => {
            let got = other.map_or("no message".into(), |m| format!("one of role {:?}", m.role()));
            let expected = "a last message of the user or of a tool";
            Err(Error::input(place.clone().field("prompt"), expected, got))
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

/// The string, or the value that is there instead.
pub(super) fn string(place: &Place, field: &str, value: Option<Value>) -> Result<String> {
    match value {
        Some(Value::String(text)) => Ok(text),
        other => Err(wrong(place, field, "a string", other)),
    }
}

pub(super) fn wrong(place: &Place, field: &str, expected: &str, value: Option<Value>) -> Error {
    let got = match &value {
        Some(value) if json::not_json(value).is_some() => json::not_json(value).unwrap_or_default(),
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
