//! `lpc reproduce table3`: win rates of answers.

use super::matrix::{ObjectivesArgument, TrainingArguments, valid};
use super::{Machine, ready, show};
use crate::Result;
use crate::cli::shared::{EffortArguments, FOR_ALPACA_EVAL, address};
use crate::cli::values;
use crate::eval::judge::Prompt;
use crate::experiment::table3::{self, Endpoint, Files};
use crate::plan::Scale;
use crate::progress::Progress;
use clap::Args;
use std::path::{Path, PathBuf};

/// Measure AlpacaEval 2's win rates of the answers of each run
///
/// At the toy scale the prompts come from the built-in world, its true utility is the judge, and the
/// answers of the base model are the baseline. At other scales give --prompts, and --base-url with --judge;
/// --baseline is optional. The trained models are kept.
///
/// Example: lpc reproduce table3
#[derive(Debug, Args)]
pub(super) struct Table3Arguments {
    #[command(flatten)]
    training: TrainingArguments,
    #[command(flatten)]
    objectives: ObjectivesArgument,
    /// Prompts to answer: a JSON array of objects with instruction, such as AlpacaEval's alpaca_eval.json
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// The baseline's answers to these prompts, in AlpacaEval's format [default: each base model's own
    /// answers]
    #[arg(long, value_name = "FILE", requires = "prompts")]
    baseline: Option<PathBuf>,
    /// Largest number of tokens of an answer. Answers that are cut here are counted, and marked with finish_reason in
    /// model_outputs.json
    #[arg(long, value_name = "N", default_value_t = FOR_ALPACA_EVAL, requires = "prompts", value_parser = values::at_least_1)]
    max_new_tokens: usize,
    /// Address of the judge: an OpenAI-compatible endpoint. Without a judge the answers are written and the
    /// table says `not run`
    #[arg(long, value_name = "URL", requires_all = ["prompts", "judge"])]
    base_url: Option<String>,
    /// Name of the judging model at that address
    #[arg(long, value_name = "NAME", requires = "base_url")]
    judge: Option<String>,
    /// The judge's prompt template, as for `lpc judge --prompt`
    #[arg(long, value_name = "FILE", requires = "base_url")]
    judge_prompt: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Options of the judge, as in `lpc judge`")]
    effort: EffortArguments,
}

impl Table3Arguments {
    pub(super) fn scale(&self) -> Scale {
        self.training.matrix.scale()
    }

    /// Prompts and judge: files and an endpoint, or, without any, the built-in world.
    fn files(&self, runs: &Path) -> Result<Option<Files>> {
        let Some(prompts) = &self.prompts else { return Ok(None) };
        let endpoint = match (&self.base_url, &self.judge) {
            (Some(url), Some(judge)) => Some(Endpoint {
                client: self.effort.client(url, judge)?,
                url: address(url).into(),
                judge: judge.clone(),
                prompt: self.judge_prompt.as_deref().map_or_else(|| Ok(Prompt::default()), Prompt::read)?,
                limits: self.effort.limits(),
                cache: self.effort.cache(runs),
            }),
            _ => None,
        };
        let baseline = self.baseline.as_deref();
        Files::read(prompts, baseline, self.max_new_tokens, endpoint).map(Some)
    }
}

pub(super) fn run(arguments: Table3Arguments, machine: Machine) -> Result<()> {
    let mut matrix = arguments.training.read()?;
    arguments.objectives.keep(&mut matrix)?;
    let matrix = valid(matrix)?;
    let files = arguments.files(&machine.runs)?;
    ready(&matrix, &machine)?;
    let settings = arguments.training.settings(machine)?;
    let reproduced = table3::reproduce(&matrix, &settings, files.as_ref(), &Progress::stderr())?;
    show("table3", "table3.{md,csv,tex} and index.html", &reproduced)
}
