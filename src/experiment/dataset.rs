//! A recipe's pairs, tokenised, with what the report says of them.

use crate::config::{Cues, DataSource, Taste, Truncation};
use crate::data::noise::flip;
use crate::data::pairs::{Pair, PairReader};
use crate::data::rows::split_files;
use crate::data::tokenize::{TokenReport, TokenizedPair, tokenize};
use crate::data::world;
use crate::error::Place;
use crate::model::load::Loaded;
use crate::model::tokenizer::TextTokenizer;
use crate::report::files::sha256;
use crate::{Error, Result};

/// Which labels of a file are flipped is part of the data: the same in every run.
const FLIP_SEED: u64 = 1;

fn flip_note(rate: f64, marked: bool) -> Option<String> {
    let marked = if marked { "marked" } else { "not marked" };
    (rate > 0.0).then(|| format!("{rate} of the training labels are flipped, {marked}."))
}

/// Pairs as text.
pub struct TextPairs {
    pub train: Vec<Pair>,
    pub test: Vec<Pair>,
    /// One a test pair where the truth is known: the probability of the label as it is.
    pub bayes: Option<Vec<f64>>,
    /// For the report.
    pub notes: Vec<String>,
}

/// Pairs as one model reads them.
pub struct PairData {
    pub train: Vec<TokenizedPair>,
    pub test: Vec<TokenizedPair>,
    pub test_text: Vec<Pair>,
    pub bayes: Option<Vec<f64>>,
    /// What became of the tokens, in training and test.
    pub tokens: [TokenReport; 2],
    /// SHA-256 over tokens, test ids and truth.
    pub fingerprint: String,
}

impl TextPairs {
    /// Errors: a file that is missing or faulty (file, line and field are named), an empty set.
    pub fn load(source: &DataSource) -> Result<Self> {
        match source {
            DataSource::World(settings) => {
                let data = world::generate(settings)?;
                let as_labelled = |truth: &world::Truth| {
                    if truth.utility_chosen > truth.utility_rejected {
                        truth.bayes
                    } else {
                        1.0 - truth.bayes
                    }
                };
                let mut notes = vec![format!(
                    "Data: the built-in preference world (seed {}), {} training and {} test pairs.",
                    settings.seed, settings.train, settings.test
                )];
                notes.extend(flip_note(settings.flip_rate, settings.flip_marked));
                if settings.taste == Taste::One {
                    notes.push("Every source rewards politeness alone.".into());
                }
                if settings.cues == Cues::Exchanged {
                    notes.push("Every pair has another's prompt.".into());
                }
                Ok(Self {
                    bayes: Some(data.test.iter().map(|p| as_labelled(&p.truth)).collect()),
                    train: data.train.into_iter().map(|p| p.pair).collect(),
                    test: data.test.into_iter().map(|p| p.pair).collect(),
                    notes,
                })
            }
            DataSource::Jsonl { folder, limit, empty_completion, flip_rate, flip_marked } => {
                let mut notes = vec![];
                let mut read = |split: &str| -> Result<Vec<Pair>> {
                    let files = split_files(folder, split)?;
                    let read = PairReader::open(&files, *empty_completion)?.read_all(*limit)?;
                    if read.pairs.is_empty() {
                        return Err(Error::input(Place::file(&files[0]), "at least one pair", "none"));
                    }
                    let bounded = limit.map_or(String::new(), |n| format!(" (limit {n})"));
                    let left_out: String = read
                        .left_out_by_reason()
                        .iter()
                        .map(|(reason, rows)| format!(", {rows} left out {reason}"))
                        .collect();
                    notes.push(format!(
                        "{split}: {} pairs{bounded}{left_out}, {} with two identical completions.",
                        read.pairs.len(),
                        read.identical
                    ));
                    Ok(read.pairs)
                };
                let (mut train, test) = (read("train")?, read("test")?);
                flip(&mut train, *flip_rate, *flip_marked, FLIP_SEED)?;
                notes.extend(flip_note(*flip_rate, *flip_marked));
                Ok(Self { train, test, bayes: None, notes })
            }
        }
    }

    /// Tokenised for one model. Errors: a prompt or completion without a token, a truncation
    /// that is longer than the model's context.
    pub fn tokenized(&self, model: &Loaded, truncation: &Truncation) -> Result<PairData> {
        self.tokenized_by(&model.tokenizer, model.config.max_position_embeddings, truncation)
    }

    /// [`TextPairs::tokenized`] by what it takes of a model: its tokenizer and its context's length.
    pub fn tokenized_by(
        &self,
        tokenizer: &TextTokenizer,
        context: usize,
        truncation: &Truncation,
    ) -> Result<PairData> {
        if truncation.max_length > context {
            let expected = format!("at most the model's context of {context}");
            return Err(Error::argument("recipe", "truncation.max_length", truncation.max_length, expected));
        }
        let train = tokenize(&self.train, tokenizer, truncation)?;
        let test = tokenize(&self.test, tokenizer, truncation)?;
        let ids: Vec<&str> = self.test.iter().map(|p| p.id.as_str()).collect();
        let content = serde_json::to_vec(&(&train, &test, ids, &self.bayes))
            .map_err(|e| Error::argument("fingerprint", "pairs", e, "plain data"))?;
        Ok(PairData {
            tokens: [TokenReport::of(&train), TokenReport::of(&test)],
            fingerprint: sha256(&content),
            test_text: self.test.clone(),
            bayes: self.bayes.clone(),
            train,
            test,
        })
    }
}

impl PairData {
    /// What was truncated, for the report.
    pub fn truncation_note(&self, model: &str, truncation: &Truncation) -> String {
        let [train, test] = [0, 1].map(|split| {
            let t = &self.tokens[split];
            format!(
                "{} prompts and {} pairs' completions of {}",
                t.prompts_truncated, t.completions_truncated, t.pairs
            )
        });
        format!(
            "{model}: truncated to {} tokens ({} for the prompt): {train} in training; {test} in test.",
            truncation.max_length, truncation.max_prompt_length
        )
    }
}
