//! Table 3: win rates of each objective's answers without and with LPC.

mod document;

pub(super) use document::exhibit;

use super::claims::Effect;
use super::verdict::{Claim, Compared, Decision, MARGIN, decide};
use crate::Result;
use crate::error::Error;
use crate::eval::stats::paired_interval;
use crate::eval::winrate::{Annotation, Estimate, Glm, win_rate};
use crate::plan::Scale;
use crate::run::evidence::{Evidence, Run};
use ndarray::Array2;

/// One run's answers against those of its base model.
#[derive(Debug, Clone)]
pub struct RunWinRate {
    pub base: String,
    pub objective: String,
    pub latent: bool,
    pub seed: u64,
    pub run: String,
    /// `None`: the judge gave no verdict.
    pub win_rate: Option<Estimate>,
    /// Percent, by the model without instruction difficulties; `None` where it cannot be fitted: lengths
    /// differ from the baseline's by the same everywhere, or there are fewer verdicts than folds.
    pub length_controlled: Option<f64>,
    /// Mean characters of its answers, and of the base model's.
    pub length: f64,
    pub baseline_length: f64,
    /// Preference − 1 by prompt; NaN where the judge gave no verdict.
    pub wins: Vec<f64>,
}

struct Input {
    scale: Scale,
    /// Not the run matrix that ships with the scale.
    own: bool,
    prompts: usize,
    /// Of the world's judge; `None`: an endpoint judged, as the notes say.
    sharpness: Option<f64>,
    notes: Vec<String>,
    /// What did not run and why.
    failures: Vec<String>,
    /// What was planned, whether or not it was judged.
    bases: Vec<String>,
    objectives: Vec<String>,
    /// Judged runs.
    runs: Vec<RunWinRate>,
    margin: Option<f64>,
}

/// Names of what evidence measures of every answer: the judge's preference (1 to 2), and the characters
/// of the baseline's answer and of the model's.
pub const MEASURED: [&str; 3] = ["preference", "length_1", "length_2"];

impl RunWinRate {
    /// From the judge's annotations, one a prompt. As in AlpacaEval one without a verdict counts in no win
    /// rate and in no fit, but in every length.
    pub fn new(cell: (&str, &str, bool), seed: u64, run: &str, rows: &[Annotation]) -> Self {
        let (base, objective, latent) = cell;
        let fit = Glm::LengthControlledMinimal.fit(rows, |_| 0.0);
        let controlled = fit.and_then(|weights| weights.length_controlled(rows.iter().map(|_| 0.0)));
        let mean = |length: fn(&Annotation) -> usize| {
            rows.iter().map(|row| length(row) as f64).sum::<f64>() / rows.len() as f64
        };
        Self {
            base: base.into(),
            objective: objective.into(),
            latent,
            seed,
            run: run.into(),
            win_rate: win_rate(rows).ok(),
            length_controlled: controlled.ok().map(|e| e.mean),
            length: mean(|row| row.length_2),
            baseline_length: mean(|row| row.length_1),
            wins: rows.iter().map(|row| row.preference.map_or(f64::NAN, |p| p - 1.0)).collect(),
        }
    }
}

/// The table's numbers from its evidence.
///
/// Errors: a setting or a column that is missing.
fn input(evidence: &Evidence) -> Result<Input> {
    let run = |run: &Run| {
        let [preference, length_1, length_2] = MEASURED.map(|name| evidence.measured(run, name));
        let (preference, length_1, length_2) = (preference?, length_1?, length_2?);
        let rows = preference.iter().zip(length_1).zip(length_2).enumerate();
        let rows: Vec<Annotation> = rows
            .map(|(instruction, ((&preference, length_1), length_2))| Annotation {
                instruction,
                preference: Some(preference).filter(|p| !p.is_nan()),
                length_1: length_1 as usize,
                length_2: length_2 as usize,
            })
            .collect();
        let manifest = &run.manifest;
        let cell = (run.base.as_str(), run.objective.as_str(), run.latent);
        Ok(RunWinRate::new(cell, run.seed(), &manifest.run, &rows))
    };
    let header = &evidence.header;
    // Without a judge nothing was measured.
    let judged = evidence.runs.iter().filter(|r| !r.measured.is_empty());
    let runs = judged.map(run).collect::<Result<Vec<_>>>()?;
    let Some(prompts) = header.settings.get("prompts").map(|&n| n as usize) else {
        return Err(Error::argument("table3", "evidence", "no setting `prompts`", "prompts"));
    };
    if let Some(other) = runs.iter().find(|r| r.wins.len() != prompts) {
        let got = format!("{} of run {}", other.wins.len(), other.run);
        return Err(Error::argument("table3", "answers", got, prompts.to_string()));
    }
    Ok(Input {
        scale: header.scale,
        own: header.own,
        prompts,
        sharpness: header.settings.get("sharpness").copied(),
        notes: header.notes.clone(),
        failures: header.failures(),
        bases: header.bases.iter().map(|base| base.name.clone()).collect(),
        objectives: header.objectives.clone(),
        runs,
        margin: header.settings.get(MARGIN).map(|points| points / 100.0),
    })
}

/// A row's runs, and the prompts on which every one of them has a verdict.
struct Sides<'a> {
    without: Vec<&'a RunWinRate>,
    with: Vec<&'a RunWinRate>,
    judged: Vec<usize>,
    /// Runs of the same seed, with LPC and without.
    paired: Vec<(&'a RunWinRate, &'a RunWinRate)>,
}

fn sides<'a>(input: &'a Input, base: &str, objective: &str) -> Sides<'a> {
    let arm = |latent: bool| -> Vec<&RunWinRate> {
        let of = |r: &&RunWinRate| r.base == base && r.objective == objective && r.latent == latent;
        input.runs.iter().filter(of).collect()
    };
    let (without, with) = (arm(false), arm(true));
    let known = |j: &usize| without.iter().chain(&with).all(|r| !r.wins[*j].is_nan());
    let judged = (0..input.prompts).filter(known).collect();
    let same = |with: &&'a RunWinRate| without.iter().find(|r| r.seed == with.seed).map(|r| (*with, *r));
    let paired = with.iter().filter_map(same).collect();
    Sides { without, with, judged, paired }
}

/// What LPC changes in the win rate, objective by objective, one family; prompts without a verdict count in
/// neither. In shares.
fn comparisons(input: &Input) -> Result<Vec<(&str, &str, Decision)>> {
    let (mut rows, mut family) = (vec![], vec![]);
    for base in &input.bases {
        for objective in &input.objectives {
            let Sides { judged, paired, .. } = sides(input, base, objective);
            if paired.is_empty() || judged.len() < 2 {
                continue;
            }
            let difference = |(i, j): (usize, usize)| {
                let (with, without) = paired[i];
                with.wins[judged[j]] - without.wins[judged[j]]
            };
            let shape = (paired.len(), judged.len());
            let estimate = paired_interval(Array2::from_shape_fn(shape, difference).view(), None)?;
            rows.push((base.as_str(), objective.as_str()));
            family.push(Compared {
                estimate,
                claim: Claim::Higher,
                margin: input.margin,
                seeds: paired.len(),
            });
        }
    }
    let decided = rows.into_iter().zip(decide(&family)?);
    Ok(decided.map(|((base, objective), decision)| (base, objective, decision)).collect())
}

/// [`comparisons`] for the paper's claims.
///
/// Errors: as [`input`].
pub(super) fn effects(evidence: &Evidence) -> Result<Vec<Effect>> {
    let input = input(evidence)?;
    let effect = |(base, objective, decision): (&str, &str, Decision)| Effect {
        base: base.into(),
        objective: objective.into(),
        column: String::new(),
        decision,
    };
    Ok(comparisons(&input)?.into_iter().map(effect).collect())
}
