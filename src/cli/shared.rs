//! Options that several commands have.

use super::values;
use crate::Result;
use crate::eval::judge::{Budget, Client, Limits};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most tokens of an answer to AlpacaEval's prompts, unless the command line says otherwise.
pub(super) const FOR_ALPACA_EVAL: usize = 2048;

/// The date that a chat template writes.
#[derive(Debug, Args)]
pub(super) struct DateArgument {
    /// The date that the chat template writes as today's, for example 2026-01-31. Few templates write one
    /// [default: the day on which the run began; without a run, today]
    #[arg(long, value_name = "DATE", value_parser = values::date)]
    pub template_date: Option<String>,
}

impl DateArgument {
    pub(super) fn as_deref(&self) -> Option<&str> {
        self.template_date.as_deref()
    }
}

/// How many requests a judge gets, how long they may take and what they may cost.
#[derive(Debug, Args)]
pub(super) struct EffortArguments {
    /// Number of requests at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = values::up_to::<usize>(256))]
    concurrency: usize,
    /// Number of attempts for each comparison
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = values::up_to::<u32>(1000))]
    attempts: u32,
    /// Wait this long after a first failed attempt, and twice as long after each further one. If the
    /// server says how long to wait, that is used instead
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = values::seconds)]
    retry_wait: f64,
    /// A request that takes longer than this counts as failed
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = values::up_to::<u64>(86400))]
    timeout: u64,
    /// Send the key in this header (for Azure: api-key) instead of in `Authorization: Bearer`
    #[arg(long, value_name = "NAME")]
    key_header: Option<String>,
    /// Stop before the cost exceeds this. Replies of earlier calls of this command count too
    #[arg(long, value_name = "USD", value_parser = values::dollars, requires = "price_in")]
    budget: Option<f64>,
    /// Price of a million prompt tokens, in US dollars
    #[arg(long, value_name = "USD", value_parser = values::dollars, requires = "price_out")]
    price_in: Option<f64>,
    /// Price of a million answer tokens, in US dollars
    #[arg(long, value_name = "USD", value_parser = values::dollars, requires = "price_in")]
    price_out: Option<f64>,
    /// File that keeps every reply, so that no request is paid twice [default: judge.jsonl in the folder
    /// of runs]
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
}

impl EffortArguments {
    pub(super) fn limits(&self) -> Limits {
        let prices = self.price_in.zip(self.price_out);
        Limits {
            concurrency: self.concurrency,
            attempts: self.attempts,
            first_wait: Duration::from_secs_f64(self.retry_wait),
            budget: prices.map(|(price_in, price_out)| Budget { most: self.budget, price_in, price_out }),
        }
    }

    pub(super) fn client(&self, base_url: &str, model: &str) -> Result<Client> {
        Client::new(base_url, model, Duration::from_secs(self.timeout), self.key_header.as_deref())
    }

    pub(super) fn cache(&self, runs: &Path) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| runs.join("judge.jsonl"))
    }
}

/// An endpoint's address for messages: without its query string, which may hold a secret.
pub(super) fn address(base_url: &str) -> &str {
    base_url.split(['?', '#']).next().unwrap_or(base_url)
}

/// The file that keeps unfinished work beside the file that a command writes: `out.json.partial`.
pub(super) fn partial(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}
