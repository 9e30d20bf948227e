//! One request to an OpenAI-compatible endpoint: chat completions with log-probabilities.

use super::{Failure, Judge, Message, Reply};
use crate::error::{Error, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderMap, HeaderValue};

/// The only place a key is taken from. It is sent to the endpoint and goes nowhere else.
pub const KEY_VARIABLE: &str = "LPC_API_KEY";

/// A reply is a single token with its candidates.
const LONGEST_REPLY: u64 = 4 << 20;

pub struct Client {
    agent: Agent,
    url: String,
    model: String,
    key: Option<Key>,
}

struct Key {
    secret: String,
    header: HeaderValue,
}

impl Client {
    /// `base_url` as `https://api.openai.com/v1`; the key, where one is needed, from the environment.
    ///
    /// Errors: another kind of address, or a key that cannot be sent.
    pub fn new(base_url: &str, model: &str, timeout: Duration) -> Result<Self> {
        if !["http://", "https://"].iter().any(|scheme| base_url.starts_with(scheme)) {
            return Err(Error::argument("lpc judge", "--base-url", base_url, "http://... or https://..."));
        }
        let key = match std::env::var(KEY_VARIABLE).map(|key| key.trim().to_string()) {
            Ok(secret) if !secret.is_empty() => {
                let header = HeaderValue::from_str(&format!("Bearer {secret}"));
                let mut header = header.map_err(|_| {
                    Error::argument("lpc judge", KEY_VARIABLE, "control characters", "a key that can be sent")
                })?;
                header.set_sensitive(true);
                Some(Key { secret, header })
            }
            _ => None,
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(timeout))
            .user_agent(concat!("lpc/", env!("CARGO_PKG_VERSION")))
            .build();
        let url = format!("{}/chat/completions", base_url.trim_end_matches('/'));
        Ok(Self { agent: agent.into(), url, model: model.into(), key })
    }

    /// AlpacaEval's request. Candidates do not depend on the temperature.
    fn body(&self, messages: &[Message]) -> Value {
        json!({
            "model": self.model,
            "messages": messages,
            "max_tokens": 1,
            "temperature": 1,
            "top_p": 1,
            "logprobs": true,
            "top_logprobs": 5,
        })
    }

    /// A server may repeat what it was sent.
    fn without_key(&self, text: &str) -> String {
        match &self.key {
            Some(key) => text.replace(&key.secret, "[key]"),
            None => text.to_string(),
        }
    }

    fn broken(&self, what: &str, e: impl std::fmt::Display) -> Failure {
        Failure::Broken { why: self.without_key(&format!("{what}: {e}")) }
    }
}

impl Judge for Client {
    fn ask(&self, messages: &[Message]) -> Result<Reply, Failure> {
        let body = self.body(messages).to_string();
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", key.header.clone());
        }
        let mut response = request.send(body).map_err(|e| match e {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Failure::Fatal { why: self.without_key(&format!("{}: {e}", self.url)) }
            }
            e => self.broken("no reply", e),
        })?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let body = response.body_mut().with_config().limit(LONGEST_REPLY).read_to_vec();
        if status == 200 {
            let body = body.map_err(|e| self.broken("reply cut short", e))?;
            return parse(&body).map_err(|e| self.broken("unreadable reply", e));
        }
        let (code, message) = fault(&body.unwrap_or_default());
        let why = self.without_key(&format!("HTTP {status}{message}"));
        Err(match status {
            // Money, not speed.
            429 if code == "insufficient_quota" => Failure::Fatal { why },
            429 => Failure::Throttled { retry_after, why },
            408 | 500.. => Failure::Server { retry_after, why },
            // A redirection is an address that is wrong.
            300..=399 | 401..=405 => Failure::Fatal { why },
            _ => Failure::Refused { why },
        })
    }

    fn identity(&self, messages: &[Message]) -> String {
        format!("{}\n{}", self.url, self.body(messages))
    }
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Usage,
    #[serde(default)]
    model: String,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    logprobs: Value,
}

#[derive(Default, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

#[derive(Deserialize)]
struct Token {
    top_logprobs: Vec<Candidate>,
}

#[derive(Deserialize)]
struct Candidate {
    token: String,
    logprob: f64,
}

fn parse(body: &[u8]) -> Result<Reply, String> {
    let completion: Completion = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let choice = completion.choices.into_iter().next().ok_or("no choices")?;
    let tokens: Option<Vec<Token>> = serde_json::from_value(choice.logprobs["content"].clone()).ok();
    let candidates = |token: Token| token.top_logprobs.into_iter().map(|c| (c.token, c.logprob)).collect();
    Ok(Reply {
        candidates: tokens.map(|tokens| tokens.into_iter().map(candidates).collect()),
        prompt_tokens: completion.usage.prompt_tokens,
        completion_tokens: completion.usage.completion_tokens,
        model: completion.model,
    })
}

/// Code and one line of message from `{"error": {"code": ..., "message": ...}}`.
fn fault(body: &[u8]) -> (String, String) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |field: &str| body["error"][field].as_str().unwrap_or_default().to_string();
    let message: String = text("message").split_whitespace().collect::<Vec<_>>().join(" ");
    let message: String = message.chars().take(200).collect();
    (text("code"), if message.is_empty() { message } else { format!(": {message}") })
}

/// Seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(date.duration_since(Timestamp::now()).try_into().unwrap_or_default())
}
