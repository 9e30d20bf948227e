//! The downstream benchmarks of Table 1, as the LM Evaluation Harness 0.4.13 runs them by default:
//! what the model reads, and how its answers are scored.

mod arc;
pub mod few_shot;
pub mod filters;
mod gsm8k;
pub mod lines;
mod truthfulqa;
pub mod world;

use crate::Result;
use crate::eval::loglikelihood::Likelihood;
use few_shot::FewShot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The version whose prompts and verdicts these are.
pub const HARNESS: &str = "lm-eval 0.4.13";

/// The text between a context and its continuation.
const TARGET_DELIMITER: &str = " ";

/// By the harness's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Task {
    /// ARC, challenge set: 0-shot, acc and acc_norm
    ArcChallenge,
    /// ARC, easy set: 0-shot, acc and acc_norm
    ArcEasy,
    /// Grade-school mathematics: 5-shot, greedy, exact_match strict and flexible
    Gsm8k,
    /// TruthfulQA: does the best answer have the highest likelihood?
    TruthfulqaMc1,
    /// TruthfulQA: the true answers' share of the likelihood
    TruthfulqaMc2,
}

/// Metrics by name. A value is 0 or 1, but for shares of a likelihood.
pub type Verdicts = BTreeMap<String, f64>;

/// One document as the model is asked about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// 0-based, in the task's file.
    pub index: usize,
    /// 1-based line of the file.
    pub line: usize,
    /// The file's own name for it, if any.
    pub id: Option<String>,
    pub context: String,
    pub question: Question,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Which continuation is the likeliest? The one at `gold` should be.
    Choice { choices: Vec<String>, gold: usize, metrics: &'static [ChoiceMetric] },
    /// Which share of the likelihood do the true ones have?
    Share { choices: Vec<String>, truths: Vec<bool> },
    /// What does the model write, up to a stop string?
    Text { answer: String, written: Written },
}

/// How a text is generated, and what is searched in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Gsm8k,
    /// Of the built-in world.
    World,
}

impl Written {
    pub fn generation(self) -> Generation {
        match self {
            Self::Gsm8k => Generation { stops: &gsm8k::STOPS, max_new_tokens: gsm8k::MAX_NEW_TOKENS },
            Self::World => Generation { stops: &world::STOPS, max_new_tokens: world::MAX_NEW_TOKENS },
        }
    }

    fn filters(self) -> &'static [(&'static str, filters::Filter)] {
        match self {
            Self::Gsm8k => &filters::ALL,
            Self::World => &world::FILTERS,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChoiceMetric {
    /// The highest log-likelihood.
    Acc,
    /// The highest log-likelihood a character of the choice.
    AccNorm,
}

/// How a text is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    pub stops: &'static [&'static str],
    pub max_new_tokens: usize,
}

/// A text's extractions by filter, and their verdicts.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    pub extractions: BTreeMap<String, String>,
    pub verdicts: Verdicts,
}

impl Task {
    pub const ALL: [Self; 5] =
        [Self::ArcChallenge, Self::ArcEasy, Self::Gsm8k, Self::TruthfulqaMc1, Self::TruthfulqaMc2];

    pub fn name(self) -> &'static str {
        match self {
            Self::ArcChallenge => "arc_challenge",
            Self::ArcEasy => "arc_easy",
            Self::Gsm8k => "gsm8k",
            Self::TruthfulqaMc1 => "truthfulqa_mc1",
            Self::TruthfulqaMc2 => "truthfulqa_mc2",
        }
    }

    /// Where the documents lie in a folder of tasks, and on the hub: data set, configuration, split.
    pub fn source(self) -> Source {
        let (folder, hub, config, split) = match self {
            Self::ArcChallenge => ("arc_challenge", "allenai/ai2_arc", "ARC-Challenge", "test"),
            Self::ArcEasy => ("arc_easy", "allenai/ai2_arc", "ARC-Easy", "test"),
            Self::Gsm8k => ("gsm8k", "openai/gsm8k", "main", "test"),
            Self::TruthfulqaMc1 | Self::TruthfulqaMc2 => {
                ("truthfulqa", "truthfulqa/truthful_qa", "multiple_choice", "validation")
            }
        };
        let few_shot = (self == Self::Gsm8k).then_some("train");
        Source { folder, hub, config, split, few_shot }
    }

    /// Every document of the task's file; `few_shot` has the examples of a task that shows some.
    ///
    /// Errors: a line that is no document (file, line and field are named), no document at all.
    pub fn documents(self, file: &Path, few_shot: Option<&Path>) -> Result<Vec<Document>> {
        match self {
            Self::ArcChallenge | Self::ArcEasy => arc::documents(file),
            Self::Gsm8k => {
                let missing = || crate::Error::argument("gsm8k", "few-shot file", "none", "train.jsonl");
                gsm8k::documents(file, &mut FewShot::new(&gsm8k::shots(few_shot.ok_or_else(missing)?)?)?)
            }
            Self::TruthfulqaMc1 => truthfulqa::documents(file, truthfulqa::Targets::Best),
            Self::TruthfulqaMc2 => truthfulqa::documents(file, truthfulqa::Targets::All),
        }
    }
}

/// Where a task's documents are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    pub folder: &'static str,
    pub hub: &'static str,
    pub config: &'static str,
    pub split: &'static str,
    pub few_shot: Option<&'static str>,
}

impl Document {
    /// The question alone, without examples before it and the marks around it.
    pub fn asked(&self) -> &str {
        let marks = [("Question: ", "\nAnswer:"), ("Q: ", "\nA:")];
        let alone = |(begin, end): (&str, &str)| {
            let before = self.context.strip_suffix(end)?;
            let shown = format!("\n\n{begin}");
            Some(before.rsplit(shown.as_str()).next()?.trim_start_matches(begin))
        };
        marks.into_iter().find_map(alone).unwrap_or(&self.context)
    }

    /// The texts to score after the context. None if a text is generated.
    pub fn continuations(&self) -> Vec<String> {
        match &self.question {
            Question::Choice { choices, .. } | Question::Share { choices, .. } => {
                choices.iter().map(|choice| format!("{TARGET_DELIMITER}{choice}")).collect()
            }
            Question::Text { .. } => vec![],
        }
    }

    /// The verdicts on the choices' likelihoods. None if a text is generated.
    ///
    /// Numerics: ties go to the first. The share is taken relative to the likeliest choice, so
    /// that very unlikely answers have one, too.
    pub fn judge(&self, likelihoods: &[Likelihood]) -> Verdicts {
        let lls: Vec<f64> = likelihoods.iter().map(|l| l.loglikelihood).collect();
        match &self.question {
            Question::Choice { choices, gold, metrics } => {
                let verdict = |metric: &ChoiceMetric| {
                    let (name, best) = match metric {
                        ChoiceMetric::Acc => ("acc", first_best(lls.iter().copied())),
                        ChoiceMetric::AccNorm => {
                            let a_character =
                                lls.iter().zip(choices).map(|(l, c)| l / c.chars().count() as f64);
                            ("acc_norm", first_best(a_character))
                        }
                    };
                    (name.to_string(), f64::from(u8::from(best == Some(*gold))))
                };
                metrics.iter().map(verdict).collect()
            }
            Question::Share { truths, .. } => {
                let highest = lls.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let mass: Vec<f64> = lls.iter().map(|l| (l - highest).exp()).collect();
                let total: f64 = mass.iter().sum();
                let share: f64 = mass.iter().zip(truths).filter(|(_, t)| **t).map(|(m, _)| m / total).sum();
                Verdicts::from([("acc".to_string(), share)])
            }
            Question::Text { .. } => Verdicts::new(),
        }
    }

    /// The verdicts on a generated text, by filter. None if choices are scored.
    pub fn extract(&self, text: &str) -> Extracted {
        let (mut extractions, mut verdicts) = (BTreeMap::new(), Verdicts::new());
        if let Question::Text { answer, written } = &self.question {
            for (name, found) in written.filters().iter().map(|(name, filter)| (name, filter(text))) {
                let right = filters::normalised(&found) == filters::normalised(answer);
                verdicts.insert(format!("exact_match,{name}"), f64::from(u8::from(right)));
                extractions.insert(name.to_string(), found);
            }
        }
        Extracted { extractions, verdicts }
    }
}

/// The place of the first of the largest values.
fn first_best(values: impl Iterator<Item = f64>) -> Option<usize> {
    let better = |best: Option<(usize, f64)>, (i, v): (usize, f64)| match best {
        Some((_, highest)) if highest >= v => best,
        _ => Some((i, v)),
    };
    values.enumerate().fold(None, better).map(|(i, _)| i)
}
