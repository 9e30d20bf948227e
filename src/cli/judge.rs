//! `lpc judge`: a judge's annotations of a model's outputs against a baseline's.

use super::JudgeArguments;
use super::output::print_line;
use crate::error::{Error, Place, Result};
use crate::eval::journal::Journal;
use crate::eval::judge::{
    Annotator, Budget, Client, Counts, Limits, Missing, Prompt, ask_all, compare, estimate, outcomes,
    questions, read_outputs, write_annotations,
};
use crate::progress::Progress;
use std::collections::BTreeMap;
use std::path::Path;
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
    let client = Client::new(&arguments.base_url, &arguments.model, Duration::from_secs(arguments.timeout))?;
    let questions = questions(&client, &prompt, &comparisons);
    let budget = match (arguments.price_in, arguments.price_out) {
        (Some(price_in), Some(price_out)) => Some(Budget { most: arguments.budget, price_in, price_out }),
        _ => None,
    };
    let limits = Limits {
        concurrency: arguments.concurrency,
        attempts: arguments.attempts,
        first_wait: Duration::from_secs_f64(arguments.retry_wait),
        budget,
    };
    let path = arguments.cache.unwrap_or_else(|| runs.join("judge.jsonl"));
    let journal = Journal::open(&path)?;

    let progress = Progress::stderr();
    let (open, tokens, dollars) = estimate(&questions, &journal, budget.as_ref());
    let dollars = dollars.map_or("unknown cost (no prices given)".into(), |d| format!("about ${d:.2}"));
    let seconds = open.div_ceil(arguments.concurrency);
    progress.line(format!(
        "{} comparisons, {open} to ask {}: about {tokens} tokens, {dollars}, {seconds} s at a second a reply",
        comparisons.len(),
        arguments.model
    ));
    let task = progress.task(format!("judging {}", model[0].generator), questions.len());
    let (verdicts, counts, spent) = ask_all(&client, &questions, &journal, &limits, &task)?;
    drop(task);
    progress.line(format!(
        "{}; {} tokens in, {} out{}",
        describe(&counts),
        spent.tokens_in,
        spent.tokens_out,
        if budget.is_some() { format!(", ${:.4}", spent.dollars) } else { String::new() }
    ));
    let kept = counts.cached + counts.asked;
    let verdicts = verdicts.map_err(|stop| stop.into_error(&arguments.base_url, kept, questions.len()))?;

    let identical = comparisons.len() - questions.len();
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
    ))
}

fn describe(counts: &Counts) -> String {
    let Counts { cached, asked, throttled, server, broken, refused, failed } = counts;
    format!(
        "{cached} replies from the cache, {asked} asked for; {throttled} attempts throttled, {server} server errors, \
         {broken} broken off; {refused} refused, {failed} given up"
    )
}
