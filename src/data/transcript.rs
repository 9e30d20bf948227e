//! HH-RLHF's transcripts: `\n\nHuman: …\n\nAssistant: …`, twice, alike up to the last answer.

use crate::data::layout::{Found, last_of_user};
use crate::data::pairs::{LeftOut, Pair, Turn};
use crate::error::{Place, Result};

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// Does a text begin as a transcript does?
pub fn is_transcript(text: &str) -> bool {
    text.starts_with(HUMAN)
}

/// The turns of a transcript that ends where the answer begins.
pub fn prompt(text: &str) -> Option<Vec<Turn>> {
    is_transcript(text).then(|| text.trim_end().strip_suffix(ASSISTANT)).flatten().map(turns)
}

/// The pair of two transcripts. White space around a turn belongs to the format; turns of one
/// speaker in a row are one turn, as chat templates want them to alternate.
///
/// # Errors
/// The turn before the answer is not the human's.
pub fn pair(chosen: &str, rejected: &str, place: &Place) -> Result<Found> {
    let ends = [chosen, rejected].map(|text| text.rfind(ASSISTANT));
    let ([Some(end), Some(other)], true) = (ends, ends[0] == ends[1]) else {
        return Ok(Found::LeftOut(LeftOut::DifferentPrompts));
    };
    if chosen[..end] != rejected[..other] {
        return Ok(Found::LeftOut(LeftOut::DifferentPrompts));
    }
    let answer = |text: &str| text[end + ASSISTANT.len()..].trim().to_string();
    let (context, prompt) = last_of_user(turns(&chosen[..end]), place)?;
    let (chosen, rejected) = (answer(chosen), answer(rejected));
    Ok(Found::Pair(Pair { context, prompt, chosen, rejected, ..Pair::default() }))
}

fn turns(text: &str) -> Vec<Turn> {
    let mut turns: Vec<Turn> = vec![];
    let mut rest = text;
    while !rest.is_empty() {
        let (role, begin) = match rest.strip_prefix(HUMAN) {
            Some(begin) => ("user", begin),
            None => ("assistant", rest.strip_prefix(ASSISTANT).unwrap_or(rest)),
        };
        let end = [HUMAN, ASSISTANT].iter().filter_map(|marker| begin.find(marker)).min();
        let (content, behind) = begin.split_at(end.unwrap_or(begin.len()));
        match turns.last_mut().filter(|last| last.role == role) {
            Some(last) => {
                last.content.push_str("\n\n");
                last.content.push_str(content.trim());
            }
            None => turns.push(Turn { role: role.into(), content: content.trim().into() }),
        }
        rest = behind;
    }
    turns
}
