//! `lpc judge`: a judge's annotations of a model's outputs against a baseline's.

use super::output::print_line;
use super::{EffortArguments, JudgeArguments};
use crate::error::{Error, Place, Result};
use crate::eval::generation::Cut;
use crate::eval::journal::Journal;
use crate::eval::judge::{
    Annotator, Budget, Client, Limits, Missing, Prompt, ask_all, compare, forecast, no_verdict, outcomes,
    questions, read_outputs, write_annotations,
};
use crate::progress::Progress;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub fn run(arguments: JudgeArguments, runs: &Path) -> Result<()> {
    let prompt = match &arguments.prompt {
        Some(path) => Prompt::read(path)?,
        None => Prompt::default(),
    };
    let baseline = read_outputs(&arguments.baseline)?;
    let model = read_outputs(&arguments.outputs)?;
    let comparisons = compare(&baseline, &model);
    if comparisons.is_empty() {
        let expected = format!("instructions of {}", arguments.baseline.display());
        return Err(Error::input(Place::file(&arguments.outputs), expected, "none of them"));
    }
    let unmatched = baseline.len().max(model.len()) - comparisons.len();
    if unmatched > 0 {
        tracing::warn!("{unmatched} instructions are in one file only and are not compared");
    }
    for (path, outputs) in [(&arguments.baseline, &baseline), (&arguments.outputs, &model)] {
        if let Some(cuts) = Cut::count(outputs.iter().map(|o| o.finish_reason)) {
            tracing::warn!("{}: of {} outputs {cuts}", path.display(), outputs.len());
        }
    }
    let client = arguments.effort.client(&arguments.base_url, &arguments.model)?;
    let questions = questions(&client, &prompt, &comparisons);
    let limits = arguments.effort.limits();
    let path = arguments.effort.cache(runs);
    let journal = Journal::open(&path)?;

    let progress = Progress::stderr();
    let forecast = forecast(&questions, &journal, &limits, &arguments.model);
    progress.line(format!("{} comparisons, {forecast}", comparisons.len()));
    let task = progress.task(format!("judging {}", model[0].generator), questions.len());
    let (verdicts, counts, spent) = ask_all(&client, &questions, &journal, &limits, &task)?;
    drop(task);
    progress.line(format!(
        "{counts}; {} tokens in, {} out{}",
        spent.tokens_in,
        spent.tokens_out,
        if limits.budget.is_some() { format!(", ${:.4}", spent.dollars) } else { String::new() }
    ));
    let place = address(&arguments.base_url);
    let verdicts = verdicts.map_err(|stop| stop.into_error(place, counts.kept(), questions.len()))?;

    let identical = comparisons.len() - questions.len();
    let none = no_verdict(&verdicts, place);
    let judged = outcomes(comparisons, verdicts);
    let annotator = Annotator {
        judge: &arguments.model,
        prompt_sha256: &prompt.sha256,
        baseline: &baseline[0].generator,
        generator: &model[0].generator,
    };
    write_annotations(&arguments.out, &annotator, &judged)?;
    let mut missing: BTreeMap<Missing, usize> = BTreeMap::new();
    for why in judged.iter().filter_map(|(_, outcome)| outcome.err()) {
        *missing.entry(why).or_default() += 1;
    }
    let n: usize = missing.values().sum();
    let reasons: Vec<String> = missing.iter().map(|(why, n)| format!("{n} {}", why.describe())).collect();
    let reasons = if n > 0 { format!(" ({})", reasons.join(", ")) } else { String::new() };
    print_line(format_args!(
        "{}: {} comparisons, {} verdicts, {identical} of identical outputs, {n} without a verdict{reasons}",
        arguments.out.display(),
        judged.len(),
        judged.len() - n - identical,
    ))?;
    none.map_or(Ok(()), Err)
}

/// An endpoint as messages name it: a query string may hold what is nobody's business.
pub(super) fn address(base_url: &str) -> &str {
    base_url.split(['?', '#']).next().unwrap_or(base_url)
}

impl EffortArguments {
    pub(super) fn limits(&self) -> Limits {
        let prices = self.price_in.zip(self.price_out);
        Limits {
            concurrency: self.concurrency,
            attempts: self.attempts,
            first_wait: Duration::from_secs_f64(self.retry_wait),
            budget: prices.map(|(price_in, price_out)| Budget { most: self.budget, price_in, price_out }),
        }
    }

    pub(super) fn client(&self, base_url: &str, model: &str) -> Result<Client> {
        Client::new(base_url, model, Duration::from_secs(self.timeout), self.key_header.as_deref())
    }

    pub(super) fn cache(&self, runs: &Path) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| runs.join("judge.jsonl"))
    }
}
