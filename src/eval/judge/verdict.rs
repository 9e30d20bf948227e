//! A preference from the log-probabilities of the answer's first token.

use super::Reply;
use crate::spec::numerics::sigmoid;
use serde::Serialize;

/// The names that the prompt gives to the first and to the second output.
const FIRST: &str = "m";
const SECOND: &str = "M";

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// 1: the output shown first is better, 2: the other.
    Preference(f64),
    Missing(Missing),
}

/// Why a reply is no verdict. AlpacaEval leaves such comparisons out of every mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The reply came without log-probabilities.
    NoLogprobs,
    /// The reply is not exactly one token long.
    NotOneToken,
    /// Neither name is among the candidates for the first token.
    NeitherName,
    /// The endpoint does not accept the request, for example because the prompt is too long.
    Refused,
}

impl Missing {
    pub fn describe(self) -> &'static str {
        match self {
            Self::NoLogprobs => "no log-probabilities",
            Self::NotOneToken => "not one token",
            Self::NeitherName => "neither m nor M",
            Self::Refused => "refused",
        }
    }
}

/// 2 − P(m) / (P(m) + P(M)) over the candidates for the first token; a name that is not among them
/// has probability 0.
///
/// Numerics: the ratio is σ(log P(m) − log P(M)), which cannot overflow.
pub fn verdict(reply: &Reply) -> Verdict {
    let positions = match &reply.candidates {
        None => return Verdict::Missing(Missing::NoLogprobs),
        Some(positions) => positions,
    };
    let [candidates] = positions.as_slice() else { return Verdict::Missing(Missing::NotOneToken) };
    // Of a token that comes twice the last counts.
    let logprob = |name: &str| {
        let found = candidates.iter().rev().find(|(token, logprob)| token == name && !logprob.is_nan());
        found.map(|&(_, logprob)| logprob)
    };
    match (logprob(FIRST), logprob(SECOND)) {
        (None, None) => Verdict::Missing(Missing::NeitherName),
        (Some(_), None) => Verdict::Preference(1.0),
        (None, Some(_)) => Verdict::Preference(2.0),
        (Some(first), Some(second)) => match first - second {
            difference if difference.is_nan() => Verdict::Missing(Missing::NeitherName),
            difference => Verdict::Preference(2.0 - sigmoid(difference)),
        },
    }
}
