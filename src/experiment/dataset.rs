//! A recipe's pairs, tokenised, with what the report says of them.

use crate::config::{Cues, DataSource, EmptyCompletion, IdenticalCompletions, Taste, Truncation, World};
use crate::data::inspect::unread_keys;
use crate::data::noise::flip;
use crate::data::overlap::{contradictions, shared};
use crate::data::pairs::{Pair, PairReader};
use crate::data::rows::split_files;
use crate::data::tokenize::{TokenReport, TokenizedPair, tokenize};
use crate::data::world;
use crate::error::Place;
use crate::files::sha256;
use crate::model::load::Loaded;
use crate::text::tokenizer::TextTokenizer;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Which labels of a file are flipped is part of the data: the same in every run.
const FLIP_SEED: u64 = 1;

fn flip_note(rate: f64, marked: bool) -> Option<String> {
    let marked = if marked { "marked" } else { "not marked" };
    (rate > 0.0).then(|| format!("{rate} of the training labels are flipped, {marked}."))
}

/// Ids that a note names.
const NAMED: usize = 5;

/// Pairs as text.
#[derive(Default)]
pub struct TextPairs {
    pub train: Vec<Pair>,
    pub test: Vec<Pair>,
    /// One a test pair where the truth is known: the probability of the label as it is.
    pub bayes: Option<Vec<f64>>,
    /// For the report.
    pub notes: Vec<String>,
    /// What becomes of training pairs whose completions are the same tokens.
    pub identical: IdenticalCompletions,
}

/// Pairs as one model reads them.
pub struct PairData {
    pub train: Vec<TokenizedPair>,
    pub test: Vec<TokenizedPair>,
    pub test_text: Vec<Pair>,
    pub bayes: Option<Vec<f64>>,
    /// What became of the tokens, in training and test, before any pair was left out.
    pub tokens: [TokenReport; 2],
    /// Ids of the first pairs whose completions are the same tokens, in training and test.
    identical_ids: [Vec<String>; 2],
    /// Keys of messages that the model's template does not read, with the pairs that have them.
    unread_keys: BTreeMap<String, usize>,
    /// SHA-256 over tokens, test ids and truth.
    pub fingerprint: String,
}

impl TextPairs {
    /// Errors: a file that is missing or faulty (file, line and field are named), an empty set.
    pub fn load(source: &DataSource) -> Result<Self> {
        match source {
            DataSource::World(settings) => Self::of_world(settings),
            DataSource::Jsonl {
                folder,
                limit,
                empty_completion,
                flip_rate,
                flip_marked,
                identical_completions,
            } => {
                let mut text = Self::of_files(folder, *limit, *empty_completion)?;
                flip(&mut text.train, *flip_rate, *flip_marked, FLIP_SEED)?;
                text.notes.extend(flip_note(*flip_rate, *flip_marked));
                Ok(Self { identical: *identical_completions, ..text })
            }
        }
    }

    fn of_world(settings: &World) -> Result<Self> {
        let data = world::generate(settings)?;
        let as_labelled = |truth: &world::Truth| match truth.utility_chosen > truth.utility_rejected {
            true => truth.bayes,
            false => 1.0 - truth.bayes,
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
            identical: IdenticalCompletions::Train,
        })
    }

    /// The pairs of a folder as they are, with notes of what was left out and what the splits share.
    fn of_files(folder: &Path, limit: Option<usize>, empty_completion: EmptyCompletion) -> Result<Self> {
        let mut notes = vec![];
        let mut read = |split: &str| -> Result<Vec<Pair>> {
            let files = split_files(folder, split)?;
            let read = PairReader::open(&files, empty_completion)?.read_all(limit)?;
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
            notes.extend(read.notes().iter().map(|note| format!("{split}: {note}.")));
            Ok(read.pairs)
        };
        let (train, test) = (read("train")?, read("test")?);
        for (split, pairs) in [("train", &train), ("test", &test)] {
            notes.extend(contradictions(pairs).map(|note| format!("{split}: {note}.")));
        }
        notes.extend(shared(&test, &train).note("test", "training").map(|note| note + "."));
        Ok(Self { train, test, notes, ..Self::default() })
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
        let mut train = tokenize(&self.train, tokenizer, truncation)?;
        let test = tokenize(&self.test, tokenizer, truncation)?;
        let tokens = [TokenReport::of(&train), TokenReport::of(&test)];
        let named = |report: &TokenReport, pairs: &[Pair]| {
            report.identical.iter().take(NAMED).map(|&i| pairs[i].id.clone()).collect()
        };
        let identical_ids = [named(&tokens[0], &self.train), named(&tokens[1], &self.test)];
        if self.identical == IdenticalCompletions::LeaveOut && !train.is_empty() {
            train.retain(|pair| !pair.is_identical());
            if train.is_empty() {
                let expected = "a training pair with two different completions as truncated";
                return Err(Error::argument("recipe", "data.identical_completions", "leave-out", expected));
            }
        }
        let ids: Vec<&str> = self.test.iter().map(|p| p.id.as_str()).collect();
        let content = serde_json::to_vec(&(&train, &test, ids, &self.bayes))
            .map_err(|e| Error::argument("fingerprint", "pairs", e, "plain data"))?;
        Ok(PairData {
            tokens,
            identical_ids,
            unread_keys: unread_keys(self.train.iter().chain(&self.test), tokenizer),
            fingerprint: sha256(&content),
            test_text: self.test.clone(),
            bayes: self.bayes.clone(),
            train,
            test,
        })
    }
}

impl PairData {
    /// What became of the pairs as one model reads them, for the report: what was truncated and, where there is
    /// any, what else a reader of its numbers should know.
    pub fn notes(&self, model: &str, truncation: &Truncation) -> Vec<String> {
        let [train, test] = [0, 1].map(|split| {
            let t = &self.tokens[split];
            format!(
                "{} prompts and {} pairs' completions of {}",
                t.prompts_truncated, t.completions_truncated, t.pairs
            )
        });
        let mut notes = vec![format!(
            "{model}: truncated to {} tokens ({} for the prompt): {train} in training; {test} in test.",
            truncation.max_length, truncation.max_prompt_length
        )];
        for (split, name) in ["training", "test"].into_iter().enumerate() {
            let report = &self.tokens[split];
            let mut count = |pairs: usize, what: &str| {
                if pairs > 0 {
                    notes.push(format!("{model}: {pairs} of {} {name} pairs {what}.", report.pairs));
                }
            };
            let mut ids = self.identical_ids[split].join(", ");
            if report.identical.len() > NAMED {
                ids += ", …";
            }
            let left_out = match split {
                0 if self.train.len() < report.pairs => "they are left out",
                0 => "they are trained on all the same",
                _ => "their margin is 0 and their verdict wrong",
            };
            let what = format!("have two completions of the same tokens as truncated ({ids}); {left_out}");
            count(report.identical.len(), &what);
            count(
                report.boundaries_moved,
                "have other tokens at the end of the prompt with an answer behind it",
            );
            count(report.dressed, "held the chat template already and are not dressed again");
        }
        if !self.unread_keys.is_empty() {
            let keys: Vec<String> =
                self.unread_keys.iter().map(|(key, pairs)| format!("{key} ({pairs} pairs)")).collect();
            notes.push(format!(
                "{model}: keys of messages that its template does not read: {}.",
                keys.join(", ")
            ));
        }
        notes
    }
}
