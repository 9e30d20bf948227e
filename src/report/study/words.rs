//! A study in words.

use super::{Answer, Layout, Measured, Outcome, Summary};
use crate::plan::study::Rule;
use crate::report::table2::Verdict;
use crate::report::text::{bracketed, p_value, percent, points, scale};
use std::collections::BTreeMap;

/// What a test found, in words.
pub(in crate::report) fn measured(outcome: &Outcome) -> String {
    match outcome.measured {
        Measured::Contrast(e) => format!("{} points", bracketed(&e, points)),
        Measured::Ratio { ratio, interval: None } => format!("{ratio:.2} ×"),
        Measured::Ratio { ratio, interval: Some((low, high)) } => {
            format!("{ratio:.2} × [{low:.2}, {high:.2}]")
        }
        Measured::Votes(v) => format!(
            "{} % of neighbours' votes right; by chance {} to {} %",
            percent(v.value),
            percent(v.null_low),
            percent(v.null_high)
        ),
    }
}

/// `LPC − DPO`, weights other than 1 in front.
pub(super) fn formula(contrast: &BTreeMap<String, f64>) -> String {
    let mut terms: Vec<(&String, f64)> = contrast.iter().map(|(name, w)| (name, *w)).collect();
    terms.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut text = String::new();
    for (name, weight) in terms {
        text += match (text.is_empty(), weight < 0.0) {
            (true, false) => "",
            (true, true) => "−",
            (false, false) => " + ",
            (false, true) => " − ",
        };
        if weight.abs() != 1.0 {
            text += &format!("{} · ", weight.abs());
        }
        text += &format!("({name})");
    }
    text
}

/// The verdict and why, in one sentence.
pub(super) fn sentence(answer: &Answer) -> String {
    let missing = answer.missing.join("; ");
    let Some(outcome) = &answer.outcome else {
        let why = if missing.is_empty() { &answer.test.claim } else { &missing };
        return format!("Not run: {why}.");
    };
    let word = match outcome.verdict {
        Verdict::Supported => "Supported",
        Verdict::NotSupported => "Not supported",
        Verdict::Undecided => "Undecided",
    };
    let why = match (&answer.test.rule, outcome.measured, outcome.verdict) {
        (Rule::Positive { contrast }, _, Verdict::Undecided) => {
            format!("{} may be on either side of 0 after Holm's correction", formula(contrast))
        }
        (Rule::Positive { contrast }, Measured::Contrast(e), _) => {
            let side = if e.mean > 0.0 { "above" } else { "below" };
            format!("{} is {side} 0", formula(contrast))
        }
        (Rule::Within { contrast, points }, _, Verdict::Supported) => {
            format!("the interval of {} lies within ± {points} points", formula(contrast))
        }
        (Rule::Within { contrast, points }, _, Verdict::NotSupported) => {
            format!("the interval of {} lies beyond ± {points} points", formula(contrast))
        }
        (Rule::Within { contrast, points }, _, Verdict::Undecided) => {
            format!(
                "the interval of {} reaches beyond ± {points} points, but not all of it",
                formula(contrast)
            )
        }
        (Rule::Cost { at_most, .. }, ..) => format!("at most {at_most} × was asked for"),
        (Rule::Clusters {}, _, Verdict::Supported) => "more than for sources in random order".into(),
        (Rule::Clusters {}, ..) => "no more than sources in random order may give".into(),
        _ => "the rule does not apply to what was measured".into(),
    };
    let without = if missing.is_empty() { String::new() } else { format!(" Without {missing}.") };
    format!("{word}: {}; {why}.{without}", measured(outcome))
}

pub(super) fn status(summary: &Summary<'_>) -> String {
    let count = |verdict: Option<Verdict>| {
        summary.answers.iter().filter(|a| a.outcome.map(|o| o.verdict) == verdict).count()
    };
    format!(
        "Claims supported: {}; not supported: {}; undecided: {}; not run: {}.",
        count(Some(Verdict::Supported)),
        count(Some(Verdict::NotSupported)),
        count(Some(Verdict::Undecided)),
        count(None)
    )
}

pub(super) fn intro(summary: &Summary<'_>) -> String {
    let header = &summary.evidence.header;
    let base = header.bases.first().map_or("", |b| &b.name);
    let pairs = summary.arms.iter().flat_map(|a| &a.runs).map(|r| r.correct.len()).max().unwrap_or(0);
    format!(
        "{}: {base}, {}; preference accuracy on {pairs} held-out pairs, seeds an arm: {}. Brackets: 95 % intervals over \
         seeds and pairs.",
        scale(header.scale),
        summary.study.objective,
        header.seeds.len()
    )
}

pub(super) const PROTOCOL: &str = "Every claim's rule stood in the study's recipe before its runs. A difference is supported where p < 0.05 \
     after Holm's correction over all differences of the study, and not supported where it is as sure to be the other \
     way; \"within\" asks that the whole 95 % interval lies within. Contrasts are paired by seed and test pair.";

pub(super) fn map_text(map: &Layout) -> String {
    let [s, v] = [map.silhouette, map.votes];
    format!(
        "Latents of {} test prompts (seed {}), in all their dimensions: mean silhouette by source {:.3}, by chance {:.3} to {:.3} \
         (p = {}); the commonest source of the 10 nearest is right for {} %, by chance {} to {} % (p = {}). Before the first \
         step, the base model's hidden states through a random network give {:.3} and {} %: only what goes beyond that is \
         learnt. The picture is t-SNE's, and decides nothing.",
        map.points.len(),
        map.seed,
        s.value,
        s.null_low,
        s.null_high,
        p_value(s.p_value),
        percent(v.value),
        percent(v.null_low),
        percent(v.null_high),
        p_value(v.p_value),
        map.untrained.silhouette,
        percent(map.untrained.vote_accuracy),
    )
}
