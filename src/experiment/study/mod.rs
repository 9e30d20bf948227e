//! Figure 2 and the reviewers' questions: arms that vary one cell of a run matrix, each question with
//! the rule that decides it.

use crate::config::DataSource;
use crate::experiment::codes;
use crate::experiment::dataset::TextPairs;
use crate::experiment::latents::{self, Latents, MAP_PAIRS, NEIGHBOURS, PERMUTATIONS, PERPLEXITY, sources};
use crate::experiment::pool::parallel;
use crate::experiment::prepared::Prepared;
use crate::experiment::saved::{self, with_model};
use crate::experiment::second_data::SecondData;
use crate::experiment::settings::{Reproduced, Settings};
use crate::experiment::{cell, cells, trainable};
use crate::passes::policy::Policy;
use crate::plan::matrix::{Matrix, MatrixCell};
use crate::plan::study::{Planned, Study};
use crate::plan::{Scale, Table};
use crate::progress::Progress;
use crate::report::study::{MAP_COLUMNS, NO_MAP, VOTE_COLUMNS, map_settings};
use crate::run::evidence::{Base, CodesOfRun, Evidence, Header, NotRun};
use crate::run::map::{Map, Means};
use crate::run::store::Store;
use crate::{Error, Result};
use std::path::Path;

/// A study, and its recipe as text, which the evidence holds.
pub struct Plan {
    pub table: Table,
    pub text: String,
    pub study: Study,
    /// Files for the arms on the second data set.
    pub second: Option<SecondData>,
}

impl Plan {
    /// The study that ships with the harness for this table, or one's own. Errors: a file that holds none.
    pub fn read(table: Table, path: Option<&Path>) -> Result<Self> {
        let (text, study) = match path {
            None => (Study::built_in_text(table)?.to_string(), Study::built_in(table)?),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
                let study = Study::parse(&text, path)?;
                (text, study)
            }
        };
        Ok(Self { table, text, study, second: None })
    }
}

/// Trains what is missing and writes the study's files. Finished runs are reused, also those of table 2.
///
/// An arm that cannot run and a run that diverges are `not run` in the report, with the reason; after
/// writing it, a run that diverged is an error.
pub fn reproduce(
    plan: &Plan,
    matrix: &Matrix,
    settings: &Settings,
    progress: &Progress,
) -> Result<Reproduced> {
    let study = &plan.study;
    let second = plan.second.as_ref().map(|second| &second.source);
    let Planned { cells, cannot_run } = study.cells(matrix, settings.scale, second)?;
    let (data, prepared) = prepare(&cells, matrix, settings, progress)?;
    let of = |cell: &MatrixCell| {
        let at = data.iter().position(|d| **d == cell.recipe.data);
        &prepared[at.expect("every cell's data is prepared")]
    };

    let store = Store::new(&settings.runs);
    let label = |cell: &MatrixCell| format!("{} {} seed {}", cell.base, cell.objective, cell.recipe.seed);
    let first = |cell: &MatrixCell| Some(&cell.recipe.seed) == study.seeds.first();
    let is = |arm: &Option<String>, cell: &MatrixCell| arm.as_ref() == Some(&cell.objective);
    let has_sources = |cell: &MatrixCell| sources(&of(cell).1.data.test_text).0.len() > 1;
    let mapped = |cell: &MatrixCell| is(&study.map, cell) && has_sources(cell);
    let read = |cell: &MatrixCell| is(&study.codes, cell) && first(cell);
    let outcomes = cells::each(plan.table.name(), &cells, settings, progress, label, |cell| {
        let (_, prepared) = of(cell);
        match mapped(cell) || read(cell) {
            true => with_model(cell, prepared, &store, progress),
            false => {
                let keep = settings.keeps_model(&cell.recipe);
                cell::train_and_score(&cell.recipe, &label(cell), prepared, &store, keep, progress)
                    .map(|m| m.run)
            }
        }
    })?;

    let model = &matrix.models[0];
    let cannot = |(arm, why): (String, String)| NotRun {
        base: model.name.clone(),
        objective: arm,
        latent: false,
        seed: None,
        why,
    };
    let mut notes = notes(&cells, &data, &prepared, &model.name);
    notes.extend(plan.second.iter().map(|second| second.note.clone()));
    if cells.iter().any(|cell| is(&study.map, cell) && !has_sources(cell)) {
        notes.push(NO_MAP.into());
    }
    let not_run = cannot_run.into_iter().map(cannot).chain(outcomes.not_run()).collect();
    let mut evidence = Evidence::new(header(plan, matrix, settings.scale, notes, not_run));
    for (cell, run) in outcomes.measured() {
        let mut measured = vec![];
        if mapped(cell) {
            let (votes, map) = votes_of(run, &of(cell).1, first(cell), &store, progress)?;
            measured = VOTE_COLUMNS.iter().map(|name| name.to_string()).zip(votes).collect();
            if let Some((map, untrained)) = map {
                evidence.header.settings.extend(map_settings(&map, untrained));
                let columns = [map.x, map.y, map.silhouette];
                measured.extend(MAP_COLUMNS.iter().map(|name| name.to_string()).zip(columns));
            }
        }
        if read(cell) {
            let (recipe, loaded, policy) = saved::load(&store.folder(run), &of(cell).1.device)?;
            let codes = codes::read(&recipe, &loaded, &policy, progress)?;
            evidence.header.codes = Some(CodesOfRun { run: run.clone(), codes });
        }
        evidence.add(&store, run, (&cell.base, &cell.objective, cell.latent), measured)?;
    }
    outcomes.finish(settings.publish(&evidence)?)
}

/// The notes of a data set, and the base model prepared on it.
type OnData = (Vec<String>, Prepared);

/// The data sets of the cells, each once, with what is prepared on them.
fn prepare<'a>(
    cells: &'a [MatrixCell],
    matrix: &Matrix,
    settings: &Settings,
    progress: &Progress,
) -> Result<(Vec<&'a DataSource>, Vec<OnData>)> {
    let mut data: Vec<&DataSource> = vec![];
    for cell in cells {
        if !data.contains(&&cell.recipe.data) {
            data.push(&cell.recipe.data);
        }
    }
    let prepare = |source: &&DataSource| {
        let text = TextPairs::load(source)?;
        let prepared = settings.prepare(matrix, &matrix.models[0], &text, progress)?;
        Ok((text.notes, prepared))
    };
    let (workers, threads_each) = settings.workers();
    // The first alone: it may train the base model that all begin from.
    let (first, others) = data.split_at(1);
    let mut prepared = parallel(first, 1, settings.threads, prepare)?;
    prepared.extend(parallel(others, workers, threads_each, prepare)?);
    Ok((data, prepared))
}

fn header(plan: &Plan, matrix: &Matrix, scale: Scale, notes: Vec<String>, not_run: Vec<NotRun>) -> Header {
    let (model, study) = (&matrix.models[0], &plan.study);
    let built_in = Matrix::built_in(scale).is_ok_and(|m| m.same_experiment(matrix))
        && Study::built_in(plan.table).is_ok_and(|s| s.same_experiment(study, scale));
    Header {
        format: 1,
        table: plan.table,
        scale,
        own: !built_in,
        notes,
        seeds: study.seeds.clone(),
        bases: vec![Base { name: model.name.clone(), paper: model.paper.clone() }],
        objectives: study.arms.iter().map(|arm| arm.name.clone()).collect(),
        settings: Default::default(),
        plan: Some(plan.text.clone()),
        codes: None,
        not_run,
    }
}

/// Names of the arms, each once.
fn arms(cells: &[MatrixCell]) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    for cell in cells {
        if !names.contains(&cell.objective) {
            names.push(cell.objective.clone());
        }
    }
    names
}

fn notes(cells: &[MatrixCell], data: &[&DataSource], prepared: &[OnData], model: &str) -> Vec<String> {
    let mut notes = vec![];
    for (source, (text, one)) in data.iter().zip(prepared) {
        let with: Vec<MatrixCell> = cells.iter().filter(|c| c.recipe.data == **source).cloned().collect();
        notes.push(format!("{}: {}", arms(&with).join("; "), text.join(" ")));
        notes.extend(one.data.notes(model, &with[0].recipe.truncation));
    }
    notes.dedup();
    notes.extend(prepared.first().map(|(_, one)| format!("{model}: {}.", one.base.description)));
    notes
}

/// Whether the neighbours of each test prompt's latent vote for its source, trained and before the first step: what
/// hidden states know of their source, a network of them knows untrained. The run has its model. With `lay_out`,
/// the picture too.
#[allow(clippy::type_complexity)]
fn votes_of(
    run: &str,
    prepared: &Prepared,
    lay_out: bool,
    store: &Store,
    progress: &Progress,
) -> Result<([Vec<f64>; 2], Option<(Map, Means)>)> {
    let (recipe, _, policy) = saved::load(&store.folder(run), &prepared.device)?;
    let n = prepared.data.test.len().min(MAP_PAIRS);
    let (pairs, text) = (&prepared.data.test[..n], &prepared.data.test_text[..n]);
    let task = progress.task(format!("latents of run {run}"), 2 * n);
    let trained = Latents::of(&policy, pairs, &recipe.training, &task)?.latent;
    drop(policy);
    let parameters = trainable::tensors(&recipe, prepared)?.on(&prepared.device)?;
    let untrained = Policy::new(&prepared.base.config, &parameters, &recipe.latent, recipe.training.dtype)?;
    let untrained = Latents::of(&untrained, pairs, &recipe.training, &task)?.latent;
    drop(task);
    let (names, labels) = sources(text);
    let votes = [&trained, &untrained].map(|latent| latents::votes(latent.view(), &labels, names.len()));
    if !lay_out {
        return Ok((votes, None));
    }
    progress.line(format!(
        "t-SNE of {n} latents, perplexity {PERPLEXITY}; {NEIGHBOURS} neighbours vote; {PERMUTATIONS} orders of the sources"
    ));
    let map = latents::map(trained.view(), &labels, names.len(), recipe.seed)?;
    let before = latents::means(untrained.view(), &labels, names.len());
    Ok((votes, Some((map, before))))
}
