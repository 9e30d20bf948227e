//! What is answered, and who says which answer is better.

use crate::config::{DataSource, World};
use crate::error::{Error, Place, Result};
use crate::eval::generation::Sampling;
use crate::eval::judge::{Client, Limits, ModelOutput, Prompt, read_outputs, read_prompts};
use crate::experiment::dataset::TextPairs;
use crate::files::sha256_file;
use std::path::{Path, PathBuf};

/// Prompts to answer: AlpacaEval has 805, the world's texts are short.
const PROMPTS: usize = 400;

/// Answers are draws from the policy itself.
const SAMPLING: Sampling = Sampling { max_new_tokens: 30, temperature: 1.0, top_p: 1.0, seed: 1 };

pub enum Source<'a> {
    /// The built-in world's test prompts and its true utility.
    World(&'a World),
    Files(&'a Files),
}

impl<'a> Source<'a> {
    /// # Errors
    /// Neither files nor pairs of the built-in world, whose prompts alone have a true utility.
    pub fn of(files: Option<&'a Files>, data: &'a DataSource) -> Result<Self> {
        match (files, data) {
            (Some(files), _) => Ok(Self::Files(files)),
            (None, DataSource::World(world)) => Ok(Self::World(world)),
            (None, _) => {
                let expected = "--prompts, or data of the built-in world";
                Err(Error::argument("table3", "prompts", "none", expected))
            }
        }
    }

    pub fn prompts(&self, text: &TextPairs) -> Vec<String> {
        match self {
            Self::World(_) => world_prompts(text),
            Self::Files(files) => files.prompts.clone(),
        }
    }

    pub fn sampling(&self) -> Sampling {
        match self {
            Self::World(_) => SAMPLING,
            Self::Files(Files { max_new_tokens, .. }) => {
                Sampling { max_new_tokens: *max_new_tokens, temperature: 0.0, top_p: 1.0, seed: 1 }
            }
        }
    }

    /// Answers that a user brought in place of the base model's own.
    pub fn baseline(&self) -> Option<&[ModelOutput]> {
        match self {
            Self::World(_) => None,
            Self::Files(files) => files.baseline.as_deref(),
        }
    }
}

/// Prompts of the user's, and a judge if there is one.
pub struct Files {
    prompts: Vec<String>,
    /// Where they came from, for the report.
    origin: String,
    /// Answers to the prompts, in their order; `None`: the base model's own.
    baseline: Option<Vec<ModelOutput>>,
    max_new_tokens: usize,
    pub(super) endpoint: Option<Endpoint>,
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

    pub fn notes(&self) -> Vec<String> {
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
