//! Table 3: win rates of trained policies' own answers by AlpacaEval 2's protocol: to prompts of a file,
//! judged by an endpoint, or to the built-in world's, judged by its true utility.

mod answers;
mod judging;
mod source;

pub use source::{Endpoint, Files};

use crate::error::Result;
use crate::eval::generation::Cut;
use crate::eval::journal::Journal;
use crate::eval::judge::{ModelOutput, write_outputs};
use crate::experiment::cells;
use crate::experiment::dataset::TextPairs;
use crate::experiment::pool::parallel;
use crate::experiment::prepared::reference_policy;
use crate::experiment::saved::{self, with_model};
use crate::experiment::settings::{Reproduced, Settings, header, label};
use crate::plan::Scale;
use crate::plan::Table;
use crate::plan::matrix::Matrix;
use crate::progress::Progress;
use crate::run::evidence::{Evidence, Header};
use crate::run::store::Store;
use answers::Writing;
use judging::measured;
use source::Source;

/// Trains what is missing, lets every run answer the same prompts, asks the judge, and writes
/// `table3.{md,csv,tex}`; a run's folder in `<runs>/table3` holds its answers and annotations.
/// Answers and the judge's replies are kept as they come: the same command goes on after any stop.
///
/// Errors: without files, pairs that are not of the built-in world, whose prompts alone have a true
/// utility; a judge that does not answer, or a budget used up.
pub fn reproduce(
    matrix: &Matrix,
    settings: &Settings,
    files: Option<&Files>,
    progress: &Progress,
) -> Result<Reproduced> {
    let (workers, threads_each) = settings.workers();
    let text = TextPairs::load(&matrix.data)?;
    let source = Source::of(files, &matrix.data)?;
    let prompts = source.prompts(&text);
    let folder = settings.runs.join("table3");
    let kept = Journal::open(&folder.join("answered.jsonl"))?;
    let writing = Writing { prompts: &prompts, sampling: source.sampling(), kept: &kept };
    let bases = parallel(&matrix.models, workers, threads_each, |model| {
        let prepared = settings.prepare(matrix, model, &text, progress)?;
        let baseline = match source.baseline() {
            Some(baseline) => baseline.to_vec(),
            None => {
                let policy = reference_policy(&prepared.base, matrix.training.dtype, &settings.device)?;
                let id = &prepared.base.fingerprint;
                writing.answers(None, &prepared.base, &policy, &model.name, id, progress)?
            }
        };
        Ok((prepared, baseline))
    })?;

    let cells = matrix.cells();
    let store = Store::new(&settings.runs);
    let outcomes = cells::each("table3", &cells, settings, progress, label, |cell| {
        let model = matrix.models.iter().position(|m| m.name == cell.base);
        let (prepared, baseline) = &bases[model.expect("a cell's model is in its matrix")];
        let run = with_model(cell, prepared, &store, progress)?;
        let (recipe, loaded, policy) = saved::load(&store.folder(&run), &settings.device)?;
        let answers = writing.answers(Some(&recipe), &loaded, &policy, &run, &run, progress)?;
        write_outputs(&folder.join(&run).join("baseline.json"), baseline)?;
        write_outputs(&folder.join(&run).join("model_outputs.json"), &answers)?;
        Ok((run, baseline.as_slice(), answers))
    })?;
    let runs: Vec<_> = outcomes.measured().collect();
    let sides: Vec<_> =
        runs.iter().map(|(_, (_, baseline, answers))| (*baseline, answers.as_slice())).collect();
    let judged = source.judge(&sides, &folder, progress)?;

    let answers: Vec<&ModelOutput> = sides.iter().flat_map(|(_, answers)| *answers).collect();
    let mut evidence =
        Evidence::new(table_header(matrix, settings.scale, &source, &text, &prompts, &answers));
    evidence.header.not_run = outcomes.not_run();
    for (i, (cell, (run, ..))) in runs.iter().enumerate() {
        let measured = judged.as_ref().map_or(vec![], |judged| measured(&judged[i]));
        evidence.add(&store, run, (&cell.base, &cell.objective, cell.latent), measured)?;
    }
    outcomes.finish(settings.publish(&evidence)?)
}

fn table_header(
    matrix: &Matrix,
    scale: Scale,
    source: &Source,
    text: &TextPairs,
    prompts: &[String],
    answers: &[&ModelOutput],
) -> Header {
    // Judged by what a user brings, it is nobody else's table.
    let built_in = Matrix::built_in(scale).is_ok_and(|built_in| built_in.same_experiment(matrix));
    let own = !built_in || matches!((source, scale), (Source::Files(_), Scale::Toy));
    let mut notes = text.notes.clone();
    let mut numbers = vec![("prompts", prompts.len() as f64)];
    match source {
        Source::World(world) => numbers.push(("sharpness", world.sharpness)),
        Source::Files(files) => {
            notes.extend(files.notes());
            if let Some(cuts) = Cut::count(answers.iter().map(|a| a.finish_reason)) {
                notes.push(format!("Of {} answers of runs {cuts}.", answers.len()));
            }
        }
    }
    let mut header = header(Table::Table3, matrix, scale, own, notes);
    header.settings.extend(numbers.into_iter().map(|(name, value)| (name.to_string(), value)));
    header
}
