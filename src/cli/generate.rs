//! `lpc generate`: continuations from a trained run or a base model.

use super::output::{print, print_line};
use super::shared::{DateArgument, FOR_ALPACA_EVAL, partial};
use super::values;
use crate::config::LatentAtTest;
use crate::data::tokenize::tokenize_prompt;
use crate::error::Place;
use crate::eval::generation::{Answer, Continuation, Cut, Sampling, answer, generate};
use crate::eval::journal::Journal;
use crate::eval::judge::{ModelOutput, read_prompts, write_outputs};
use crate::eval::predictor::Predictor;
use crate::experiment::subject::{Choices, Subject};
use crate::files::sha256;
use crate::progress::Progress;
use crate::{Error, Result};
use candle_core::Device;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Continue prompts with a trained run or a base model
///
/// A prompt that leaves no room in the context is not answered; the other prompts are. In a set of --prompts
/// it gets an empty output and a finish_reason. For a --prompt the exit status is 1.
///
/// Example: lpc generate runs/0123456789abcdef --prompt "Why is the sky blue?"
///
/// Example: lpc generate runs/0123456789abcdef --prompts alpaca_eval.json --out model_outputs.json
#[derive(Debug, Args)]
pub(super) struct GenerateArguments {
    /// Folder of a run that holds its model, a GGUF file or wheel, a Hugging Face folder, or a model of the
    /// hub: organisation/name[@revision]
    model: PathBuf,
    /// A prompt. May be repeated
    #[arg(long, required_unless_present = "prompts")]
    prompt: Vec<String>,
    /// A set of prompts, such as AlpacaEval's: a JSON array of objects with instruction. Needs --out
    #[arg(long, value_name = "FILE", requires = "out", conflicts_with = "prompt")]
    prompts: Option<PathBuf>,
    /// File for the answers to --prompts, in the format of AlpacaEval's model_outputs.json. Unfinished work
    /// is kept in FILE.partial, and the same command continues it
    #[arg(long, value_name = "FILE", requires = "prompts", conflicts_with = "prompt")]
    out: Option<PathBuf>,
    /// Name of the model in --out [default: MODEL]
    #[arg(long, value_name = "GENERATOR", requires = "out")]
    name: Option<String>,
    /// Largest number of tokens of an answer. Answers that are cut here are counted, and marked with finish_reason in
    /// --out [default: 128 for --prompt, 2048 for --prompts]
    #[arg(long, value_name = "N", value_parser = values::at_least_1)]
    max_new_tokens: Option<usize>,
    /// Temperature of the draw. 0 (or less than 0.00001) takes the likeliest token each time
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true, value_parser = values::temperature)]
    temperature: f64,
    /// Draw only from the likeliest tokens whose probabilities add up to this
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, value_parser = values::top_p)]
    top_p: f64,
    /// Seed of the drawn tokens, and of the latent where it is sampled
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How the latent z of a run with LPC is chosen, instead of the recipe's way
    #[arg(long, value_enum)]
    latent: Option<LatentAtTest>,
    /// Use this code of a run with LPC. The first code is 0
    #[arg(long, value_name = "K", conflicts_with = "latent")]
    code: Option<usize>,
    #[command(flatten)]
    date: DateArgument,
}

pub(super) fn run(arguments: GenerateArguments, device: &Device) -> Result<()> {
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
                let ids = tokenize_prompt(prompt, &writer.subject.loaded.tokenizer)?;
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

/// Most tokens of an answer to a --prompt, unless the command line says otherwise.
const TO_READ: usize = 128;

/// A model that writes.
struct Writer {
    subject: Subject,
    code: Option<usize>,
    sampling: Sampling,
    /// Everything that decides what it writes, except the prompt.
    identity: String,
}

impl Writer {
    fn load(arguments: &GenerateArguments, device: &Device) -> Result<Self> {
        let sampling = Sampling {
            max_new_tokens: arguments.max_new_tokens.unwrap_or(match arguments.prompts {
                Some(_) => FOR_ALPACA_EVAL,
                None => TO_READ,
            }),
            temperature: arguments.temperature,
            top_p: arguments.top_p,
            seed: arguments.seed,
        };
        let choices = Choices { template_date: arguments.date.as_deref(), latent: arguments.latent };
        let subject = Subject::open(&arguments.model, choices, device)?;
        let code = arguments.code;
        let mut identity = format!("{}\n{sampling:?}\n{code:?}\n", subject.identity()?);
        if let Some(date) = subject.loaded.tokenizer.template_date() {
            identity += &date.to_string();
        }
        Ok(Self { subject, code, sampling, identity })
    }

    fn predictor(&self) -> Result<Predictor<'_>> {
        Predictor::new(&self.subject.policy, self.subject.recipe.as_ref(), self.code)
    }

    /// Prints a prompt and, as it is written, its continuation; how fast it came and whether it was cut goes
    /// to stderr.
    fn show(&self, predictor: &Predictor<'_>, index: usize, prompt: &str, ids: &[u32]) -> Result<()> {
        let tokenizer = &self.subject.loaded.tokenizer;
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
        let partial = partial(out);
        let journal: Journal<Answer> = Journal::open(&partial)?;
        let progress = Progress::stderr();
        let task = progress.task(format!("answers of {name}"), prompts.len());
        let (predictor, tokenizer) = (self.predictor()?, &self.subject.loaded.tokenizer);
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
