//! Table 3: win rates of trained policies' own answers by AlpacaEval 2's protocol: to prompts of a file,
//! judged by an endpoint, or to the built-in world's, judged by its true utility.

use crate::config::{DataSource, Recipe};
use crate::data::tokenize::tokenize_prompt;
use crate::error::{Error, Place, Result};
use crate::eval::generation::{Answer, Cut, Sampling, answer};
use crate::eval::journal::Journal;
use crate::eval::judge::{
    Annotator, Client, Comparison, Judge, Judged, Limits, ModelOutput, Prompt, Question, Reply, WorldJudge,
    ask_all, compare, forecast, no_verdict, outcomes, questions, read_outputs, read_prompts,
    write_annotations, write_outputs,
};
use crate::eval::predictor::Predictor;
use crate::experiment::cells;
use crate::experiment::dataset::TextPairs;
use crate::experiment::pool::parallel;
use crate::experiment::prepared::reference_policy;
use crate::experiment::saved::{self, with_model};
use crate::experiment::table2::{Reproduced, Settings, header, label};
use crate::files::{sha256, sha256_file};
use crate::model::load::Loaded;
use crate::passes::policy::Policy;
use crate::plan::Scale;
use crate::plan::Table;
use crate::plan::matrix::Matrix;
use crate::progress::Progress;
use crate::report::table3::MEASURED;
use crate::run::evidence::Evidence;
use crate::run::store::Store;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Prompts to answer: AlpacaEval has 805, the world's texts are short.
const PROMPTS: usize = 400;

/// Answers are draws from the policy itself.
const SAMPLING: Sampling = Sampling { max_new_tokens: 30, temperature: 1.0, top_p: 1.0, seed: 1 };

/// What is answered, and who says which answer is better.
pub enum Source {
    /// The built-in world's test prompts and its true utility.
    World,
    Files(Box<Files>),
}

/// Prompts of the user's, and a judge if there is one.
pub struct Files {
    prompts: Vec<String>,
    /// Where they came from, for the report.
    origin: String,
    /// Answers to the prompts, in their order; `None`: the base model's own.
    baseline: Option<Vec<ModelOutput>>,
    max_new_tokens: usize,
    endpoint: Option<Endpoint>,
}

pub struct Endpoint {
    pub client: Client,
    pub url: String,
    pub judge: String,
    pub prompt: Prompt,
    pub limits: Limits,
    pub cache: PathBuf,
}

impl Files {
    /// Errors: files that cannot be read; a prompt that the baseline does not answer.
    pub fn read(
        prompts: &Path,
        baseline: Option<&Path>,
        max_new_tokens: usize,
        endpoint: Option<Endpoint>,
    ) -> Result<Self> {
        let sha256 = sha256_file(prompts)?;
        let origin = format!("{}, SHA-256 {sha256}", prompts.display());
        let prompts: Vec<String> = read_prompts(prompts)?.into_iter().map(|p| p.instruction).collect();
        let baseline = baseline.map(|path| {
            let outputs = read_outputs(path)?;
            let answer = |prompt: &String| {
                outputs.iter().find(|o| o.instruction == *prompt).cloned().ok_or_else(|| {
                    let start: String = prompt.chars().take(60).collect();
                    let place = Place::file(path);
                    Error::input(
                        place,
                        "an answer to every prompt",
                        format!("none to `{}`", start.escape_debug()),
                    )
                })
            };
            prompts.iter().map(answer).collect::<Result<Vec<_>>>()
        });
        Ok(Self { prompts, origin, baseline: baseline.transpose()?, max_new_tokens, endpoint })
    }

    fn notes(&self) -> Vec<String> {
        let judge = match &self.endpoint {
            Some(Endpoint { judge, prompt, .. }) => {
                format!("Judge: {judge}, its template's SHA-256 {}.", prompt.sha256)
            }
            None => "Judge: none; answers were written, nothing was judged.".into(),
        };
        let baseline = match &self.baseline {
            Some(outputs) => format!("Baseline: {}.", outputs[0].generator),
            None => "Baseline: the base model before preference training.".into(),
        };
        let answers = format!("Answers: greedy, at most {} tokens.", self.max_new_tokens);
        vec![format!("Prompts: {}, of {}.", self.prompts.len(), self.origin), baseline, answers, judge]
    }
}

/// Trains what is missing, lets every run answer the same prompts, asks the judge, and writes
/// `table3.{md,csv,tex}`; a run's folder in `<runs>/table3` holds its answers and annotations.
/// Answers and the judge's replies are kept as they come: the same command goes on after any stop.
///
/// Errors: without files, pairs that are not of the built-in world, whose prompts alone have a true
/// utility; a judge that does not answer, or a budget used up.
pub fn reproduce(
    matrix: &Matrix,
    settings: &Settings,
    source: &Source,
    progress: &Progress,
) -> Result<Reproduced> {
    let (workers, threads_each) = settings.workers();
    let text = TextPairs::load(&matrix.data)?;
    let (prompts, sampling) = match (source, &matrix.data) {
        (Source::Files(files), _) => {
            let sampling =
                Sampling { max_new_tokens: files.max_new_tokens, temperature: 0.0, top_p: 1.0, seed: 1 };
            (files.prompts.clone(), sampling)
        }
        (Source::World, DataSource::World(_)) => (world_prompts(&text), SAMPLING),
        (Source::World, _) => {
            let expected = "--prompts, or data of the built-in world";
            return Err(Error::argument("table3", "prompts", "none", expected));
        }
    };
    let folder = settings.runs.join("table3");
    let kept = Journal::open(&folder.join("answered.jsonl"))?;
    let writing = Writing { prompts: &prompts, sampling, kept: &kept };
    let bases = parallel(&matrix.models, workers, threads_each, |model| {
        let prepared = settings.prepare(matrix, model, &text, progress)?;
        let baseline = match source {
            Source::Files(files) if files.baseline.is_some() => files.baseline.clone().unwrap_or_default(),
            _ => {
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
    let judged = match (source, &matrix.data) {
        (Source::World, DataSource::World(world)) => {
            // It answers at once, always, and for nothing.
            let limits = Limits { concurrency: 1, attempts: 1, first_wait: Duration::ZERO, budget: None };
            let judge = WorldJudge { sharpness: world.sharpness };
            let judging = Judging {
                judge: &judge,
                name: "true utility",
                place: "the world's judge",
                prompt: &WorldJudge::prompt(),
                limits: &limits,
                journal: &Journal::in_memory(),
            };
            Some(judging.all(&sides, &folder, &Progress::hidden())?)
        }
        (Source::Files(files), _) => match &files.endpoint {
            None => None,
            Some(endpoint) => {
                let judging = Judging {
                    judge: &endpoint.client,
                    name: &endpoint.judge,
                    place: &endpoint.url,
                    prompt: &endpoint.prompt,
                    limits: &endpoint.limits,
                    journal: &Journal::open(&endpoint.cache)?,
                };
                Some(judging.all(&sides, &folder, progress)?)
            }
        },
        (Source::World, _) => None,
    };

    // Judged by what a user brings, it is nobody else's table.
    let built_in = Matrix::built_in(settings.scale).is_ok_and(|built_in| built_in.same_experiment(matrix));
    let own = !built_in || matches!((source, settings.scale), (Source::Files(_), Scale::Toy));
    let mut notes = text.notes.clone();
    let mut numbers = vec![("prompts", prompts.len() as f64)];
    match (source, &matrix.data) {
        (Source::Files(files), _) => {
            notes.extend(files.notes());
            let answers: Vec<&ModelOutput> = runs.iter().flat_map(|(_, (_, _, answers))| answers).collect();
            if let Some(cuts) = Cut::count(answers.iter().map(|a| a.finish_reason)) {
                notes.push(format!("Of {} answers of runs {cuts}.", answers.len()));
            }
        }
        (Source::World, DataSource::World(world)) => numbers.push(("sharpness", world.sharpness)),
        (Source::World, _) => {}
    }
    let mut header = header(Table::Table3, matrix, settings.scale, own, notes);
    header.settings = numbers.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    let mut evidence = Evidence::new(header);
    evidence.header.not_run = outcomes.not_run();
    for (i, (cell, (run, ..))) in runs.iter().enumerate() {
        let measured = judged.as_ref().map_or(vec![], |judged| measured(&judged[i]));
        evidence.add(&store, run, (&cell.base, &cell.objective, cell.latent), measured)?;
    }
    outcomes.finish(settings.publish(&evidence)?)
}

fn world_prompts(text: &TextPairs) -> Vec<String> {
    let mut prompts: Vec<String> = vec![];
    for pair in &text.test {
        let prompt = pair.prompt_text();
        if prompts.len() < PROMPTS && !prompts.iter().any(|p| *p == prompt) {
            prompts.push(prompt.into_owned());
        }
    }
    prompts
}

/// The prompts, how they are answered, and the answers there are.
struct Writing<'a> {
    prompts: &'a [String],
    sampling: Sampling,
    kept: &'a Journal<Answer>,
}

impl Writing<'_> {
    /// `id` names the model's weights and its latent.
    fn answers(
        &self,
        recipe: Option<&Recipe>,
        loaded: &Loaded,
        policy: &Policy,
        generator: &str,
        id: &str,
        progress: &Progress,
    ) -> Result<Vec<ModelOutput>> {
        let tokenizer = &loaded.tokenizer;
        let predictor = Predictor::new(policy, recipe, None)?;
        let task = progress.task(format!("answers of {generator}"), self.prompts.len());
        let respond = |(index, prompt): (usize, &String)| {
            let ids = tokenize_prompt(prompt, tokenizer)?;
            let key = sha256(format!("{id}\n{:?}\n{index}\n{ids:?}", self.sampling).as_bytes());
            let Answer { output, cut } = match self.kept.get(&key) {
                Some(answer) => answer,
                None => {
                    let answer = answer(&predictor, tokenizer, &ids, self.sampling, index)?;
                    self.kept.insert(&key, answer.clone())?;
                    answer
                }
            };
            task.advance(1, || format!("{} characters", output.chars().count()));
            Ok(ModelOutput {
                dataset: None,
                instruction: prompt.clone(),
                output,
                generator: generator.into(),
                finish_reason: cut,
            })
        };
        let answers: Vec<ModelOutput> =
            self.prompts.iter().enumerate().map(respond).collect::<Result<_>>()?;
        drop(task);
        if let Some(cuts) = Cut::count(answers.iter().map(|a| a.finish_reason)) {
            progress.line(format!("{generator}: of {} answers {cuts}", answers.len()));
        }
        Ok(answers)
    }
}

/// One judge for the answers of all runs.
struct Judging<'a, J> {
    judge: &'a J,
    name: &'a str,
    /// Where it answers, for messages.
    place: &'a str,
    prompt: &'a Prompt,
    limits: &'a Limits,
    journal: &'a Journal<Reply>,
}

impl<J: Judge> Judging<'_, J> {
    /// Asks about each pair of texts once, whichever runs wrote it, under one budget; writes every run's
    /// `annotations.csv`.
    fn all<'a>(
        &self,
        sides: &[(&'a [ModelOutput], &'a [ModelOutput])],
        folder: &Path,
        progress: &Progress,
    ) -> Result<Vec<Vec<Judged<'a>>>> {
        let comparisons: Vec<Vec<Comparison<'a>>> =
            sides.iter().map(|(base, model)| compare(base, model)).collect();
        let asked: Vec<Vec<Question>> =
            comparisons.iter().map(|c| questions(self.judge, self.prompt, c)).collect();
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut each: Vec<Question> = vec![];
        for question in asked.iter().flatten() {
            places.entry(question.key()).or_insert_with(|| {
                each.push(question.clone());
                each.len() - 1
            });
        }
        let n: usize = comparisons.iter().map(Vec::len).sum();
        progress.line(format!("{n} comparisons, {}", forecast(&each, self.journal, self.limits, self.name)));
        let task = progress.task(format!("judged by {}", self.name), each.len());
        let (verdicts, counts, spent) = ask_all(self.judge, &each, self.journal, self.limits, &task)?;
        drop(task);
        let dollars =
            if self.limits.budget.is_some() { format!(", ${:.4}", spent.dollars) } else { String::new() };
        progress.line(format!("{counts}; {} tokens in, {} out{dollars}", spent.tokens_in, spent.tokens_out));
        let verdicts = verdicts.map_err(|stop| stop.into_error(self.place, counts.kept(), each.len()))?;
        let none = no_verdict(&verdicts, self.place);
        let mut all = vec![];
        for ((comparisons, asked), (base, model)) in comparisons.into_iter().zip(&asked).zip(sides) {
            let verdicts = asked.iter().map(|question| verdicts[places[question.key()]]).collect();
            let judged = outcomes(comparisons, verdicts);
            let annotator = Annotator {
                judge: self.name,
                prompt_sha256: &self.prompt.sha256,
                baseline: &base[0].generator,
                generator: &model[0].generator,
            };
            let file = folder.join(&model[0].generator).join("annotations.csv");
            write_annotations(&file, &annotator, &judged)?;
            all.push(judged);
        }
        none.map_or(Ok(all), Err)
    }
}

/// What the judge said of every answer, NaN where nothing, and how long it is.
fn measured(judged: &[Judged]) -> Vec<(String, Vec<f64>)> {
    let length = |output: &str| output.chars().count() as f64;
    let columns: [Vec<f64>; 3] = [
        judged.iter().map(|(_, outcome)| outcome.unwrap_or(f64::NAN)).collect(),
        judged.iter().map(|(comparison, _)| length(comparison.output_1)).collect(),
        judged.iter().map(|(comparison, _)| length(comparison.output_2)).collect(),
    ];
    MEASURED.map(String::from).into_iter().zip(columns).collect()
}
