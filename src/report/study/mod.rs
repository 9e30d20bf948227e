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
use super::verdict::{Claim, Compared, Decision, decide};
use crate::error::{Error, Result};
use crate::eval::clusters::AgainstNull;
use crate::eval::stats::{Estimate, paired_interval, share_interval};
use crate::plan::Table;
use crate::plan::study::{Question, Rule, Study, Test};
use crate::run::evidence::{Evidence, Header, NotRun, Run};
use crate::run::map::{Map, Means};
use ndarray::Array2;
use std::collections::BTreeMap;
use std::path::Path;

/// The note of a study whose data cannot have the map that it asks for.
pub const NO_MAP: &str = "No map of latents: the test pairs do not name two sources.";
/// What evidence holds of every point of the map, of the first seed's run.
pub const MAP_COLUMNS: [&str; 3] = ["t-sne/x", "t-sne/y", "silhouette"];
/// What it holds of every point in every seed's run: whether its neighbours' vote is right, by the trained latents
/// and by those before the first step.
pub const VOTE_COLUMNS: [&str; 2] = ["vote_right", "vote_right/untrained"];

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
    /// The true probability of the label that the policy prefers; none where it is not known.
    probability: Option<Vec<f64>>,
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
pub(in crate::report) struct Outcome {
    pub measured: Measured,
    pub decision: Decision,
}

/// What the decided difference is of.
#[derive(Debug, Clone, Copy)]
pub(in crate::report) enum Measured {
    /// Accuracies of arms. Beside the deciding estimate the one on the labels as drawn, where they are two.
    Contrast { by_label: Option<Estimate> },
    /// Shares of points that their neighbours place rightly, trained and untrained.
    Votes { trained: f64, untrained: f64 },
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
    let mut family = vec![];
    for question in &study.questions {
        for test in &question.tests {
            let found = measure(&arms, evidence, &study, test)?;
            let missing = missing(&header.notes, &header.not_run, test);
            family.extend(found.iter().map(|(compared, _)| *compared));
            answers.push((question.clone(), test.clone(), found.map(|(_, measured)| measured), missing));
        }
    }
    let mut decisions = decide(&family)?.into_iter();
    let answer = |(question, test, measured, missing): (_, _, Option<Measured>, _)| {
        let outcome = measured.and_then(|measured| Some(Outcome { measured, decision: decisions.next()? }));
        Answer { question, test, outcome, missing }
    };
    let answers = answers.into_iter().map(answer).collect();
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
            probability: records
                .iter()
                .map(|r| Some(if r.correct { r.bayes? } else { 1.0 - r.bayes? }))
                .collect(),
        });
    }
    runs.sort_by_key(|r| r.run.seed());
    let accuracy = match runs.first() {
        None => None,
        Some(first) => {
            let shape = (runs.len(), first.correct.len());
            if let Some(other) = runs.iter().find(|r| r.pairs != first.pairs) {
                return Err(unlike(first, other));
            }
            Some(share_interval(Array2::from_shape_fn(shape, |(s, e)| runs[s].correct[e]).view())?)
        }
    };
    Ok(Arm { name, runs, accuracy })
}

fn unlike(first: &Scored<'_>, other: &Scored<'_>) -> Error {
    let [first, other] = [first, other].map(|scored| &scored.run.manifest.run);
    Error::argument("study", "run", other, format!("one tested on the pairs of run {first}"))
}

/// Σ_a w_a · (score of arm a) over the same seeds and pairs; none where an arm has no such score.
fn contrast<'a>(
    arms: &[(f64, Vec<&'a Scored<'_>>)],
    score: impl Fn(&'a Scored<'_>) -> Option<&'a [f64]>,
) -> Result<Option<Estimate>> {
    let (_, first) = &arms[0];
    let pairs = &first[0].pairs;
    if let Some(run) = arms.iter().flat_map(|(_, runs)| runs).find(|run| run.pairs != *pairs) {
        return Err(unlike(first[0], run));
    }
    // A seed given twice.
    if let Some((_, other)) = arms.iter().find(|(_, runs)| runs.len() != first.len()) {
        let expected = format!("{}, one a seed", first.len());
        return Err(Error::argument("study", "runs of an arm", other.len(), expected));
    }
    let scores = |(w, runs): &(f64, Vec<&'a Scored<'_>>)| {
        Some((*w, runs.iter().map(|run| score(run)).collect::<Option<Vec<_>>>()?))
    };
    let Some(scores) = arms.iter().map(scores).collect::<Option<Vec<_>>>() else { return Ok(None) };
    // Weights above 1 on one side would leave the range of a difference of shares.
    let scale = arms.iter().map(|(w, _)| w.max(0.0)).sum::<f64>().max(1.0);
    let weighed = |(s, e): (usize, usize)| -> f64 {
        scores.iter().map(|(w, runs): &(f64, Vec<&[f64]>)| w * runs[s][e] / scale).sum()
    };
    let e = paired_interval(Array2::from_shape_fn((first.len(), pairs.len()), weighed).view(), None)?;
    Ok(Some(e.scaled(scale)))
}

/// The comparison that a test decides by, and what it is of; none where nothing ran.
fn measure(
    arms: &[Arm<'_>],
    evidence: &Evidence,
    study: &Study,
    test: &Test,
) -> Result<Option<(Compared, Measured)>> {
    let by_name = |name: &str| arms.iter().find(|a| a.name == name).map_or(&[][..], |a| &a.runs);
    let (weights, margin, claim) = match &test.rule {
        Rule::Clusters {} => {
            let of = study.map.as_deref().map(by_name).unwrap_or_default();
            let runs: Vec<&Run> = of.iter().map(|scored| scored.run).collect();
            return votes(evidence, &runs);
        }
        Rule::Positive { contrast } => (contrast, study.margin_points, Claim::Higher),
        Rule::Within { contrast, points } => (contrast, Some(*points), Claim::Within),
    };
    // Seeds that every arm of the test ran.
    let ran = |seed: u64| weights.keys().all(|name| by_name(name).iter().any(|r| r.run.seed() == seed));
    let seeds: Vec<u64> = evidence.header.seeds.iter().copied().filter(|s| ran(*s)).collect();
    if seeds.is_empty() {
        return Ok(None);
    }
    let runs = |name: &str| by_name(name).iter().filter(|r| seeds.contains(&r.run.seed())).collect();
    let arms: Vec<(f64, Vec<&Scored<'_>>)> =
        weights.iter().map(|(name, weight)| (*weight, runs(name))).collect();
    let by_label = contrast(&arms, |run| Some(&run.correct))?;
    let by_probability = contrast(&arms, |run| run.probability.as_deref())?;
    let margin = margin.map(|points| points / 100.0);
    let compared = |estimate| Compared { estimate, claim, margin, seeds: seeds.len() };
    Ok(match (by_probability, by_label) {
        (Some(e), by_label) => Some((compared(e), Measured::Contrast { by_label })),
        (None, Some(e)) => Some((compared(e), Measured::Contrast { by_label: None })),
        (None, None) => None,
    })
}

/// Whether neighbours vote more rightly than before the first step, over seeds and points.
fn votes(evidence: &Evidence, runs: &[&Run]) -> Result<Option<(Compared, Measured)>> {
    let of = |name: &'static str| -> Result<Vec<Vec<f64>>> {
        let has = runs.iter().filter(|r| r.measured.iter().any(|(measured, _)| measured == name));
        has.map(|run| evidence.measured(run, name)).collect()
    };
    let [trained, untrained] = VOTE_COLUMNS.map(of);
    let (trained, untrained) = (trained?, untrained?);
    let (seeds, points) = (untrained.len(), untrained.first().map_or(0, Vec::len));
    if seeds == 0 || trained.len() != seeds || trained.iter().chain(&untrained).any(|v| v.len() != points) {
        return Ok(None);
    }
    let difference = Array2::from_shape_fn((seeds, points), |(s, e)| trained[s][e] - untrained[s][e]);
    let estimate = paired_interval(difference.view(), None)?;
    let mean = |of: &[Vec<f64>]| of.iter().flatten().sum::<f64>() / (seeds * points) as f64;
    let measured = Measured::Votes { trained: mean(&trained), untrained: mean(&untrained) };
    Ok(Some((Compared { estimate, claim: Claim::Higher, margin: None, seeds }, measured)))
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
    if points.len() > records.len() {
        let expected = format!("at most {}", records.len());
        return Err(Error::argument("study", "points of the map", points.len(), expected));
    }
    let sources = records.into_iter().take(points.len()).map(|r| r.source).collect();
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
