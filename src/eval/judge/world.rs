//! The built-in world's judge, which knows the true utilities.

use super::{Failure, Judge, Message, Prompt, Reply};
use crate::data::world::utility;
use crate::error::Result;
use crate::spec::numerics::log_sigmoid;

/// Prefers the first output with probability σ(sharpness · Δu), as the world labels its pairs, and
/// says so in the log-probabilities of m and M, as any judge does.
#[derive(Debug, Clone, Copy)]
pub struct WorldJudge {
    pub sharpness: f64,
}

impl WorldJudge {
    /// One line each: texts of the world have no line ends.
    pub fn prompt() -> Prompt {
        Prompt::of("{instruction}\n{output_1}\n{output_2}\nm or M?")
    }

    /// log P(m) and log P(M).
    pub fn logprobs(&self, prompt: &str, first: &str, second: &str) -> Result<(f64, f64)> {
        let margin = self.sharpness * (utility(prompt, first)? - utility(prompt, second)?);
        Ok((log_sigmoid(margin), log_sigmoid(-margin)))
    }
}

impl Judge for WorldJudge {
    fn ask(&self, messages: &[Message]) -> Result<Reply, Failure> {
        let text = messages.first().map_or("", |m| m.content.as_str());
        let lines: Vec<&str> = text.split('\n').collect();
        let [prompt, first, second, _] = lines.as_slice() else {
            return Err(Failure::Refused { why: format!("{} lines instead of 4", lines.len()) });
        };
        let (m, other) =
            self.logprobs(prompt, first, second).map_err(|e| Failure::Refused { why: e.to_string() })?;
        Ok(Reply {
            candidates: Some(vec![vec![("m".into(), m), ("M".into(), other)]]),
            prompt_tokens: 0,
            completion_tokens: 0,
            model: "world".into(),
        })
    }

    fn identity(&self, messages: &[Message]) -> String {
        format!("{self:?}\n{messages:?}")
    }
}
