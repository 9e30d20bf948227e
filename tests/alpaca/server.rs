//! A judge on this machine that does what a test tells it to, and counts what it would charge.

use crate::http::{Request, reply, serve};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What to do with a request.
pub enum Act {
    /// The reply with the log-probabilities of `m` and `M` that [`logprobs`] gives the comparison.
    Answer,
    /// The reply with these.
    Says(f64, f64),
    /// Charged, too: a reply that holds no verdict.
    NoLogprobs,
    NeitherName,
    /// An HTTP error with a Retry-After in seconds, if any, and a body.
    Status(u16, Option<&'static str>, String),
    /// The head and half of the body.
    CutShort,
    /// A whole reply that is no JSON.
    NotJson,
    /// Nothing at all.
    Close,
    Hang,
}

/// A request, as the script sees it.
pub struct Asked {
    /// Which comparison: the number N in `<N>` of the prompt.
    pub id: usize,
    /// 0 at the first request for it.
    pub attempt: usize,
    pub authorization: Option<String>,
    /// Azure's header for the key.
    pub api_key: Option<String>,
    /// With its query string.
    pub path: String,
    pub body: Value,
}

#[derive(Default)]
pub struct Log {
    /// Complete replies by comparison: what is charged.
    pub paid: HashMap<usize, usize>,
    pub attempts: HashMap<usize, usize>,
    /// When each request came.
    pub times: Vec<Instant>,
    /// The most at one time.
    pub most_at_once: usize,
    at_once: usize,
}

type Script = Box<dyn Fn(&Asked) -> Act + Send + Sync>;

pub struct Server {
    pub base_url: String,
    pub log: Arc<Mutex<Log>>,
    script: Arc<Mutex<Arc<Script>>>,
}

impl Server {
    pub fn start(script: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let script: Arc<Mutex<Arc<Script>>> = Arc::new(Mutex::new(Arc::new(Box::new(script))));
        let (of_server, current) = (log.clone(), script.clone());
        let address = serve(move |request, stream| {
            let script = current.lock().unwrap().clone();
            answer(request, stream, &of_server, &script);
        });
        Self { base_url: format!("{address}/v1/"), log, script }
    }

    /// From the next request on.
    pub fn change(&self, script: impl Fn(&Asked) -> Act + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(Box::new(script));
    }

    pub fn paid(&self) -> HashMap<usize, usize> {
        self.log.lock().unwrap().paid.clone()
    }

    pub fn requests(&self) -> usize {
        self.log.lock().unwrap().times.len()
    }
}

/// ln P(m) and ln P(M) for a comparison: different for each, and not adding up to one.
pub fn logprobs(id: usize) -> (f64, f64) {
    let p = (id as f64 * 0.37 + 0.05) % 0.9;
    ((0.95 * p).ln(), (0.95 * (1.0 - p)).ln())
}

fn answer(request: &Request, stream: &mut TcpStream, log: &Mutex<Log>, script: &Script) {
    assert_eq!(request.method, "POST");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let prompt = body["messages"].to_string();
    let id = prompt.split_once('<').and_then(|(_, rest)| rest.split_once('>')?.0.parse().ok()).unwrap_or(0);
    let [authorization, api_key] =
        ["authorization", "api-key"].map(|name| request.header(name).map(str::to_string));
    let attempt = {
        let mut log = log.lock().unwrap();
        log.times.push(Instant::now());
        log.at_once += 1;
        log.most_at_once = log.most_at_once.max(log.at_once);
        let attempts = log.attempts.entry(id).or_default();
        *attempts += 1;
        *attempts - 1
    };
    let path = request.path.clone();
    let act = script(&Asked { id, attempt, authorization, api_key, path, body });
    let (m, other) = match act {
        Act::Says(m, other) => (m, other),
        _ => logprobs(id),
    };
    let top = |first: &str, second: &str| {
        let candidate =
            |token: &str, logprob: f64| json!({ "token": token, "logprob": logprob, "bytes": null });
        json!({ "content": [{ "token": first, "logprob": m, "top_logprobs": [
            candidate(first, m), candidate("The", -7.0), candidate(second, other)] }] })
    };
    let completion = |logprobs: Value| {
        let message = json!({ "role": "assistant", "content": "m" });
        json!({
            "id": "x", "object": "chat.completion", "model": "judge-2024",
            "choices": [{ "index": 0, "message": message, "logprobs": logprobs, "finish_reason": "length" }],
            "usage": { "prompt_tokens": 1000, "completion_tokens": 1, "total_tokens": 1001 },
        })
        .to_string()
    };
    let json = ("Content-Type", "application/json");
    let mut charged = |body: String| {
        // Counted before it is sent: a client that goes away has been charged.
        *log.lock().unwrap().paid.entry(id).or_default() += 1;
        reply(stream, 200, &[json], body.as_bytes());
    };
    match act {
        Act::Answer | Act::Says(..) => charged(completion(top("m", "M"))),
        Act::NoLogprobs => charged(completion(Value::Null)),
        Act::NeitherName => charged(completion(top("Both", "Neither"))),
        Act::Status(status, Some(seconds), body) => {
            reply(stream, status, &[json, ("Retry-After", seconds)], body.as_bytes());
        }
        Act::Status(status, None, body) => reply(stream, status, &[json], body.as_bytes()),
        Act::CutShort => {
            let body = completion(top("m", "M"));
            let length = body.len().to_string();
            reply(stream, 200, &[json, ("Content-Length", &length)], &body.as_bytes()[..body.len() / 2]);
        }
        Act::NotJson => reply(stream, 200, &[json], b"<html>busy</html>"),
        Act::Close => {}
        Act::Hang => std::thread::sleep(Duration::from_secs(20)),
    }
    log.lock().unwrap().at_once -= 1;
}
