//! `lpc codes`: what a trained run's codes are for.

use super::CodesArguments;
use super::output::print_line;
use crate::config::LatentAtTest;
use crate::data::tokenize::tokenize_prompt;
use crate::eval::generation::{Sampling, generate};
use crate::eval::predictor::Predictor;
use crate::experiment::{codes, saved};
use crate::progress::Progress;
use crate::report::document::markdown;
use crate::report::study::codes::{in_words, information, used};
use crate::{Error, Result};
use candle_core::Device;

pub fn run(arguments: CodesArguments, device: &Device) -> Result<()> {
    let (mut recipe, loaded, policy) = saved::load(&arguments.run, device)?;
    if policy.codes().is_none() {
        return Err(Error::argument("codes", "run", arguments.run.display(), "a run with LPC"));
    }
    let read = codes::read(&recipe, &loaded, &policy, &Progress::stderr())?;
    print_line(format_args!("# Codes of {}\n", arguments.run.display()))?;
    print_line(format_args!("{}\n", in_words(&read)))?;
    print_line("Nats that p(z|x) tells of each label, against labels in random order:\n")?;
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
