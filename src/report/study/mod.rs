//! A study's files: what its arms reached, and a verdict on every claim by the rule that was stated
//! before anything ran.

pub mod codes;
mod document;
mod figure2;
mod forest;
mod words;

pub(super) use words::measured;

use super::document::{Figure, csv};
use super::exhibit::Exhibit;
use super::table2::{SIGNIFICANCE, Verdict};
use crate::error::{Error, Result};
use crate::eval::clusters::AgainstNull;
use crate::eval::stats::{Estimate, crossed_interval, holm, student_interval};
use crate::plan::Table;
use crate::plan::study::{Question, Rule, Study, Test};
use crate::run::evidence::{Evidence, Header, NotRun, Run};
use crate::run::map::{Map, Means};
use ndarray::Array2;
use std::collections::BTreeMap;
use std::path::Path;

/// The note of a study whose data cannot have the map that it asks for.
pub const NO_MAP: &str = "No map of latents: the test pairs do not name two sources.";
/// What evidence holds of every point of the map.
pub const MAP_COLUMNS: [&str; 4] = ["t-sne/x", "t-sne/y", "silhouette", "vote_right"];

const SILHOUETTE: &str = "silhouette";
const VOTES: &str = "votes";

/// The map's statistics beside their nulls, as evidence holds them.
///
/// `untrained`: their means before the first step.
pub fn map_settings(map: &Map, untrained: Means) -> BTreeMap<String, f64> {
    let of = |name: &str, a: &AgainstNull| {
        let values = [a.value, a.null_mean, a.null_low, a.null_high, a.p_value];
        let keys = ["value", "null_mean", "null_low", "null_high", "p_value"];
        keys.map(|key| format!("{name}/{key}")).into_iter().zip(values).collect::<Vec<_>>()
    };
    let all = [of(SILHOUETTE, &map.mean_silhouette), of(VOTES, &map.vote_accuracy)];
    let before = [(SILHOUETTE, untrained.silhouette), (VOTES, untrained.vote_accuracy)];
    let before = before.map(|(name, value)| (format!("{name}/untrained"), value));
    all.into_iter().flatten().chain(before).collect()
}

fn from_settings(evidence: &Evidence, name: &str) -> Option<AgainstNull> {
    let get = |key: &str| evidence.header.settings.get(&format!("{name}/{key}")).copied();
    Some(AgainstNull {
        value: get("value")?,
        null_mean: get("null_mean")?,
        null_low: get("null_low")?,
        null_high: get("null_high")?,
        p_value: get("p_value")?,
    })
}

/// Everything a study's evidence says.
pub(super) struct Summary<'a> {
    pub evidence: &'a Evidence,
    pub study: Study,
    pub arms: Vec<Arm<'a>>,
    /// A verdict a test, in the study's order.
    pub answers: Vec<Answer>,
    pub map: Option<Layout>,
}

pub(super) struct Arm<'a> {
    pub name: &'a str,
    pub runs: Vec<Scored<'a>>,
    /// None: not run.
    pub accuracy: Option<Estimate>,
}

impl Arm<'_> {
    fn ids(&self) -> impl Iterator<Item = String> {
        self.runs.iter().map(|scored| scored.run.manifest.run.clone())
    }
}

/// A run with what it decided rightly.
pub(super) struct Scored<'a> {
    run: &'a Run,
    pub pairs: Vec<String>,
    pub correct: Vec<f64>,
}

pub(super) struct Answer {
    pub question: Question,
    pub test: Test,
    /// None: not run.
    pub outcome: Option<Outcome>,
    /// Runs of its arms that there are not, and why.
    pub missing: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub measured: Measured,
    /// Of what takes part in Holm's correction.
    pub p_holm: Option<f64>,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Measured {
    /// A contrast of accuracies.
    Contrast(Estimate),
    /// Of the runs' seconds; no interval for a single seed.
    Ratio { ratio: f64, interval: Option<(f64, f64)> },
    /// Share of points that their neighbours place rightly.
    Votes(AgainstNull),
}

/// The map's points.
pub(super) struct Layout {
    pub points: Vec<(f64, f64)>,
    pub sources: Vec<String>,
    pub silhouette: AgainstNull,
    pub votes: AgainstNull,
    /// Before the first step.
    pub untrained: Means,
    pub seed: u64,
}

/// Errors: evidence without a plan, or whose runs do not fit it.
pub(super) fn summarise(evidence: &Evidence) -> Result<Summary<'_>> {
    let header = &evidence.header;
    let Some(plan) = &header.plan else {
        return Err(Error::argument("study", "evidence", "no plan", "the study's recipe in its header"));
    };
    let study = Study::parse(plan, Path::new(&header.table.evidence_file()))?;
    let arms = header.objectives.iter().map(|name| arm(evidence, name)).collect::<Result<Vec<_>>>()?;
    let map = layout(evidence)?;
    let mut answers = vec![];
    for question in &study.questions {
        for test in &question.tests {
            let outcome = measure(&arms, evidence, test)?;
            let missing = missing(&header.notes, &header.not_run, test);
            answers.push(Answer { question: question.clone(), test: test.clone(), outcome, missing });
        }
    }
    decide(&mut answers);
    Ok(Summary { evidence, study, arms, answers, map })
}

/// Why a test has not all that its rule asks for.
fn missing(notes: &[String], not_run: &[NotRun], test: &Test) -> Vec<String> {
    let arms = test.rule.arms();
    let of = not_run.iter().filter(|n| arms.contains(&n.objective.as_str()));
    let seed = |n: &NotRun| n.seed.map_or(String::new(), |seed| format!(" seed {seed}"));
    let mut missing: Vec<_> = of.map(|n| format!("{}{}: {}", n.objective, seed(n), n.why)).collect();
    if test.rule == (Rule::Clusters {}) && notes.iter().any(|note| note == NO_MAP) {
        missing.push(NO_MAP.trim_end_matches('.').into());
    }
    missing
}

fn arm<'a>(evidence: &'a Evidence, name: &'a str) -> Result<Arm<'a>> {
    let mut runs = vec![];
    for run in evidence.runs.iter().filter(|r| r.objective == name) {
        let records = evidence.records(run)?;
        runs.push(Scored {
            run,
            pairs: records.iter().map(|r| r.id.clone()).collect(),
            correct: records.iter().map(|r| f64::from(u8::from(r.correct))).collect(),
        });
    }
    runs.sort_by_key(|r| r.run.seed());
    let accuracy = match runs.first() {
        None => None,
        Some(_) => Some(contrast(&[(1.0, runs.iter().collect())])?),
    };
    Ok(Arm { name, runs, accuracy })
}

/// Σ_a w_a · (is arm a right?) over the same seeds and pairs.
fn contrast(arms: &[(f64, Vec<&Scored<'_>>)]) -> Result<Estimate> {
    let (_, first) = &arms[0];
    let pairs = &first[0].pairs;
    for run in arms.iter().flat_map(|(_, runs)| runs) {
        if run.pairs != *pairs {
            let id = &first[0].run.manifest.run;
            return Err(Error::argument(
                "study",
                "run",
                &run.run.manifest.run,
                format!("one tested on the pairs of run {id}"),
            ));
        }
    }
    // A seed given twice.
    if let Some((_, other)) = arms.iter().find(|(_, runs)| runs.len() != first.len()) {
        let expected = format!("{}, one a seed", first.len());
        return Err(Error::argument("study", "runs of an arm", other.len(), expected));
    }
    let weighed = |s: usize, e: usize| arms.iter().map(|(w, runs)| w * runs[s].correct[e]).sum();
    crossed_interval(Array2::from_shape_fn((first.len(), pairs.len()), |(s, e)| weighed(s, e)).view())
}

fn measure(arms: &[Arm<'_>], evidence: &Evidence, test: &Test) -> Result<Option<Outcome>> {
    let by_name = |name: &str| arms.iter().find(|a| a.name == name).map_or(&[][..], |a| &a.runs);
    // Seeds that every arm of the test ran.
    let names = test.rule.arms();
    let ran = |seed: u64| names.iter().all(|name| by_name(name).iter().any(|r| r.run.seed() == seed));
    let seeds: Vec<u64> = evidence.header.seeds.iter().copied().filter(|s| ran(*s)).collect();
    let runs = |name: &str| -> Vec<&Scored<'_>> {
        by_name(name).iter().filter(|r| seeds.contains(&r.run.seed())).collect()
    };
    let measured = match &test.rule {
        Rule::Clusters {} => from_settings(evidence, VOTES).map(Measured::Votes),
        _ if seeds.is_empty() => None,
        Rule::Positive { contrast: weights } | Rule::Within { contrast: weights, .. } => {
            let arms: Vec<_> = weights.iter().map(|(name, weight)| (*weight, runs(name))).collect();
            Some(Measured::Contrast(contrast(&arms)?))
        }
        Rule::Cost { arm, of, .. } => {
            let seconds = |run: &Scored<'_>| run.run.manifest.outcome.wall_seconds;
            let logs: Vec<f64> =
                runs(arm).iter().zip(runs(of)).map(|(a, b)| (seconds(a) / seconds(b)).ln()).collect();
            let mean = logs.iter().sum::<f64>() / logs.len() as f64;
            let interval = match logs.len() {
                1 => None,
                _ => student_interval(&logs).map(|e| Some((e.low.exp(), e.high.exp())))?,
            };
            Some(Measured::Ratio { ratio: mean.exp(), interval })
        }
    };
    Ok(measured.map(|measured| Outcome { measured, p_holm: None, verdict: Verdict::Undecided }))
}

/// Holm's correction over every test that asks for a difference, then each test's rule.
fn decide(answers: &mut [Answer]) {
    let raw = |answer: &Answer| match (&answer.test.rule, answer.outcome?.measured) {
        (Rule::Positive { .. }, Measured::Contrast(e)) => Some(e.p_value),
        (Rule::Clusters {}, Measured::Votes(v)) => Some(v.p_value),
        _ => None,
    };
    let corrected: Vec<usize> = (0..answers.len()).filter(|i| raw(&answers[*i]).is_some()).collect();
    let p: Vec<f64> = corrected.iter().filter_map(|i| raw(&answers[*i])).collect();
    for (i, p) in corrected.into_iter().zip(holm(&p)) {
        if let Some(outcome) = &mut answers[i].outcome {
            outcome.p_holm = Some(p);
        }
    }
    for Answer { test, outcome, .. } in answers {
        if let Some(outcome) = outcome {
            outcome.verdict = verdict(&test.rule, outcome);
        }
    }
}

fn verdict(rule: &Rule, outcome: &Outcome) -> Verdict {
    let significant = outcome.p_holm.is_some_and(|p| p < SIGNIFICANCE);
    let (supported, refuted) = match (rule, outcome.measured) {
        (Rule::Positive { .. }, Measured::Contrast(e)) => {
            (significant && e.mean > 0.0, significant && e.mean < 0.0)
        }
        (Rule::Within { points, .. }, Measured::Contrast(e)) => {
            let margin = points / 100.0;
            (e.low >= -margin && e.high <= margin, e.low > margin || e.high < -margin)
        }
        (Rule::Cost { at_most, .. }, Measured::Ratio { interval: Some((low, high)), .. }) => {
            (high <= *at_most, low > *at_most)
        }
        (Rule::Clusters {}, Measured::Votes(_)) => (significant, false),
        _ => (false, false),
    };
    match (supported, refuted) {
        (true, _) => Verdict::Supported,
        (_, true) => Verdict::NotSupported,
        _ => Verdict::Undecided,
    }
}

fn layout(evidence: &Evidence) -> Result<Option<Layout>> {
    let Some(run) = evidence.runs.iter().find(|r| r.measured.iter().any(|(name, _)| name == MAP_COLUMNS[0]))
    else {
        return Ok(None);
    };
    let both = (from_settings(evidence, SILHOUETTE), from_settings(evidence, VOTES));
    let (Some(silhouette), Some(votes)) = both else { return Ok(None) };
    let before = |name: &str| evidence.header.settings.get(&format!("{name}/untrained")).copied();
    let (Some(before_silhouette), Some(before_votes)) = (before(SILHOUETTE), before(VOTES)) else {
        return Ok(None);
    };
    let untrained = Means { silhouette: before_silhouette, vote_accuracy: before_votes };
    let column = |i: usize| evidence.measured(run, MAP_COLUMNS[i]);
    let records = evidence.records(run)?;
    let points: Vec<(f64, f64)> = column(0)?.into_iter().zip(column(1)?).collect();
    if points.len() != records.len() {
        return Err(Error::argument("study", "points of the map", points.len(), records.len().to_string()));
    }
    let sources = records.into_iter().map(|r| r.source).collect();
    Ok(Some(Layout { points, sources, silhouette, votes, untrained, seed: run.seed() }))
}

/// The study's files and its document.
///
/// Errors: as [`summarise`].
pub(super) fn exhibit(evidence: &Evidence) -> Result<Exhibit> {
    let summary = summarise(evidence)?;
    let Header { table, scale, .. } = evidence.header;
    let name = table.name();
    let picture = match table {
        Table::Figure2 => figure2::svg(&summary)?,
        _ => forest::svg(&summary)?,
    };
    let mut files = vec![(format!("{name}.svg"), picture.clone().into_bytes())];
    if let Some(map) = &summary.map {
        files.push((format!("{name}-map.csv"), csv::render(&document::points(map))?));
    }
    let reading = codes::reading(evidence)?;
    let mut codes = None;
    if let Some(reading) = &reading {
        let svg = codes::svg(&summary, reading)?;
        files.push((format!("{name}-codes.csv"), csv::render(&codes::numbers(reading.codes))?));
        files.push((format!("{name}-codes.svg"), svg.clone().into_bytes()));
        let (file, description) = (format!("{name}-codes.svg"), "Codes".to_string());
        codes = Some((reading, Figure { file, description, svg }));
    }
    let document = document::document(&summary, picture, codes);
    let (title, status) = (&summary.study.title, words::status(&summary));
    let mut exhibit = Exhibit::new(table, scale, title, status, document, &document::numbers(&summary))?;
    exhibit.files.extend(files);
    Ok(exhibit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_about_a_map_says_why_there_is_none() {
        let test = |rule| Test { id: "id".into(), claim: "claim".into(), rule };
        let clusters = test(Rule::Clusters {});
        let contrast = test(Rule::Positive { contrast: BTreeMap::new() });
        let notes = ["Another note.".to_string(), NO_MAP.to_string()];
        assert_eq!(
            missing(&notes, &[], &clusters),
            ["No map of latents: the test pairs do not name two sources"]
        );
        assert!(
            missing(&notes[..1], &[], &clusters).is_empty() && missing(&notes, &[], &contrast).is_empty()
        );
    }
}
