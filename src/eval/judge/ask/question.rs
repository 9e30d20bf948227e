//! What is asked, within which limits, and what it will cost.

use crate::eval::journal::Journal;
use crate::eval::judge::{Judge, Message, Reply, Verdict, verdict};
use crate::files::sha256;
use std::time::Duration;

/// One prompt and the key its reply is kept under.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub(super) messages: Vec<Message>,
    key: String,
}

impl Question {
    pub fn new(judge: &impl Judge, messages: Vec<Message>) -> Self {
        let key = sha256(judge.identity(&messages).as_bytes());
        Self { messages, key }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The key of the n-th reply. There is a second reply if the first held no verdict; both were paid for.
    pub(super) fn key_of_reply(&self, n: usize) -> String {
        if n == 0 { self.key.clone() } else { format!("{}.{n}", self.key) }
    }

    pub(super) fn replies(&self, journal: &Journal<Reply>) -> Vec<Reply> {
        (0..).map_while(|n| journal.get(&self.key_of_reply(n))).collect()
    }

    /// An estimate: English text has about four characters for each token.
    pub(super) fn estimated_tokens(&self) -> u64 {
        self.messages.iter().map(|m| m.content.chars().count() as u64).sum::<u64>() / 4 + 10
    }
}

/// How many requests are made at the same time, how often, and for how much.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests at a time.
    pub concurrency: usize,
    /// Attempts at one question.
    pub attempts: u32,
    /// Wait after a first failure; it doubles with each further one.
    pub first_wait: Duration,
    pub budget: Option<Budget>,
}

/// Units: US dollars, and dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    pub most: Option<f64>,
    pub price_in: f64,
    pub price_out: f64,
}

impl Budget {
    pub(super) fn cost(&self, tokens_in: u64, tokens_out: u64) -> f64 {
        (self.price_in * tokens_in as f64 + self.price_out * tokens_out as f64) / 1e6
    }
}

/// What is expected of the questions that have no verdict yet: their number, tokens and dollars.
pub fn estimate(
    questions: &[Question],
    journal: &Journal<Reply>,
    budget: Option<&Budget>,
) -> (usize, u64, Option<f64>) {
    let answered = |q: &Question| q.replies(journal).last().is_some_and(has_verdict);
    let open = questions.iter().filter(|q| !answered(q));
    let (n, tokens) = open.fold((0, 0), |(n, tokens), q| (n + 1, tokens + q.estimated_tokens()));
    (n, tokens, budget.map(|b| b.cost(tokens, n as u64)))
}

pub(super) fn has_verdict(reply: &Reply) -> bool {
    matches!(verdict(reply), Verdict::Preference(_))
}

/// [`estimate`] in a line, to be read before the first question is asked.
pub fn forecast(questions: &[Question], journal: &Journal<Reply>, limits: &Limits, judge: &str) -> String {
    let (open, tokens, dollars) = estimate(questions, journal, limits.budget.as_ref());
    let dollars = dollars.map_or("unknown cost (no prices given)".into(), |d| format!("about ${d:.2}"));
    let seconds = open.div_ceil(limits.concurrency.max(1));
    format!(
        "{open} questions for {judge}: about {tokens} tokens, {dollars}; {seconds} s if each reply takes a second"
    )
}
