//! `lpc judge`: a judge's annotations of a model's outputs against a baseline's.

use super::output::print_line;
use super::shared::{EffortArguments, address};
use crate::error::{Error, Place, Result};
use crate::eval::generation::Cut;
use crate::eval::journal::Journal;
use crate::eval::judge::{
    Annotator, Comparison, Judged, Missing, ModelOutput, Prompt, ask_all, compare, forecast, no_verdict,
    outcomes, questions, read_outputs, write_annotations,
};
use crate::progress::Progress;
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Ask a judge whether a model's or a baseline's outputs are better, as AlpacaEval 2 does
///
/// If the endpoint needs a key, put it into the environment variable LPC_API_KEY. Every reply is kept as soon
/// as it comes: after a stop the same command continues, and no verdict is paid twice. Comparisons without a
/// verdict are counted, named in --out, and asked again by the next call. The exit status is 1 if no comparison
/// has a verdict.
///
/// Example: lpc judge --outputs model_outputs.json --baseline baseline.json
/// --base-url https://api.openai.com/v1 --model gpt-4-1106-preview --out annotations.csv
#[derive(Debug, Args)]
pub(super) struct JudgeArguments {
    /// The model's outputs: a JSON array of objects with instruction, output and generator
    #[arg(long, value_name = "FILE")]
    outputs: PathBuf,
    /// The baseline's outputs, in the same format
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
    /// Address of an OpenAI-compatible endpoint, such as https://api.openai.com/v1. It may have a query string
    #[arg(long, value_name = "URL")]
    base_url: String,
    /// Name of the judging model at that address
    #[arg(long, value_name = "NAME")]
    model: String,
    /// A template with {instruction}, {output_1} and {output_2}, in ChatML or one user message, that asks for
    /// m or M. Results name the template by its hash [default: a short template of our own]
    #[arg(long, value_name = "FILE")]
    prompt: Option<PathBuf>,
    #[command(flatten)]
    effort: EffortArguments,
    /// File for the annotations: .csv, which `lpc winrate` reads, or .json, which AlpacaEval writes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(arguments: JudgeArguments, runs: &Path) -> Result<()> {
    let prompt = arguments.prompt.as_deref().map_or_else(|| Ok(Prompt::default()), Prompt::read)?;
    let baseline = read_outputs(&arguments.baseline)?;
    let model = read_outputs(&arguments.outputs)?;
    let comparisons = comparisons(&arguments, &baseline, &model)?;
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
    let dollars = if limits.budget.is_some() { format!(", ${:.4}", spent.dollars) } else { String::new() };
    progress.line(format!("{counts}; {} tokens in, {} out{dollars}", spent.tokens_in, spent.tokens_out));
    let place = address(&arguments.base_url);
    let verdicts = verdicts.map_err(|stop| stop.into_error(place, counts.kept(), questions.len()))?;

    let none = no_verdict(&verdicts, place);
    let judged = outcomes(comparisons, verdicts);
    let annotator = Annotator {
        judge: &arguments.model,
        prompt_sha256: &prompt.sha256,
        baseline: &baseline[0].generator,
        generator: &model[0].generator,
    };
    write_annotations(&arguments.out, &annotator, &judged)?;
    print_line(format_args!("{}: {}", arguments.out.display(), summary(&judged, questions.len())))?;
    none.map_or(Ok(()), Err)
}

/// The outputs on instructions that both files have. Warns of instructions that only one has, and of answers
/// that are incomplete.
fn comparisons<'a>(
    arguments: &JudgeArguments,
    baseline: &'a [ModelOutput],
    model: &'a [ModelOutput],
) -> Result<Vec<Comparison<'a>>> {
    let comparisons = compare(baseline, model);
    if comparisons.is_empty() {
        let expected = format!("instructions of {}", arguments.baseline.display());
        return Err(Error::input(Place::file(&arguments.outputs), expected, "none of them"));
    }
    let unmatched = baseline.len().max(model.len()) - comparisons.len();
    if unmatched > 0 {
        tracing::warn!("{unmatched} instructions are in one file only and are not compared");
    }
    for (path, outputs) in [(&arguments.baseline, baseline), (&arguments.outputs, model)] {
        if let Some(cuts) = Cut::count(outputs.iter().map(|o| o.finish_reason)) {
            tracing::warn!("{}: of {} outputs {cuts}", path.display(), outputs.len());
        }
    }
    Ok(comparisons)
}

/// The counts of verdicts, and of the reasons for missing ones. Comparisons that were not `asked` about have
/// identical outputs.
fn summary(judged: &[Judged<'_>], asked: usize) -> String {
    let mut missing: BTreeMap<Missing, usize> = BTreeMap::new();
    for why in judged.iter().filter_map(|(_, outcome)| outcome.err()) {
        *missing.entry(why).or_default() += 1;
    }
    let n: usize = missing.values().sum();
    let reasons: Vec<String> = missing.iter().map(|(why, n)| format!("{n} {}", why.describe())).collect();
    let reasons = if n > 0 { format!(" ({})", reasons.join(", ")) } else { String::new() };
    format!(
        "{} comparisons, {} verdicts, {} of identical outputs, {n} without a verdict{reasons}",
        judged.len(),
        asked - n,
        judged.len() - asked,
    )
}
