//! `lpc eval`: the benchmarks of Table 1 on one model.

use super::output::print_line;
use super::values::model_source;
use super::{EvalArguments, Measure, runs};
use crate::config::{LatentAtTest, Precision, Recipe};
use crate::eval::harness::data::{self, Span};
use crate::eval::harness::summary::{Measured, summarise};
use crate::eval::harness::{self, Record, Subject};
use crate::eval::journal::Journal;
use crate::eval::predictor::Predictor;
use crate::eval::tasks::{HARNESS, Task};
use crate::experiment::prepared::reference_policy;
use crate::experiment::saved;
use crate::files::{sha256, sha256_file, write_atomic};
use crate::model::load::{self, Loaded};
use crate::model::save::HEADS;
use crate::passes::policy::Policy;
use crate::progress::Progress;
use crate::{Error, Result};
use candle_core::Device;
use std::path::{Path, PathBuf};

pub fn run(arguments: EvalArguments, runs: &Path, device: &Device) -> Result<()> {
    if let Some(Measure::Preference(preference)) = arguments.measure {
        return runs::evaluate(preference, runs, device);
    }
    let Some(folder) = &arguments.data else {
        return Err(Error::argument("eval", "--data", "nothing", "where the documents are"));
    };
    // Documents first: what is wrong with them is known before a model is read.
    let mut asked = vec![];
    for &task in &arguments.tasks {
        let data::Documents { documents, sha256 } = data::read(task, folder)?;
        let span = arguments.docs.unwrap_or(Span { start: 0, end: None });
        asked.push((task, span.of(documents, arguments.limit)?, sha256));
    }
    let Model { recipe, loaded, policy, mut identity } = Model::load(&arguments, device)?;
    let seed = arguments.seed.or(recipe.as_ref().map(|r| r.seed)).unwrap_or(1);
    let files: Vec<&String> = asked.iter().flat_map(|(_, _, sha256)| sha256).collect();
    identity += &format!("\n{HARNESS}\n{seed}\n{files:?}");
    let predictor = Predictor::new(&policy, recipe.as_ref(), None)?;
    let latent = recipe.as_ref().filter(|_| policy.heads.is_some()).map(|r| r.evaluation.latent);
    let latent = latent.map(|latent| match latent {
        LatentAtTest::Mean => "mean".to_string(),
        LatentAtTest::Sample => format!("sample, seed {seed}"),
        LatentAtTest::Exact => "exact".to_string(),
    });
    if let (Some(_), None) = (arguments.latent, &latent) {
        return Err(Error::argument("eval", "--latent", "a plain model", "a run with LPC"));
    }
    let subject = Subject { predictor: &predictor, tokenizer: &loaded.tokenizer, seed, latent, identity };
    let partial = match &arguments.records {
        Some(out) => {
            let mut partial = out.as_os_str().to_owned();
            partial.push(".partial");
            PathBuf::from(partial)
        }
        None => runs.join("eval").join(format!("{}.partial", &sha256(subject.identity.as_bytes())[..16])),
    };
    let journal: Journal<Record> = Journal::open(&partial)?;
    let progress = Progress::stderr();
    print_line(format_args!("{}; tasks as in {HARNESS}", loaded.description))?;
    if let Some(latent) = &subject.latent {
        print_line(format_args!("z from the prior of the context: {latent}"))?;
    }
    let mut lines = vec![];
    for (task, documents, _) in &asked {
        let bar = progress.task(task.name(), documents.len());
        let records = harness::run(*task, documents, &subject, &journal, &bar)?;
        drop(bar);
        report(*task, &records)?;
        for record in &records {
            serde_json::to_writer(&mut lines, record)
                .map_err(|e| Error::argument("eval", "record", e, "what JSON can hold"))?;
            lines.push(b'\n');
        }
    }
    if let Some(out) = &arguments.records {
        write_atomic(out, &lines)?;
    }
    drop(journal);
    std::fs::remove_file(&partial).map_err(Error::io(&partial))
}

/// What is measured.
struct Model {
    recipe: Option<Recipe>,
    loaded: Loaded,
    policy: Policy,
    /// Whatever decides its answers, but for the documents.
    identity: String,
}

impl Model {
    fn load(arguments: &EvalArguments, device: &Device) -> Result<Self> {
        let base = |path: &Path| {
            let mut loaded = load::load(&model_source(path))?;
            arguments.date.apply(&mut loaded.tokenizer)?;
            Ok::<_, Error>(loaded)
        };
        let run = arguments.lpc.as_ref().or(arguments.model.as_ref().filter(|m| saved::is_run(m)));
        let Some(run) = run else {
            let model = arguments.model.as_deref().unwrap_or(Path::new(""));
            let loaded = base(model)?;
            let policy = reference_policy(&loaded, Precision::F32, device)?;
            let identity = loaded.fingerprint.clone();
            return Ok(Self { recipe: None, loaded, policy, identity });
        };
        if let (Some(_), Some(model)) = (&arguments.lpc, &arguments.model) {
            saved::check_base(run, &base(model)?)?;
        }
        let (mut recipe, mut loaded, policy) = saved::load(run, device)?;
        arguments.date.apply(&mut loaded.tokenizer)?;
        recipe.evaluation.latent = arguments.latent.unwrap_or(recipe.evaluation.latent);
        let mut identity = format!("{}\n{:?}", loaded.fingerprint, recipe.evaluation.latent);
        for file in [run.join("recipe.toml"), run.join("model").join(HEADS)] {
            if file.is_file() {
                identity += &sha256_file(&file)?;
            }
        }
        Ok(Self { recipe: Some(recipe), loaded, policy, identity })
    }
}

fn report(task: Task, records: &[Record]) -> Result<()> {
    for Measured { metric, documents, mean, standard_error, interval } in summarise(records)? {
        let error = standard_error.map_or(String::new(), |e| format!(" ± {e:.4}"));
        let interval =
            interval.map_or(String::new(), |i| format!(", 95 % interval {:.4} to {:.4}", i.low, i.high));
        print_line(format_args!(
            "{}: {metric} {mean:.4}{error}{interval}, {documents} documents",
            task.name()
        ))?;
    }
    let truncated = records.iter().filter(|r| r.truncated).count();
    if truncated > 0 {
        print_line(format_args!("{}: {truncated} contexts lost their beginning to the window", task.name()))?;
    }
    Ok(())
}
