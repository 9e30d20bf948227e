//! AlpacaEval 2's pairwise judge (`weighted_alpaca_eval_gpt4_turbo`): a model sees an instruction and
//! two outputs in random order, and its preference is calculated from the log-probabilities of the first token of its
//! answer.
//!
//! Source: the package `alpaca_eval` 0.6.6. Its prompt is not part of this program: `--prompt` reads it from a
//! file, and results name the prompt by its hash.

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

/// The answer of a judge, and its tokens, which are paid for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The candidates for each token of the answer with their log-probabilities; `None` where the
    /// endpoint gave none.
    pub candidates: Option<Vec<Vec<(String, f64)>>>,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// The model that answered, as the endpoint says.
    pub model: String,
}

/// Why a request got no reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// There were too many requests: all wait.
    Throttled { retry_after: Option<Duration>, why: String },
    /// The server failed. Nothing was charged.
    Server { retry_after: Option<Duration>, why: String },
    /// The connection broke, timed out or gave something unreadable. It may have been charged.
    Broken { why: String },
    /// This request is not accepted, but others may be.
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

/// Answers requests: an endpoint, or a judge in this process.
pub trait Judge: Sync {
    /// One attempt.
    fn ask(&self, messages: &[Message]) -> Result<Reply, Failure>;

    /// Everything that decides the reply to `messages`, for the cache.
    fn identity(&self, messages: &[Message]) -> String;
}
