//! From comparisons to questions, and from verdicts back to preferences.

use super::{Comparison, Judge, Missing, Prompt, Question, Verdict, is_switched};
use crate::error::{Error, Place};
use std::collections::BTreeMap;

/// A comparison's outcome: 1 the baseline is better, 2 the model.
pub type Judged<'a> = (Comparison<'a>, Result<f64, Missing>);

/// A question for each comparison of two different texts.
pub fn questions(judge: &impl Judge, prompt: &Prompt, comparisons: &[Comparison]) -> Vec<Question> {
    let question = |c: &Comparison| {
        let (first, second) = match is_switched(c.instruction) {
            true => (c.output_2, c.output_1),
            false => (c.output_1, c.output_2),
        };
        Question::new(judge, prompt.fill(c.instruction, first, second))
    };
    comparisons.iter().filter(|c| needs_judge(c)).map(question).collect()
}

/// The outcomes, given the verdicts on [`questions`] in their order. Two equal texts are a draw.
pub fn outcomes<'a>(comparisons: Vec<Comparison<'a>>, verdicts: Vec<Verdict>) -> Vec<Judged<'a>> {
    let mut verdicts = verdicts.into_iter();
    let outcome = |comparison: Comparison<'a>| {
        let outcome = match needs_judge(&comparison).then(|| verdicts.next()).flatten() {
            None => Ok(1.5),
            Some(Verdict::Missing(why)) => Err(why),
            // 1 is the output that was shown first.
            Some(Verdict::Preference(p)) if is_switched(comparison.instruction) => Ok(3.0 - p),
            Some(Verdict::Preference(p)) => Ok(p),
        };
        (comparison, outcome)
    };
    comparisons.into_iter().map(outcome).collect()
}

/// The error if a judge was asked and gave no verdict at all.
pub fn no_verdict(verdicts: &[Verdict], endpoint: &str) -> Option<Error> {
    let mut reasons: BTreeMap<Missing, usize> = BTreeMap::new();
    for verdict in verdicts {
        match verdict {
            Verdict::Preference(_) => return None,
            Verdict::Missing(why) => *reasons.entry(*why).or_default() += 1,
        }
    }
    let reasons: Vec<String> = reasons.iter().map(|(why, n)| format!("{n} {}", why.describe())).collect();
    let got = format!("none on {} ({})", verdicts.len(), reasons.join(", "));
    let expected = "a verdict on at least one comparison";
    (!verdicts.is_empty()).then(|| Error::input(Place::file(endpoint), expected, got))
}

fn needs_judge(comparison: &Comparison) -> bool {
    comparison.output_1 != comparison.output_2
}
