//! Runs a task on a model: scores or generates an answer to every document, and keeps it.

pub mod data;
pub mod summary;

use crate::error::{Error, Result};
use crate::eval::generation::{Prompt, cut_at_stops, generate_until};
use crate::eval::journal::Journal;
use crate::eval::loglikelihood::{Encoded, Likelihood, Scorer, encode};
use crate::eval::predictor::Predictor;
use crate::eval::tasks::{Document, Extracted, Question, Task, Verdicts};
use crate::files::sha256;
use crate::interrupt;
use crate::progress::Task as Bar;
use crate::text::tokenizer::TextTokenizer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most tokens of contexts in one pass.
const TOKENS_A_PASS: usize = 768;

/// The result of a model on one document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub task: String,
    /// 0-based, in the task's file.
    pub doc: usize,
    /// 1-based line of the file.
    pub line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// SHA-256 of the context.
    pub prompt: String,
    #[serde(flatten)]
    pub answer: Answer,
    pub verdicts: Verdicts,
    /// Whether the context was cut at its beginning to fit the model's window.
    pub truncated: bool,
    /// How z was chosen. Absent for a plain model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latent: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One for each choice.
    Choices(Vec<Likelihood>),
    Generated {
        text: String,
        extractions: BTreeMap<String, String>,
    },
}

/// A model as a task sees it.
pub struct Subject<'s, 'a> {
    pub predictor: &'s Predictor<'a>,
    pub tokenizer: &'s TextTokenizer,
    /// Seed of what the model draws, if it draws.
    pub seed: u64,
    /// How z is chosen, for the records. None for a plain model.
    pub latent: Option<String>,
    /// Everything that decides the answers. Records with another identity are not reused.
    pub identity: String,
}

/// The record of every document, in their order. Records that are in `journal` are not computed again.
///
/// Errors: a document that the model cannot read (its line is named), or an interruption. Nothing is lost by it.
pub fn run(
    task: Task,
    documents: &[Document],
    subject: &Subject<'_, '_>,
    journal: &Journal<Record>,
    bar: &Bar,
) -> Result<Vec<Record>> {
    let keys: Vec<String> = documents.iter().map(|d| key(task, d, subject)).collect();
    let waits = |i: usize| journal.get(&keys[i]).is_none();
    let (texts, choices): (Vec<usize>, Vec<usize>) =
        (0..documents.len()).partition(|&i| matches!(documents[i].question, Question::Text { .. }));
    let texts: Vec<usize> = texts.into_iter().filter(|&i| waits(i)).collect();
    bar.advance((0..documents.len()).filter(|&i| !waits(i)).count(), || "kept from before".into());
    let stopped = |e| match e {
        Error::Interrupted { .. } => {
            Error::Interrupted { resume: "answers are kept; the same command goes on from there".into() }
        }
        e => e,
    };
    let keep = |records: Vec<(usize, Record)>| {
        let n = records.len();
        journal.insert_all(records.into_iter().map(|(i, record)| (keys[i].clone(), record)))?;
        bar.advance(n, || task.name().into());
        Ok(())
    };
    score(task, documents, choices, subject, waits, keep).map_err(stopped)?;
    write(task, documents, texts, subject, keep).map_err(stopped)?;
    let record = |key: &String| {
        journal
            .get(key)
            .ok_or_else(|| Error::argument("eval", "document", "none", "a record of every document"))
    };
    keys.iter().map(record).collect()
}

fn key(task: Task, document: &Document, subject: &Subject<'_, '_>) -> String {
    let asked = (task, document.index, &document.context, format!("{:?}", document.question));
    sha256(format!("{}\n{asked:?}", subject.identity).as_bytes())
}

fn record(
    task: Task,
    document: &Document,
    subject: &Subject<'_, '_>,
    answer: Answer,
    verdicts: Verdicts,
    truncated: bool,
) -> Record {
    Record {
        task: task.name().into(),
        doc: document.index,
        line: document.line,
        id: document.id.clone(),
        prompt: sha256(document.context.as_bytes()),
        answer,
        verdicts,
        truncated,
        latent: subject.latent.clone(),
    }
}

/// Says which document is at fault.
fn named(task: Task, document: &Document) -> impl Fn(Error) -> Error {
    let document = format!("{} document on line {}", task.name(), document.line);
    move |e| match e {
        Error::Argument { op, argument, got, expected } => {
            Error::Argument { op, argument: format!("{argument} of the {document}"), got, expected }
        }
        e => e,
    }
}

/// Scores choices, the longest documents first, so that the highest use of memory comes first. Passes are made of all
/// documents, even those already done, so that numbers do not depend on interruptions.
fn score(
    task: Task,
    documents: &[Document],
    choices: Vec<usize>,
    subject: &Subject<'_, '_>,
    waits: impl Fn(usize) -> bool,
    keep: impl Fn(Vec<(usize, Record)>) -> Result<()>,
) -> Result<()> {
    let window = subject.predictor.inference.context();
    if !choices.iter().any(|&i| waits(i)) {
        return Ok(());
    }
    let encoded = choices.into_iter().map(|i| {
        let document = &documents[i];
        let encoded = encode(subject.tokenizer, &document.context, &document.continuations(), window);
        Ok((i, encoded.map_err(named(task, document))?))
    });
    let mut encoded: Vec<(usize, Encoded)> = encoded.collect::<Result<_>>()?;
    encoded.sort_by_key(|(i, e)| (std::cmp::Reverse(e.tokens()), *i));
    let scorer = Scorer::new(subject.predictor, &encoded.iter().map(|(_, e)| e).collect::<Vec<_>>())?;
    let mut rest = encoded.as_slice();
    while !rest.is_empty() {
        interrupt::check("evaluation")?;
        let mut tokens = 0;
        let fits = rest.iter().take_while(|(_, e)| {
            tokens += scorer.own_tokens(e);
            tokens <= TOKENS_A_PASS
        });
        let (batch, later) = rest.split_at(fits.count().max(1));
        rest = later;
        if !batch.iter().any(|(i, _)| waits(*i)) {
            continue;
        }
        let streams: Vec<String> =
            batch.iter().map(|(i, _)| format!("gumbel/{}/{}", task.name(), documents[*i].index)).collect();
        let asked: Vec<&Encoded> = batch.iter().map(|(_, e)| e).collect();
        let scored = scorer.score(&asked, subject.seed, &streams)?;
        let records = batch.iter().zip(scored).map(|((i, encoded), likelihoods)| {
            let verdicts = documents[*i].judge(&likelihoods);
            (
                *i,
                record(
                    task,
                    &documents[*i],
                    subject,
                    Answer::Choices(likelihoods),
                    verdicts,
                    encoded.truncated > 0,
                ),
            )
        });
        keep(records.filter(|(i, _)| waits(*i)).collect())?;
    }
    Ok(())
}

/// Generates texts, for several documents at the same time.
fn write(
    task: Task,
    documents: &[Document],
    waiting: Vec<usize>,
    subject: &Subject<'_, '_>,
    keep: impl Fn(Vec<(usize, Record)>) -> Result<()>,
) -> Result<()> {
    // A task's documents are all written in one way.
    let Some(Question::Text { written, .. }) = waiting.first().map(|&i| &documents[i].question) else {
        return Ok(());
    };
    let generation = written.generation();
    let window = subject.predictor.inference.context();
    // As the harness does: the context leaves room for all that may be written.
    let Some(room) = window.checked_sub(generation.max_new_tokens).filter(|room| *room > 0) else {
        let expected =
            format!("more than the {} tokens that {} writes", generation.max_new_tokens, task.name());
        return Err(Error::argument("eval", "the model's window", window, expected));
    };
    let mut truncated = vec![];
    let prompts = waiting.iter().map(|&i| {
        let document = &documents[i];
        let tokens = subject.tokenizer.encode_text(&document.context).map_err(named(task, document))?;
        let surplus = tokens.len().saturating_sub(room);
        truncated.push(surplus > 0);
        let stream = format!("gumbel/{}/{}", task.name(), document.index);
        Ok(Prompt { tokens: tokens[surplus..].to_vec(), stream })
    });
    let prompts: Vec<Prompt> = prompts.collect::<Result<_>>()?;
    let end = subject.tokenizer.decode(&[subject.tokenizer.eos_id()], false)?;
    let stops: Vec<&str> = generation.stops.iter().copied().chain([end.as_str()]).collect();
    let Subject { predictor, tokenizer, seed, .. } = *subject;
    generate_until(predictor, tokenizer, &prompts, seed, &stops, generation.max_new_tokens, |place, text| {
        let i = waiting[place];
        let text = cut_at_stops(&text, &stops).to_string();
        let Extracted { extractions, verdicts } = documents[i].extract(&text);
        let answer = Answer::Generated { text, extractions };
        keep(vec![(i, record(task, &documents[i], subject, answer, verdicts, truncated[place]))])
    })
}
