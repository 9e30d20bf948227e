//! Why the hub gave nothing, and what to do about it.

use super::Repository;
use crate::error::{Error, Place};
use std::time::Duration;

/// No answer of use.
#[derive(Debug)]
pub enum Failure {
    /// None at all, or one that breaks the rules.
    Broken(String),
    Refused(Refusal),
}

/// An answer that says no.
#[derive(Debug)]
pub struct Refusal {
    pub status: u16,
    /// `X-Error-Code`: the hub's own name for the reason.
    pub code: String,
    /// The hub's own words, or none.
    pub message: String,
    /// How long the hub asks to be left alone.
    pub wait: Option<Duration>,
    pub with_token: bool,
}

impl Failure {
    /// `what` was asked of `repository`.
    pub fn at(self, place: &Place, what: &str, repository: &Repository<'_>) -> Error {
        let got = match self {
            Self::Broken(got) => got,
            Self::Refused(refusal) => refusal.in_words(repository),
        };
        Error::input(place.clone(), format!("{what} from the hub"), got)
    }
}

impl Refusal {
    fn in_words(&self, repository: &Repository<'_>) -> String {
        let Repository { endpoint, .. } = repository;
        let page = repository.page();
        let what = repository.kind.name();
        let invalid = self.message.contains("Invalid credentials in Authorization header");
        let (reason, advice) = match (self.code.as_str(), self.status) {
            ("GatedRepo", _) if self.with_token => (
                format!("a gated {what}"),
                format!(
                    "accept its licence at {page} with the account of this HF_TOKEN, or wait to be let in"
                ),
            ),
            ("GatedRepo", _) => (
                format!("a gated {what}"),
                format!("accept its licence at {page} and set HF_TOKEN to a token of that account"),
            ),
            ("RevisionNotFound", _) => ("no such revision".into(), format!("see {page}/tree/main")),
            ("EntryNotFound", _) => ("no such file".into(), format!("see {page}/tree/main")),
            (_, 401) if invalid => (
                "an HF_TOKEN that the hub does not know".into(),
                format!("make one at {endpoint}/settings/tokens, or unset it"),
            ),
            ("RepoNotFound", _) | (_, 401) if self.with_token => {
                (format!("no such {what}, or one that this HF_TOKEN does not open"), format!("see {page}"))
            }
            ("RepoNotFound", _) | (_, 401) => (
                format!("no such {what}, or a private one"),
                format!("see {page}; a private one needs HF_TOKEN"),
            ),
            (_, 403) => {
                ("a refusal".into(), format!("see at {endpoint}/settings/tokens what the token may do"))
            }
            (_, 404) => ("nothing there".into(), format!("see {page}")),
            (_, 429) => ("too many requests".into(), "try again later".into()),
            (_, 500..) => ("a fault of the hub".into(), "try again later".into()),
            _ => ("no answer".into(), format!("see {page}")),
        };
        let message = if self.message.is_empty() { String::new() } else { format!(": {}", self.message) };
        format!("{reason} (HTTP {}{message}); {advice}", self.status)
    }
}
