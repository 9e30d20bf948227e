//! `lpc generate`: continuations from a trained run or a base model.

use super::GenerateArguments;
use super::output::{print, print_line};
use super::values::model_source;
use crate::config::{Precision, Recipe};
use crate::data::tokenize::tokenize_prompt;
use crate::error::Place;
use crate::eval::generation::{Answer, Continuation, Cut, Sampling, answer, generate};
use crate::eval::journal::Journal;
use crate::eval::judge::{ModelOutput, read_prompts, write_outputs};
use crate::eval::predictor::Predictor;
use crate::experiment::prepared::reference_policy;
use crate::experiment::saved;
use crate::files::{sha256, sha256_file};
use crate::model::load::{self, Loaded};
use crate::model::save::HEADS;
use crate::passes::policy::Policy;
use crate::progress::Progress;
use crate::{Error, Result};
use candle_core::Device;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub fn run(arguments: GenerateArguments, device: &Device) -> Result<()> {
    let writer = Writer::load(&arguments, device)?;
    match (&arguments.prompts, &arguments.out) {
        (Some(prompts), Some(out)) => {
            let name = arguments.name.unwrap_or_else(|| arguments.model.display().to_string());
            writer.answer_set(prompts, out, &name)
        }
        _ => {
            let predictor = writer.predictor()?;
            // A prompt that cannot be answered is nothing to the others, but the command says so.
            let mut refused = None;
            for (index, prompt) in arguments.prompt.iter().enumerate() {
                let ids = tokenize_prompt(prompt, &writer.loaded.tokenizer)?;
                match Cut::of_prompt(&predictor, &ids) {
                    None => writer.show(&predictor, index, prompt, &ids)?,
                    Some(_) => refused = refused.or(Some((index, ids.len()))),
                }
            }
            let Some((index, tokens)) = refused else { return Ok(()) };
            let expected = format!("1 to {} tokens", predictor.inference.context() - 1);
            let which = format!("--prompt {}", index + 1);
            Err(Error::argument("generate", which, format!("{tokens} tokens"), expected))
        }
    }
}

/// Tokens of an answer at most, unless the command line says otherwise: to read, and for AlpacaEval.
const TO_READ: usize = 128;
pub(super) const FOR_ALPACA_EVAL: usize = 2048;

/// A model that writes.
struct Writer {
    recipe: Option<Recipe>,
    loaded: Loaded,
    policy: Policy,
    code: Option<usize>,
    sampling: Sampling,
    /// Whatever decides what it writes, but for the prompt.
    identity: String,
}

impl Writer {
    fn load(arguments: &GenerateArguments, device: &Device) -> Result<Self> {
        let folder = &arguments.model;
        let sampling = Sampling {
            max_new_tokens: arguments.max_new_tokens.unwrap_or(match arguments.prompts {
                Some(_) => FOR_ALPACA_EVAL,
                None => TO_READ,
            }),
            temperature: arguments.temperature,
            top_p: arguments.top_p,
            seed: arguments.seed,
        };
        let (recipe, loaded, policy) = if saved::is_run(folder) {
            let (mut recipe, mut loaded, policy) = saved::load(folder, device)?;
            arguments.date.apply(&mut loaded.tokenizer)?;
            recipe.evaluation.latent = arguments.latent.unwrap_or(recipe.evaluation.latent);
            (Some(recipe), loaded, policy)
        } else {
            let mut loaded = load::load(&model_source(folder))?;
            arguments.date.apply(&mut loaded.tokenizer)?;
            let policy = reference_policy(&loaded, Precision::F32, device)?;
            (None, loaded, policy)
        };
        if let (Some(_), None) = (arguments.latent, &policy.heads) {
            return Err(Error::argument("generate", "--latent", "a plain model", "a run with LPC"));
        }
        let code = arguments.code;
        let latent = recipe.as_ref().map(|r| r.evaluation.latent);
        let mut identity = format!("{}\n{sampling:?}\n{latent:?}\n{code:?}\n", loaded.fingerprint);
        if let Some(date) = loaded.tokenizer.template_date() {
            identity += &date.to_string();
        }
        let of_a_run = [folder.join("recipe.toml"), folder.join("model").join(HEADS)];
        for file in of_a_run.iter().filter(|file| recipe.is_some() && file.is_file()) {
            identity += &sha256_file(file)?;
        }
        Ok(Self { recipe, loaded, policy, code, sampling, identity })
    }

    fn predictor(&self) -> Result<Predictor<'_>> {
        Predictor::new(&self.policy, self.recipe.as_ref(), self.code)
    }

    /// Prints a prompt and, as it is written, its continuation; how fast it came and whether it was cut goes
    /// to stderr.
    fn show(&self, predictor: &Predictor<'_>, index: usize, prompt: &str, ids: &[u32]) -> Result<()> {
        let tokenizer = &self.loaded.tokenizer;
        print_line(format_args!("> {prompt}"))?;
        let mut shown = String::new();
        let begun = Instant::now();
        let new = generate(predictor, tokenizer, ids, self.sampling, index, |text| {
            let new = settled(&shown, text);
            print(new)?;
            shown.push_str(new);
            Ok(())
        });
        let Continuation { tokens, cut } = new?;
        let text = tokenizer.decode(&tokens, true)?;
        // What was held back has no continuation any more.
        print(text.strip_prefix(&shown).unwrap_or_default())?;
        print("\n\n")?;
        let seconds = begun.elapsed().as_secs_f64();
        let (tokens, speed) = (tokens.len(), tokens.len() as f64 / seconds);
        let cut = Cut::count([cut]).map_or(String::new(), |cut| format!("; {cut}"));
        eprintln!("{tokens} tokens in {seconds:.3} s, prompt included: {speed:.1} tokens/s{cut}");
        Ok(())
    }

    /// Answers every prompt of a set; answers are kept as they come, so that another try goes on.
    fn answer_set(&self, prompts: &Path, out: &Path, name: &str) -> Result<()> {
        let file = prompts;
        let prompts = read_prompts(file)?;
        let mut partial = out.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let journal: Journal<Answer> = Journal::open(&partial)?;
        let progress = Progress::stderr();
        let task = progress.task(format!("answers of {name}"), prompts.len());
        let (predictor, tokenizer) = (self.predictor()?, &self.loaded.tokenizer);
        let mut outputs = vec![];
        for (index, prompt) in prompts.into_iter().enumerate() {
            let ids = tokenize_prompt(&prompt.instruction, tokenizer).map_err(|e| match e {
                Error::Argument { expected, got, .. } => {
                    let place = Place::file(file).field(format!("[{index}].instruction"));
                    Error::input(place, expected, got)
                }
                e => e,
            })?;
            let key = sha256(format!("{}\n{index}\n{ids:?}", self.identity).as_bytes());
            let Answer { output, cut } = match journal.get(&key) {
                Some(answer) => answer,
                None => {
                    let answer = answer(&predictor, tokenizer, &ids, self.sampling, index);
                    let answer = answer.map_err(|e| match e {
                        Error::Interrupted { .. } => {
                            let resume =
                                format!("{index} answers are kept; the same command goes on from there");
                            Error::Interrupted { resume }
                        }
                        e => e,
                    })?;
                    journal.insert(&key, answer.clone())?;
                    answer
                }
            };
            task.advance(1, || format!("{} characters", output.chars().count()));
            outputs.push(ModelOutput {
                dataset: prompt.dataset,
                instruction: prompt.instruction,
                output,
                generator: name.into(),
                finish_reason: cut,
            });
        }
        drop(task);
        write_outputs(out, &outputs)?;
        drop(journal);
        std::fs::remove_file(&partial).map_err(Error::io(&partial))?;
        let cuts = Cut::count(outputs.iter().map(|o| o.finish_reason));
        let cuts = cuts.map_or(String::new(), |cuts| format!(": {cuts}, as their `finish_reason` says"));
        print_line(format_args!("{}: {} answers of {name}{cuts}", out.display(), outputs.len()))?;
        if outputs.iter().all(|o| matches!(o.finish_reason, Some(Cut::PromptTooLong | Cut::PromptEmpty))) {
            let expected = format!("a prompt of 1 to {} tokens", predictor.inference.context() - 1);
            return Err(Error::input(Place::file(file), expected, format!("none among {}", outputs.len())));
        }
        Ok(())
    }
}

/// What `text` adds to `shown`, once it is certain: a character of several tokens shows when it is
/// whole.
fn settled<'a>(shown: &str, text: &'a str) -> &'a str {
    text.strip_prefix(shown).filter(|new| !new.ends_with('\u{fffd}')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::settled;

    #[test]
    fn a_partial_character_is_held_back() {
        assert_eq!(settled("caf", "caf\u{fffd}"), "");
        assert_eq!(settled("caf", "café"), "é");
        assert_eq!(settled("a", "a\u{fffd}b"), "\u{fffd}b");
        assert_eq!(settled("ab", "a"), "");
    }
}
