//! What a study's tests are about: a value for every seed and pair, and the interval over both.

use super::{Arm, Measured, Scored, VOTE_COLUMNS};
use crate::error::{Error, Result};
use crate::eval::stats::{Crossed, Estimate, MeanSquare, paired_interval, shared};
use crate::plan::study::{Rule, Study, Test};
use crate::report::verdict::{Claim, Compared};
use crate::run::evidence::{Evidence, Run};
use ndarray::Array2;

pub(super) fn unlike(first: &Scored<'_>, other: &Scored<'_>) -> Error {
    let [first, other] = [first, other].map(|scored| &scored.run.manifest.run);
    Error::argument("study", "run", other, format!("one tested on the pairs of run {first}"))
}

/// What a test is about, before its interval is made: a value for every seed and pair.
pub(super) struct Found {
    claim: Claim,
    margin: Option<f64>,
    by_label: Array2<f64>,
    by_probability: Option<Array2<f64>>,
    /// By this the values were divided, so that they lie within ± 1.
    scale: f64,
    /// Contrasts of the same weights among arms of the same data vary alike from seed to seed: as in the analysis
    /// of variance, they share one mean square of seeds. Others have their own.
    alike: Option<(Vec<u64>, String)>,
    /// Shares of right votes, trained and untrained, where it is about those.
    votes: Option<(f64, f64)>,
}

impl Found {
    /// By one of the scores, of which `own` is this test's.
    fn estimate(
        &self,
        own: &Array2<f64>,
        all: &[&Self],
        of: fn(&Self) -> Option<&Array2<f64>>,
    ) -> Result<Estimate> {
        let fellows = all.iter().filter(|other| self.alike.is_some() && other.alike == self.alike);
        let fellows = fellows.filter_map(|other| of(other));
        let fellows = fellows.filter(|x| x.nrows() > 1 && x.ncols() == own.ncols());
        let seeds: Vec<MeanSquare> =
            fellows.map(|x| Crossed::of(x.view()).map(|c| c.seed)).collect::<Result<_>>()?;
        Ok(paired_interval(own.view(), shared(&seeds))?.scaled(self.scale))
    }

    fn by_label(&self, all: &[&Self]) -> Result<Estimate> {
        self.estimate(&self.by_label, all, |found| Some(&found.by_label))
    }

    /// Verdicts are about true probabilities where they are known.
    pub(super) fn compared(&self, all: &[&Self]) -> Result<Compared> {
        let estimate = match &self.by_probability {
            Some(own) => self.estimate(own, all, |found| found.by_probability.as_ref())?,
            None => self.by_label(all)?,
        };
        Ok(Compared { estimate, claim: self.claim, margin: self.margin, seeds: self.by_label.nrows() })
    }

    pub(super) fn measured(&self, all: &[&Self]) -> Result<Measured> {
        Ok(match (self.votes, &self.by_probability) {
            (Some((trained, untrained)), _) => Measured::Votes { trained, untrained },
            (None, Some(_)) => Measured::Contrast { by_label: Some(self.by_label(all)?) },
            (None, None) => Measured::Contrast { by_label: None },
        })
    }
}

/// Σ_a w_a · (score of arm a) over the same seeds and pairs; none where an arm has no such score.
fn contrast<'a>(
    arms: &[(f64, Vec<&'a Scored<'_>>)],
    scale: f64,
    score: impl Fn(&'a Scored<'_>) -> Option<&'a [f64]>,
) -> Result<Option<Array2<f64>>> {
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
        Some((w / scale, runs.iter().map(|run| score(run)).collect::<Option<Vec<_>>>()?))
    };
    let Some(scores) = arms.iter().map(scores).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let weighed = |(s, e): (usize, usize)| -> f64 {
        scores.iter().map(|(w, runs): &(f64, Vec<&[f64]>)| w * runs[s][e]).sum()
    };
    Ok(Some(Array2::from_shape_fn((first.len(), pairs.len()), weighed)))
}

/// None where nothing ran.
pub(super) fn measure(
    arms: &[Arm<'_>],
    evidence: &Evidence,
    study: &Study,
    test: &Test,
) -> Result<Option<Found>> {
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
    // Weights above 1 on one side would leave the range of a difference of shares.
    let scale = arms.iter().map(|(w, _)| w.max(0.0)).sum::<f64>().max(1.0);
    let data = |(_, runs): &(f64, Vec<&Scored<'_>>)| runs[0].run.manifest.recipe["data"].to_string();
    let first = data(&arms[0]);
    let mut sizes: Vec<u64> = weights.values().map(|w| w.abs().to_bits()).collect();
    sizes.sort_unstable();
    let by_label = contrast(&arms, scale, |run| Some(&run.correct))?;
    let by_probability = contrast(&arms, scale, |run| run.probability.as_deref())?;
    Ok(by_label.map(|by_label| Found {
        claim,
        margin: margin.map(|points| points / 100.0),
        by_label,
        by_probability,
        scale,
        alike: arms.iter().all(|arm| data(arm) == first).then_some((sizes, first.clone())),
        votes: None,
    }))
}

/// Whether neighbours vote more rightly than before the first step, over seeds and points.
fn votes(evidence: &Evidence, runs: &[&Run]) -> Result<Option<Found>> {
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
    let mean = |of: &[Vec<f64>]| of.iter().flatten().sum::<f64>() / (seeds * points) as f64;
    Ok(Some(Found {
        claim: Claim::Higher,
        margin: None,
        by_label: Array2::from_shape_fn((seeds, points), |(s, e)| trained[s][e] - untrained[s][e]),
        by_probability: None,
        scale: 1.0,
        alike: None,
        votes: Some((mean(&trained), mean(&untrained))),
    }))
}
