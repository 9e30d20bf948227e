//! A study in words.

use super::{Answer, Layout, Measured, Outcome, Summary};
use crate::plan::study::Rule;
use crate::report::text::{bracketed, p_value, percent, points, scale};
use crate::report::verdict::{Verdict, count, rule};
use std::collections::BTreeMap;

/// What a test found, in words.
pub(in crate::report) fn measured(outcome: &Outcome) -> String {
    let difference = format!("{} points", bracketed(&outcome.decision.compared.estimate, points));
    match outcome.measured {
        Measured::Contrast { .. } => difference,
        Measured::Votes { trained, untrained } => format!(
            "{} % of neighbours' votes right, {} % before training: {difference}",
            percent(trained),
            percent(untrained)
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

/// The verdict and why.
pub(super) fn sentence(answer: &Answer) -> String {
    let missing = answer.missing.join("; ");
    let Some(outcome) = &answer.outcome else {
        let why = if missing.is_empty() { &answer.test.claim } else { &missing };
        return format!("Not run: {why}.");
    };
    let name = outcome.decision.verdict.name();
    let word = name[..1].to_uppercase() + &name[1..];
    let of = match &answer.test.rule {
        Rule::Positive { contrast } | Rule::Within { contrast, .. } => format!("{}: ", formula(contrast)),
        Rule::Clusters {} => String::new(),
    };
    let by_label = match outcome.measured {
        Measured::Contrast { by_label: Some(e) } => {
            format!(" (labels as drawn: {})", bracketed(&e, points))
        }
        Measured::Contrast { by_label: None } | Measured::Votes { .. } => String::new(),
    };
    let without = if missing.is_empty() { String::new() } else { format!(" Without {missing}.") };
    format!("{word}: {of}{}{by_label}; {}.{without}", measured(outcome), outcome.decision.because())
}

pub(super) fn status(summary: &Summary<'_>) -> String {
    let decided: Vec<Verdict> =
        summary.answers.iter().filter_map(|a| Some(a.outcome?.decision.verdict)).collect();
    count(&decided, summary.answers.len() - decided.len())
}

pub(super) fn intro(summary: &Summary<'_>) -> String {
    let header = &summary.evidence.header;
    let base = header.bases.first().map_or("", |b| &b.name);
    let pairs = summary.arms.iter().flat_map(|a| &a.runs).map(|r| r.correct.len()).max().unwrap_or(0);
    format!(
        "{}: {base}, {}; preference accuracy on {pairs} held-out pairs, {} seeds per arm. Brackets: 95 % intervals over \
         seeds and pairs.",
        scale(header.scale),
        summary.study.objective,
        header.seeds.len()
    )
}

pub(super) fn protocol(summary: &Summary<'_>) -> String {
    format!(
        "Every claim's rule stood in the study's recipe before its runs. Contrasts are paired by seed and test pair; \
         where the built-in world knows the true probability of a label, a pair counts that probability, which lacks \
         the labels' noise. {} A claim of \"within\" is supported by such equivalence tests at its own margin.",
        rule(summary.study.margin_points.map(|points| points / 100.0))
    )
}

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
