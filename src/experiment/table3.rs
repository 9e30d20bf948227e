//! Table 3: win rates of trained policies' own answers against those of the base model, by
//! AlpacaEval 2's protocol, with the world's true utility as the judge.

use crate::config::{DataSource, Recipe};
use crate::data::tokenize::tokenize_prompt;
use crate::error::{Error, Result};
use crate::eval::generation::{Sampling, generate};
use crate::eval::journal::Journal;
use crate::eval::judge::{
    Annotator, Judged, Limits, ModelOutput, WorldJudge, ask_all, compare, outcomes, questions,
    write_annotations, write_outputs,
};
use crate::eval::predictor::Predictor;
use crate::experiment::cell;
use crate::experiment::dataset::TextPairs;
use crate::experiment::matrix::{Matrix, MatrixCell};
use crate::experiment::pool::parallel;
use crate::experiment::prepared::{Prepared, reference_policy};
use crate::experiment::saved;
use crate::experiment::table2::{Reproduced, Settings, header, label};
use crate::model::load::Loaded;
use crate::model::policy::Policy;
use crate::progress::Progress;
use crate::report::evidence::{Evidence, Table};
use crate::report::manifest::Code;
use crate::report::store::{RunKey, Store};
use crate::report::table3::{MEASURED, SETTINGS};
use std::path::Path;
use std::time::Duration;

/// Prompts to answer: AlpacaEval has 805, the world's texts are short.
const PROMPTS: usize = 400;

/// Answers are draws from the policy itself.
const SAMPLING: Sampling = Sampling { max_new_tokens: 30, temperature: 1.0, top_p: 1.0, seed: 1 };

/// Trains what is missing, lets every run and every base model answer the same prompts, and writes
/// `table3.{md,csv}`; a run's folder in `<runs>/table3` holds its answers and annotations.
///
/// Errors: pairs that are not of the built-in world, whose prompts alone have a true utility.
pub fn reproduce(matrix: &Matrix, settings: &Settings, progress: &Progress) -> Result<Reproduced> {
    let DataSource::World(world) = &matrix.data else {
        let expected = "the built-in world (real answers: lpc generate, lpc judge, lpc winrate)";
        return Err(Error::argument("table3", "data", "files", expected));
    };
    let judge = WorldJudge { sharpness: world.sharpness };
    let (workers, threads_each) = settings.workers();
    let text = TextPairs::load(&matrix.data)?;
    let mut prompts: Vec<String> = vec![];
    for pair in &text.test {
        if prompts.len() < PROMPTS && !prompts.contains(&pair.prompt) {
            prompts.push(pair.prompt.clone());
        }
    }
    let bases = parallel(&matrix.models, workers, threads_each, |model| {
        let prepared = settings.prepare(matrix, model, &text, progress)?;
        let policy = reference_policy(&prepared.base, matrix.training.dtype)?;
        let answers = answer(None, &prepared.base, &policy, &prompts, &model.name)?;
        Ok((prepared, answers))
    })?;

    let cells = matrix.cells();
    let store = Store::new(&settings.runs);
    let total = progress.task("table3", cells.len());
    let runs = parallel(&cells, workers, threads_each, |cell| {
        let model = matrix.models.iter().position(|m| m.name == cell.base);
        let (prepared, baseline) = &bases[model.expect("a cell's model is in its matrix")];
        let run = run(cell, prepared, &store, progress)?;
        let (recipe, loaded, policy) = saved::load(&store.folder(&run))?;
        let answers = answer(Some(&recipe), &loaded, &policy, &prompts, &run)?;
        let folder = settings.runs.join("table3").join(&run);
        write_outputs(&folder.join("baseline.json"), baseline)?;
        write_outputs(&folder.join("model_outputs.json"), &answers)?;
        let judged = judge_answers(&judge, baseline, &answers, &folder)?;
        total.advance(1, || label(cell));
        Ok((run, measured(&judged)?))
    })?;
    drop(total);

    let own = !Matrix::built_in(settings.scale).is_ok_and(|built_in| built_in.same_experiment(matrix));
    let mut header = header(Table::Table3, matrix, settings.scale, own, text.notes.clone());
    let values = [prompts.len() as f64, world.sharpness];
    header.settings = SETTINGS.map(String::from).into_iter().zip(values).collect();
    let mut evidence = Evidence::new(header);
    for (cell, (run, measured)) in cells.iter().zip(runs) {
        evidence.add(&store, &run, (&cell.base, &cell.objective, cell.latent), measured)?;
    }
    settings.publish(&evidence)
}

/// The id of the cell's run, finished and with its model. A finished run whose model was not kept is
/// trained again, to the same bytes.
fn run(cell: &MatrixCell, prepared: &Prepared, store: &Store, progress: &Progress) -> Result<String> {
    let id = RunKey {
        recipe: cell.recipe.clone(),
        data: prepared.data.fingerprint.clone(),
        model: prepared.base.fingerprint.clone(),
        code: Code::current().fingerprint,
    }
    .id();
    let folder = store.folder(&id);
    if folder.join("manifest.json").is_file() && !folder.join("model/config.json").is_file() {
        std::fs::remove_dir_all(&folder).map_err(Error::io(&folder))?;
    }
    Ok(cell::run(&cell.recipe, &label(cell), prepared, store, true, progress)?.run)
}

fn answer(
    recipe: Option<&Recipe>,
    loaded: &Loaded,
    policy: &Policy,
    prompts: &[String],
    generator: &str,
) -> Result<Vec<ModelOutput>> {
    let tokenizer = &loaded.tokenizer;
    let predictor = Predictor::new(policy, recipe, None)?;
    let answer = |(index, prompt): (usize, &String)| {
        let ids = tokenize_prompt(prompt, tokenizer)?;
        let new = generate(&predictor, tokenizer, &ids, SAMPLING, index, |_| Ok(()))?;
        Ok(ModelOutput {
            dataset: None,
            instruction: prompt.clone(),
            output: tokenizer.decode(&new, true)?,
            generator: generator.into(),
        })
    };
    prompts.iter().enumerate().map(answer).collect()
}

fn judge_answers<'a>(
    judge: &WorldJudge,
    baseline: &'a [ModelOutput],
    answers: &'a [ModelOutput],
    folder: &Path,
) -> Result<Vec<Judged<'a>>> {
    let prompt = WorldJudge::prompt();
    let comparisons = compare(baseline, answers);
    let questions = questions(judge, &prompt, &comparisons);
    // It answers at once, always, and for nothing.
    let limits = Limits { concurrency: 1, attempts: 1, first_wait: Duration::ZERO, budget: None };
    let task = Progress::hidden().task("judge", questions.len());
    let (verdicts, ..) = ask_all(judge, &questions, &Journal::in_memory(), &limits, &task)?;
    let verdicts = verdicts.map_err(|stop| stop.into_error("the world's judge", 0, questions.len()))?;
    let judged = outcomes(comparisons, verdicts);
    let annotator = Annotator {
        judge: "true utility",
        prompt_sha256: &prompt.sha256,
        baseline: &baseline[0].generator,
        generator: &answers[0].generator,
    };
    write_annotations(&folder.join("annotations.csv"), &annotator, &judged)?;
    Ok(judged)
}

/// What the judge said of every answer, and how long it is.
fn measured(judged: &[Judged]) -> Result<Vec<(String, Vec<f64>)>> {
    let row = |(comparison, outcome): &Judged| {
        let expected = "a verdict of the world's judge on every comparison";
        let preference =
            outcome.map_err(|why| Error::argument("table3", "comparison", why.describe(), expected))?;
        let length = |output: &str| output.chars().count() as f64;
        Ok([preference, length(comparison.output_1), length(comparison.output_2)])
    };
    let rows: Vec<[f64; 3]> = judged.iter().map(row).collect::<Result<_>>()?;
    let column = |(i, name): (usize, &str)| (name.to_string(), rows.iter().map(|row| row[i]).collect());
    Ok(MEASURED.into_iter().enumerate().map(column).collect())
}
