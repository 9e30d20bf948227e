//! A study's files: what its arms reached, and a verdict on every claim by the rule that was stated
//! before anything ran.

pub mod codes;
mod document;
mod figure2;
mod forest;
mod measure;
mod words;

pub(super) use words::measured;

use super::document::{Figure, csv};
use super::exhibit::Exhibit;
use super::verdict::{Decision, decide};
use crate::error::{Error, Result};
use crate::eval::clusters::AgainstNull;
use crate::eval::stats::{Estimate, share_interval};
use crate::plan::Table;
use crate::plan::study::{Question, Rule, Study, Test};
use crate::run::evidence::{Evidence, Header, NotRun, Run};
use crate::run::map::{Map, Means};
use crate::run::records::Record;
use measure::{Found, measure, unlike};
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
    pub run: &'a Run,
    pub pairs: Vec<String>,
    pub correct: Vec<f64>,
    /// The true probability of the label that the policy prefers; none where it is not known.
    pub probability: Option<Vec<f64>>,
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
    let tests: Vec<(&Question, &Test)> =
        study.questions.iter().flat_map(|q| q.tests.iter().map(move |test| (q, test))).collect();
    let found = tests.iter().map(|(_, test)| measure(&arms, evidence, &study, test));
    let found: Vec<Option<Found>> = found.collect::<Result<_>>()?;
    let all: Vec<&Found> = found.iter().flatten().collect();
    let family = all.iter().map(|found| found.compared(&all)).collect::<Result<Vec<_>>>()?;
    let mut decisions = decide(&family)?.into_iter();
    let mut answers = vec![];
    for ((question, test), found) in tests.into_iter().zip(&found) {
        let outcome = match found {
            None => None,
            Some(found) => {
                let measured = found.measured(&all)?;
                decisions.next().map(|decision| Outcome { measured, decision })
            }
        };
        let missing = missing(&header.notes, &header.not_run, test);
        answers.push(Answer { question: question.clone(), test: test.clone(), outcome, missing });
    }
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
            probability: records.iter().map(Record::probability).collect(),
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
