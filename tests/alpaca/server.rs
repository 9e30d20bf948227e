//! A judge on this machine that does what a test tells it to, and counts what it would charge.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
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
    /// Closes with the request unread: the client sees a reset.
    Reset,
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
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}/v1/", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Log::default()));
        let script: Arc<Mutex<Arc<Script>>> = Arc::new(Mutex::new(Arc::new(Box::new(script))));
        let server = Self { base_url, log: log.clone(), script: script.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, script) = (log.clone(), script.lock().unwrap().clone());
                std::thread::spawn(move || answer(stream, &log, &script));
            }
        });
        server
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

fn answer(mut stream: TcpStream, log: &Mutex<Log>, script: &Script) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut headers = HashMap::new();
    let mut line = String::new();
    let _ = reader.read_line(&mut line);
    let path = line.split(' ').nth(1).unwrap_or_default().to_string();
    line.clear();
    while reader.read_line(&mut line).is_ok_and(|n| n > 0) && line != "\r\n" {
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            headers.insert(name.to_lowercase(), value.to_string());
        }
        line.clear();
    }
    let Some(length) = headers.get("content-length").and_then(|n| n.parse().ok()) else { return };
    let mut bytes = vec![0; length];
    if reader.read_exact(&mut bytes).is_err() {
        return;
    }
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    let prompt = body["messages"].to_string();
    let id = prompt.split_once('<').and_then(|(_, rest)| rest.split_once('>')?.0.parse().ok()).unwrap_or(0);
    let [authorization, api_key] = ["authorization", "api-key"].map(|name| headers.get(name).cloned());
    let attempt = {
        let mut log = log.lock().unwrap();
        log.times.push(Instant::now());
        log.at_once += 1;
        log.most_at_once = log.most_at_once.max(log.at_once);
        let attempts = log.attempts.entry(id).or_default();
        *attempts += 1;
        *attempts - 1
    };
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
    let mut respond = |status: u16, headers: &str, body: &str, send: usize| {
        let head = format!(
            "HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\
             connection: close\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body.as_bytes()[..send]));
    };
    let mut paid = false;
    let mut reply = |body: String| {
        // Counted before it is sent: a client that goes away has been charged.
        paid = true;
        *log.lock().unwrap().paid.entry(id).or_default() += 1;
        respond(200, "", &body, body.len());
    };
    match act {
        Act::Answer | Act::Says(..) => reply(completion(top("m", "M"))),
        Act::NoLogprobs => reply(completion(Value::Null)),
        Act::NeitherName => reply(completion(top("Both", "Neither"))),
        Act::Status(status, retry_after, body) => {
            let headers = retry_after.map_or(String::new(), |s| format!("Retry-After: {s}\r\n"));
            respond(status, &headers, &body, body.len());
        }
        Act::CutShort => {
            let body = completion(top("m", "M"));
            respond(200, "", &body, body.len() / 2);
        }
        Act::NotJson => respond(200, "", "<html>busy</html>", 17),
        // Bytes that nobody reads turn the close into a reset where they exist; an empty reply
        // otherwise.
        Act::Reset => drop(reader),
        Act::Hang => std::thread::sleep(Duration::from_secs(20)),
    }
    log.lock().unwrap().at_once -= 1;
}
