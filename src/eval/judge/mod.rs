//! AlpacaEval 2's pairwise judge (`weighted_alpaca_eval_gpt4_turbo`): a model sees an instruction and
//! two outputs in random order, and its preference is read off the log-probabilities of the first
//! token of its answer.
//!
//! Source: the package `alpaca_eval` 0.6.6. Its prompt is not ours to ship: `--prompt` reads it from
//! a file, and results name the prompt they were made with by its hash.

mod ask;
mod client;
mod order;
mod outputs;
mod pairing;
mod prompt;
mod verdict;
mod world;

pub use ask::{Budget, Counts, Limits, Question, Spent, Stop, ask_all, estimate, forecast};
pub use client::{Client, KEY_VARIABLE};
pub use order::is_switched;
pub use outputs::{
    Annotator, Comparison, ModelOutput, PromptEntry, compare, read_outputs, read_prompts, write_annotations,
    write_outputs,
};
pub use pairing::{Judged, no_verdict, outcomes, questions};
pub use prompt::{Message, Prompt};
pub use verdict::{Missing, Verdict, verdict};
pub use world::WorldJudge;

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a judge answered and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The candidates for each token of the answer with their log-probabilities; `None` where the
    /// endpoint gave none.
    pub candidates: Option<Vec<Vec<(String, f64)>>>,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// The model the endpoint says has answered.
    pub model: String,
}

/// Why one request got no reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// Asked too fast: all wait.
    Throttled { retry_after: Option<Duration>, why: String },
    /// The server failed; nothing was charged.
    Server { retry_after: Option<Duration>, why: String },
    /// The connection broke, timed out or carried something unreadable: it may have been charged.
    Broken { why: String },
    /// This request is not accepted, others may be.
    Refused { why: String },
    /// No request will be accepted.
    Fatal { why: String },
}

impl Failure {
    pub fn why(&self) -> &str {
        match self {
            Self::Throttled { why, .. }
            | Self::Server { why, .. }
            | Self::Broken { why }
            | Self::Refused { why }
            | Self::Fatal { why } => why,
        }
    }
}

/// Whoever answers requests: an endpoint, or a judge in this process.
pub trait Judge: Sync {
    /// One attempt.
    fn ask(&self, messages: &[Message]) -> Result<Reply, Failure>;

    /// Everything that decides the reply to `messages`, for the cache.
    fn identity(&self, messages: &[Message]) -> String;
}
