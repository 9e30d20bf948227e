//! One request to an OpenAI-compatible endpoint: chat completions with log-probabilities.

use super::{Failure, Judge, Message, Reply};
use crate::error::{Error, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

/// The environment variable with the key. The key is sent only to the endpoint.
pub const KEY_VARIABLE: &str = "LPC_API_KEY";

/// A reply is a single token with its candidates.
const LONGEST_REPLY: u64 = 4 << 20;

pub struct Client {
    agent: Agent,
    url: String,
    model: String,
    key: Option<Key>,
    /// Whether the endpoint accepts only the newer name of `max_tokens`.
    newer_name: AtomicBool,
}

struct Key {
    secret: String,
    name: HeaderName,
    header: HeaderValue,
}

/// The limit of an answer, by its old name, which most servers know, and by the new name, which OpenAI's later models
/// need.
const OLD_NAME: &str = "max_tokens";
const NEW_NAME: &str = "max_completion_tokens";

impl Client {
    /// `base_url` as `https://api.openai.com/v1`, maybe with a query string; the key, where one is needed,
    /// from the environment. It goes as a bearer token, or as it is in the header `key_header`.
    ///
    /// Errors: another kind of address, or a key or header that cannot be sent.
    pub fn new(base_url: &str, model: &str, timeout: Duration, key_header: Option<&str>) -> Result<Self> {
        if !["http://", "https://"].iter().any(|scheme| base_url.starts_with(scheme)) {
            return Err(Error::argument("lpc judge", "--base-url", base_url, "http://... or https://..."));
        }
        let key = match std::env::var(KEY_VARIABLE).map(|key| key.trim().to_string()) {
            Ok(secret) if !secret.is_empty() => {
                let (name, text) = match key_header {
                    None => (HeaderName::from_static("authorization"), format!("Bearer {secret}")),
                    Some(name) => (header_name(name)?, secret.clone()),
                };
                let header = HeaderValue::from_str(&text);
                let mut header = header.map_err(|_| {
                    Error::argument("lpc judge", KEY_VARIABLE, "control characters", "a key that can be sent")
                })?;
                header.set_sensitive(true);
                Some(Key { secret, name, header })
            }
            _ => None,
        };
        if let (Some(name), None) = (key_header, &key) {
            let got = format!("{name}, but no key");
            return Err(Error::argument(
                "lpc judge",
                "--key-header",
                got,
                format!("a key in {KEY_VARIABLE}"),
            ));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .accept_encoding("identity")
            .timeout_global(Some(timeout))
            .user_agent(concat!("lpc/", env!("CARGO_PKG_VERSION")))
            .build();
        let (agent, url, model) = (agent.into(), endpoint(base_url), model.into());
        Ok(Self { agent, url, model, key, newer_name: AtomicBool::new(false) })
    }

    /// AlpacaEval's request. Candidates do not depend on the temperature.
    fn body(&self, messages: &[Message], limit: &str) -> Value {
        json!({
            "model": self.model,
            "messages": messages,
            limit: 1,
            "temperature": 1,
            "top_p": 1,
            "logprobs": true,
            "top_logprobs": 5,
        })
    }

    /// Removes the key from a message, as a server may repeat what it was sent.
    fn without_key(&self, text: &str) -> String {
        match &self.key {
            Some(key) => text.replace(&key.secret, "[key]"),
            None => text.to_string(),
        }
    }

    /// One request. A failure also says whether it names `max_tokens`.
    fn send(&self, messages: &[Message], limit: &str) -> Result<Reply, (Failure, bool)> {
        let body = self.body(messages, limit).to_string();
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header(key.name.clone(), key.header.clone());
        }
        let mut response = request.send(body).map_err(|e| match e {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                (Failure::Fatal { why: self.without_key(&format!("{}: {e}", self.url)) }, false)
            }
            e => (self.broken("no reply", e), false),
        })?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let body = whole(response.body_mut());
        if status == 200 {
            let body = body.map_err(|e| (self.broken("reply cut short", e), false))?;
            return parse(&body).map_err(|e| match e {
                // Whoever passes requests on says so when nobody behind it answers; nothing was charged.
                Unread::Fault(fault) => {
                    let why = self.without_key(&format!("HTTP 200 with an error{}", fault.message));
                    (Failure::Server { retry_after, why }, false)
                }
                Unread::Other(e) => (self.broken("unreadable reply", e), false),
            });
        }
        let fault = Fault::of(&body.unwrap_or_default());
        let why = self.without_key(&format!("HTTP {status}{}", fault.message));
        let failure = match status {
            // Money, not speed.
            429 if fault.code == "insufficient_quota" => Failure::Fatal { why },
            429 => Failure::Throttled { retry_after, why },
            408 | 500.. => Failure::Server { retry_after, why },
            // One text may be forbidden; where all are, nobody gets a verdict.
            403 => Failure::Refused { why },
            // A redirection is an address that is wrong.
            300..=399 | 401..=405 => Failure::Fatal { why },
            _ => Failure::Refused { why },
        };
        let named = fault.parameter == OLD_NAME || fault.message.contains(OLD_NAME);
        let too_long = fault.code == "context_length_exceeded";
        Err((failure, matches!(status, 400 | 422) && named && !too_long))
    }

    fn broken(&self, what: &str, e: impl std::fmt::Display) -> Failure {
        Failure::Broken { why: self.without_key(&format!("{what}: {e}")) }
    }
}

/// The bytes of a reply. They are limited while they are read, because ureq's own limit counts compressed bytes.
fn whole(body: &mut ureq::Body) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    body.as_reader().take(LONGEST_REPLY + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LONGEST_REPLY {
        true => Err(io::Error::other(format!("more than {LONGEST_REPLY} bytes"))),
        false => Ok(bytes),
    }
}

impl Judge for Client {
    fn ask(&self, messages: &[Message]) -> Result<Reply, Failure> {
        let newer = self.newer_name.load(Ordering::Relaxed);
        match self.send(messages, if newer { NEW_NAME } else { OLD_NAME }) {
            Err((_, true)) if !newer => {
                let reply = self.send(messages, NEW_NAME).map_err(|(failure, _)| failure)?;
                self.newer_name.store(true, Ordering::Relaxed);
                Ok(reply)
            }
            reply => reply.map_err(|(failure, _)| failure),
        }
    }

    /// The identity does not depend on the name of the limit.
    fn identity(&self, messages: &[Message]) -> String {
        format!("{}\n{}", self.url, self.body(messages, OLD_NAME))
    }
}

/// The address of chat completions. A query string stays at the end.
fn endpoint(base_url: &str) -> String {
    let base = base_url.split('#').next().unwrap_or_default();
    let (path, query) = base.split_once('?').map_or((base, None), |(path, query)| (path, Some(query)));
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(COMPLETIONS).unwrap_or(path);
    match query.filter(|query| !query.is_empty()) {
        Some(query) => format!("{path}{COMPLETIONS}?{query}"),
        None => format!("{path}{COMPLETIONS}"),
    }
}

const COMPLETIONS: &str = "/chat/completions";

fn header_name(name: &str) -> Result<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes());
    parsed.map_err(|_| Error::argument("lpc judge", "--key-header", name.escape_debug(), "a header's name"))
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

/// Why a body with status 200 is no reply.
enum Unread {
    Fault(Fault),
    Other(String),
}

fn parse(body: &[u8]) -> Result<Reply, Unread> {
    let completion: Completion = serde_json::from_slice(body).map_err(|e| {
        let fault = Fault::of(body);
        if fault.message.is_empty() { Unread::Other(e.to_string()) } else { Unread::Fault(fault) }
    })?;
    let choice = completion.choices.into_iter().next().ok_or(Unread::Other("no choices".into()))?;
    let tokens: Option<Vec<Token>> = serde_json::from_value(choice.logprobs["content"].clone()).ok();
    let candidates = |token: Token| token.top_logprobs.into_iter().map(|c| (c.token, c.logprob)).collect();
    Ok(Reply {
        candidates: tokens.map(|tokens| tokens.into_iter().map(candidates).collect()),
        prompt_tokens: completion.usage.prompt_tokens,
        completion_tokens: completion.usage.completion_tokens,
        model: completion.model,
    })
}

/// What a server says is wrong: `{"error": {"code": .., "param": .., "message": ..}}`, or one of the shorter
/// forms there are.
struct Fault {
    code: String,
    parameter: String,
    /// One line after a colon, or empty.
    message: String,
}

impl Fault {
    fn of(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |field: &str| body["error"][field].as_str().unwrap_or_default().to_string();
        let said = [&body["error"]["message"], &body["error"], &body["message"], &body["detail"]];
        let said = said.into_iter().find_map(|v| match v {
            Value::String(text) => Some(text.clone()),
            Value::Array(_) => Some(v.to_string()),
            _ => None,
        });
        let said = said.unwrap_or_default();
        let message =
            said.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        let message: String = message.collect::<Vec<_>>().join(" ").chars().take(200).collect();
        let message = if message.is_empty() { message } else { format!(": {message}") };
        Self { code: text("code"), parameter: text("param"), message }
    }
}

/// Milliseconds by the name that says so; seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let milliseconds =
        headers.get("retry-after-ms").and_then(|v| v.to_str().ok()?.trim().parse::<f64>().ok());
    if let Some(milliseconds) = milliseconds {
        return Duration::try_from_secs_f64(milliseconds / 1e3).ok();
    }
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(date.duration_since(Timestamp::now()).try_into().unwrap_or_default())
}
