//! `lpc codes`: what a trained run's codes are for.

use super::output::print_line;
use super::values;
use crate::config::LatentAtTest;
use crate::data::tokenize::tokenize_prompt;
use crate::eval::generation::{Sampling, generate};
use crate::eval::predictor::Predictor;
use crate::experiment::codes;
use crate::experiment::subject::{Choices, Subject};
use crate::passes::policy::PairPolicy;
use crate::progress::Progress;
use crate::report::document::markdown;
use crate::report::study::codes::{in_words, information, used};
use crate::{Error, Result};
use candle_core::Device;
use clap::Args;
use std::path::PathBuf;

/// Show what a run's codes are used for
///
/// Which codes are used, what each of them promotes, and what they tell about the sources and tastes of the
/// data. Next to what they tell is the value expected by chance. With --prompt, greedy answers are shown: with
/// the prior's mean, and with each of the most used codes.
///
/// Example: lpc codes runs/0123456789abcdef --prompt "Why is the sky blue?"
#[derive(Debug, Args)]
pub(super) struct CodesArguments {
    /// Folder of a run with LPC that holds its model
    run: PathBuf,
    /// A prompt to answer. May be repeated
    #[arg(long)]
    prompt: Vec<String>,
    /// How many of the most used codes answer each prompt
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = values::at_least_1)]
    codes: usize,
    /// Largest number of tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = values::at_least_1)]
    max_new_tokens: usize,
}

pub(super) fn run(arguments: CodesArguments, device: &Device) -> Result<()> {
    let (mut recipe, Subject { loaded, policy, .. }) =
        Subject::open_run(&arguments.run, Choices::default(), device)?;
    if policy.codes().is_none() {
        return Err(Error::argument("codes", "run", arguments.run.display(), "a run with LPC"));
    }
    let read = codes::read(&recipe, &loaded, &policy, &Progress::stderr())?;
    print_line(format_args!("# Codes of {}\n", arguments.run.display()))?;
    print_line(format_args!("{}\n", in_words(&read)))?;
    print_line(
        "Mutual information of p(z|x) with each label, in nats, beside that with labels in random order:\n",
    )?;
    print_line(markdown::table(&information(&read)))?;
    print_line(markdown::table(&used(&read, read.usage.len())))?;

    recipe.evaluation.latent = LatentAtTest::Mean;
    for prompt in &arguments.prompt {
        print_line(format_args!("> {prompt}\n"))?;
        let forced = read.by_use().into_iter().take(arguments.codes).map(Some);
        for code in std::iter::once(None).chain(forced) {
            let predictor = Predictor::new(&policy, Some(&recipe), code)?;
            let ids = tokenize_prompt(prompt, &loaded.tokenizer)?;
            let sampling =
                Sampling { max_new_tokens: arguments.max_new_tokens, temperature: 0.0, top_p: 1.0, seed: 1 };
            let new = generate(&predictor, &loaded.tokenizer, &ids, sampling, 0, |_| Ok(()))?;
            let text = loaded.tokenizer.decode(&new.tokens, true)?;
            let name = code.map_or("prior's mean".into(), |k| format!("code {k}"));
            print_line(format_args!("- {name}: {}", text.trim().replace('\n', " ")))?;
        }
        print_line("")?;
    }
    Ok(())
}
