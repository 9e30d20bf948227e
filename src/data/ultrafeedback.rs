//! Raw UltraFeedback as pairs, by Zephyr's recipe: of four completions the one with the best overall
//! score is chosen and a random other one rejected.
//!
//! That recipe leaves two things open. First, the first release has a score of 10 in some places where the annotator
//! gave 1. The authors' correction is used: with a mean fine-grained rating of at most 2 the score is 1, above 4 it
//! is 10, and between the two, where the authors annotated again, the completion is not used. Second, a rejected
//! completion with the best score would not be a preference, so it is drawn from those with a lower score.

use crate::data::json::not_json;
use crate::data::layout::{Found, string, wrong};
use crate::data::pairs::{LeftOut, Pair};
use crate::error::{Place, Result};
use crate::seed::{below, stream};
use serde::Serialize;
use serde_json::{Map, Value};

/// How many scores were corrected or not used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ScoreCounts {
    /// Scores of 10 that were corrected to 1.
    pub tens_corrected: usize,
    /// Scores of 10 that may be 10 or 1. Their completions are not used.
    pub tens_ambiguous: usize,
    /// Completions without a score.
    pub missing: usize,
    /// Rows in which several completions share the best score; the first of them is chosen.
    pub tied_best: usize,
}

struct Completion {
    text: String,
    score: f64,
}

/// The pair of one row. The draw depends on `seed` and the row's number alone.
///
/// # Errors
/// A key is missing or holds something else.
pub fn pair(
    mut row: Map<String, Value>,
    place: &Place,
    seed: u64,
    number: usize,
    counts: &mut ScoreCounts,
) -> Result<Found> {
    let prompt = string(place, "instruction", row.remove("instruction"))?;
    let completions = match row.remove("completions") {
        Some(Value::Array(completions)) => completions,
        other => return Err(wrong(place, "completions", "an array", other)),
    };
    let mut scored = vec![];
    for (i, completion) in completions.into_iter().enumerate() {
        let field = format!("completions[{i}]");
        let Value::Object(mut completion) = completion else {
            return Err(wrong(place, &field, "an object", Some(completion)));
        };
        let text = string(place, &format!("{field}.response"), completion.remove("response"))?;
        if let Some(score) = usable_score(&completion, place, &field, counts)? {
            scored.push(Completion { text, score });
        }
    }
    if scored.len() < 2 {
        return Ok(Found::LeftOut(LeftOut::NoScores));
    }
    let best = scored.iter().map(|c| c.score).fold(f64::NEG_INFINITY, f64::max);
    let (tops, lower): (Vec<_>, Vec<_>) = scored.into_iter().partition(|c| c.score == best);
    counts.tied_best += usize::from(tops.len() > 1);
    if lower.is_empty() {
        return Ok(Found::LeftOut(LeftOut::NoPreference));
    }
    let draw = below(&mut stream(seed, &format!("ultrafeedback/{number}")), lower.len());
    let text = |c: Option<Completion>| c.map(|c| c.text).unwrap_or_default();
    let chosen = text(tops.into_iter().next());
    let rejected = text(lower.into_iter().nth(draw));
    Ok(Found::of(Pair::of_texts(&prompt, &chosen, &rejected)))
}

/// None if there is no score, or one that may be wrong.
fn usable_score(
    completion: &Map<String, Value>,
    place: &Place,
    field: &str,
    counts: &mut ScoreCounts,
) -> Result<Option<f64>> {
    let score = match completion.get("overall_score") {
        None | Some(Value::Null) => None,
        Some(value) if not_json(value).is_some() => None,
        Some(value) => match value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()) {
            Some(score) => Some(score),
            None => {
                return Err(wrong(place, &format!("{field}.overall_score"), "a number", Some(value.clone())));
            }
        },
    };
    let Some(score) = score.filter(|s| s.is_finite()) else {
        counts.missing += 1;
        return Ok(None);
    };
    if score != 10.0 {
        return Ok(Some(score));
    }
    match mean_rating(completion) {
        Some(mean) if mean <= 2.0 => {
            counts.tens_corrected += 1;
            Ok(Some(1.0))
        }
        Some(mean) if mean > 4.0 => Ok(Some(10.0)),
        _ => {
            counts.tens_ambiguous += 1;
            Ok(None)
        }
    }
}

/// Mean of the four fine-grained ratings, 1 to 5: as stated, or over those that are numbers.
fn mean_rating(completion: &Map<String, Value>) -> Option<f64> {
    if let Some(stated) = completion.get("fine-grained_score").and_then(Value::as_f64) {
        return Some(stated);
    }
    let rating = |aspect: &Value| {
        let rating = aspect.get("Rating")?;
        rating.as_f64().or_else(|| rating.as_str()?.trim().parse().ok())
    };
    let ratings: Vec<f64> = completion.get("annotations")?.as_object()?.values().filter_map(rating).collect();
    (!ratings.is_empty()).then(|| ratings.iter().sum::<f64>() / ratings.len() as f64)
}
