//! What came of asking: counts, costs, and why it stopped.

use crate::error::{Error, Place};

/// Counts of what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Verdicts that were already kept, and replies of this call.
    pub cached: usize,
    pub asked: usize,
    /// Questions whose earlier replies held no verdict.
    pub again: usize,
    /// Replies of this call that hold no verdict.
    pub without: usize,
    /// Attempts that failed, by kind.
    pub throttled: usize,
    pub server: usize,
    pub broken: usize,
    /// Questions the endpoint does not accept.
    pub refused: usize,
    /// Questions that failed at every attempt.
    pub failed: usize,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { cached, asked, again, throttled, server, broken, refused, failed, .. } = self;
        let again =
            if *again > 0 { format!(" ({again} of them had no verdict before)") } else { String::new() };
        write!(
            f,
            "{cached} replies from the cache, {asked} asked for{again}; {throttled} attempts throttled, {server} server errors, \
             {broken} broken off; {refused} refused, {failed} given up"
        )
    }
}

impl Counts {
    /// Questions that a later call does not ask again.
    pub fn kept(&self) -> usize {
        self.cached + self.asked - self.without
    }
}

/// What the questions have cost, earlier runs included.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    pub tokens_in: u64,
    pub tokens_out: u64,
    /// 0 without prices. A reply that broke off is counted by its estimate, because it may have been charged.
    pub dollars: f64,
}

/// Why some questions have no outcome.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    Interrupted,
    Budget,
    /// The endpoint accepts no request, or none of its replies holds a verdict.
    Fatal(String),
    /// The last failure of questions that got no reply.
    Failed(String),
}

impl Stop {
    /// The error a user sees.
    pub fn into_error(self, endpoint: &str, done: usize, of: usize) -> Error {
        let state = format!("{done} of {of} comparisons are kept");
        let again = "the same command goes on from there";
        let failed = |why: &str| {
            let place = Place::file(endpoint);
            Error::input(place, "an answer to every comparison", format!("{why}; {state}, {again}"))
        };
        match self {
            Self::Interrupted => Error::Interrupted { resume: format!("{state}; {again}") },
            Self::Budget => {
                Error::argument("lpc judge", "--budget", "used up", format!("more; {state}, {again}"))
            }
            Self::Fatal(why) | Self::Failed(why) => failed(&why),
        }
    }
}
