//! HH-RLHF's transcripts: two texts `\n\nHuman: …\n\nAssistant: …` that are the same up to the last answer.

use crate::data::layout::{Found, ends_with_question};
use crate::data::pairs::{LeftOut, Pair};
use crate::error::{Place, Result};
use crate::text::message::Message;

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// Whether a text begins like a transcript.
pub(super) fn is_transcript(text: &str) -> bool {
    text.starts_with(HUMAN)
}

/// The turns of a transcript that ends where the answer begins.
pub fn prompt(text: &str) -> Option<Vec<Message>> {
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
    let answer = |text: &str| vec![Message::assistant(text[end + ASSISTANT.len()..].trim())];
    let prompt = turns(&chosen[..end]);
    ends_with_question(&prompt, place)?;
    let (chosen, rejected) = (answer(chosen), answer(rejected));
    Ok(Found::of(Pair { prompt, chosen, rejected, ..Pair::default() }))
}

fn turns(text: &str) -> Vec<Message> {
    let mut turns: Vec<(&str, String)> = vec![];
    let mut rest = text;
    while !rest.is_empty() {
        let (role, begin) = match rest.strip_prefix(HUMAN) {
            Some(begin) => ("user", begin),
            None => ("assistant", rest.strip_prefix(ASSISTANT).unwrap_or(rest)),
        };
        let end = [HUMAN, ASSISTANT].iter().filter_map(|marker| begin.find(marker)).min();
        let (content, behind) = begin.split_at(end.unwrap_or(begin.len()));
        match turns.last_mut().filter(|(last, _)| *last == role) {
            Some((_, text)) => {
                text.push_str("\n\n");
                text.push_str(content.trim());
            }
            None => turns.push((role, content.trim().into())),
        }
        rest = behind;
    }
    turns.into_iter().map(|(role, text)| Message::new(role, text)).collect()
}
