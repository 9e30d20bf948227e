//! Requests to the hub. Its token goes to the hub's own address alone, and every wait has an end.

use super::address::{Origin, join};
use super::environment::Environment;
use super::refusal::{Failure, Refusal};
use crate::error::{Error, Result};
use serde_json::Value;
use std::io::{self, Read};
use std::time::{Duration, Instant};
use ureq::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE,
};
use ureq::http::{Method, Request, Response, Uri};
use ureq::{Agent, Body, SendBody};

const MOST_REDIRECTS: usize = 10;
/// Of an answer that is read as a whole, unpacked: a list of some hundred thousand files.
const LARGEST_ANSWER: u64 = 32 << 20;
/// An answer that is read as a whole may take this long.
const LONGEST_ANSWER: Duration = Duration::from_secs(120);
/// What a hub may need to think about a commit or an upload.
const THINKING: Duration = Duration::from_secs(300);
/// Attempts where a server asks for patience.
const ATTEMPTS: u32 = 6;
/// No server is waited for longer than this, whatever it asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// An answer that brings less than this within the time for a standstill stands still.
const LEAST: u64 = 1024;

/// A hub and who asks it.
pub struct Client {
    agent: Agent,
    /// Without a slash at its end.
    pub endpoint: String,
    origin: Origin,
    token: Option<String>,
    /// How long an answer may stand still.
    pub stall: Duration,
}

/// Whether answers of other servers, to which the hub refers, are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    Follow,
    Refuse,
}

/// What was answered at the end of all redirects.
pub struct Answer {
    pub response: Response<Body>,
    /// What the hub itself said on the way: headers of its own answers, the latest one first.
    said: Vec<HeaderMap>,
}

impl Answer {
    /// A header of the hub's own, the latest where several of its answers have it.
    pub fn said(&self, name: &str) -> Option<&str> {
        self.said.iter().find_map(|headers| headers.get(name)?.to_str().ok())
    }

    /// A header of the last answer, whoever gave it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }
}

impl Client {
    /// Errors: an address that is none of http or https, or a token that cannot be sent.
    pub fn new(environment: &Environment) -> Result<Self> {
        let endpoint = environment.endpoint.clone();
        let wrong = || {
            let got = crate::visible::one_line(&endpoint);
            Error::argument("hub", "HF_ENDPOINT", got, "https://... or http://... without user and password")
        };
        let address: Uri = endpoint.parse().map_err(|_| wrong())?;
        let origin = Origin::of(&address).filter(|_| address.query().is_none()).ok_or_else(wrong)?;
        if let Some(token) = &environment.token {
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                Error::argument("hub", "HF_TOKEN", "control characters", "a token that can be sent")
            })?;
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // Each redirect is looked at first.
            .max_redirects(0)
            .accept_encoding("identity")
            .timeout_resolve(Some(environment.answer))
            .timeout_connect(Some(environment.answer))
            .timeout_send_request(Some(environment.answer))
            .timeout_recv_response(Some(environment.answer))
            .timeout_per_read(Some(environment.stall.max(environment.answer)))
            .timeout_per_write(Some(environment.stall))
            .user_agent(concat!("lpc/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            agent: agent.into(),
            endpoint,
            origin,
            token: environment.token.clone(),
            stall: environment.stall,
        })
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The beginning of a file, from byte `from` on, wherever the hub keeps it.
    pub fn file(&self, path: &str, from: u64) -> Result<Answer, Failure> {
        let range = format!("bytes={from}-");
        let headers: &[_] = if from > 0 { &[(RANGE, range.as_str())] } else { &[] };
        let url = format!("{}/{path}", self.endpoint);
        self.patiently(|| self.follow(&Method::GET, &url, headers, &[], Elsewhere::Follow))
    }

    /// JSON of the hub's own. A `patient` caller has nothing else to go by.
    pub fn get(&self, path: &str, patient: bool) -> Result<Value, Failure> {
        let url = format!("{}/{path}", self.endpoint);
        let ask = || self.follow(&Method::GET, &url, &[], &[], Elsewhere::Refuse);
        self.json(if patient { self.patiently(ask) } else { ask() }?)
    }

    /// JSON of the hub's own for what is posted. Only a question may be `patient`: what changes something is
    /// not said twice.
    pub fn post(&self, url: &str, kind: &str, body: &[u8], patient: bool) -> Result<Value, Failure> {
        let accept = if kind.contains("git-lfs") { kind } else { "application/json" };
        let headers = [(CONTENT_TYPE, kind), (ACCEPT, accept)];
        let ask = || self.follow(&Method::POST, url, &headers, body, Elsewhere::Refuse);
        self.json(if patient { self.patiently(ask) } else { ask() }?)
    }

    /// Posts what may be said twice and where only success matters, to an address of the storage's or the
    /// hub's own; only the latter gets the token.
    pub fn confirm(&self, url: &str, kind: &str, body: &[u8]) -> Result<(), Failure> {
        let headers = [(CONTENT_TYPE, kind), (ACCEPT, kind)];
        self.patiently(|| self.follow(&Method::POST, url, &headers, body, Elsewhere::Follow)).map(|_| ())
    }

    /// As [`confirm`](Self::confirm), to an address that is a secret of its own and needs no token.
    pub fn complete(&self, url: &str, kind: &str, body: &[u8]) -> Result<(), Failure> {
        let headers = [(CONTENT_TYPE, kind), (ACCEPT, kind)];
        self.patiently(|| {
            let response = self.ask(&Method::POST, &self.address(url)?, &headers, body, false)?;
            if response.status().is_success() { Ok(()) } else { Err(self.refusal(response, false)) }
        })
    }

    /// Puts `length` bytes into the hub's storage, which lies elsewhere and gets no token. Returns the
    /// answer's headers.
    pub fn put(
        &self,
        url: &str,
        length: u64,
        body: impl Fn() -> io::Result<Box<dyn Read>>,
    ) -> Result<HeaderMap, Failure> {
        self.patiently(|| {
            let address = self.address(url)?;
            let mut body = body().map_err(|e| Failure::Broken(e.to_string()))?;
            let request = Request::put(address).header(CONTENT_LENGTH, length);
            let request = request.body(SendBody::from_reader(&mut body)).map_err(broken)?;
            let request = self.agent.configure_request(request);
            let request = request.timeout_recv_response(Some(THINKING)).timeout_per_read(Some(THINKING));
            let response = self.agent.run(request.build()).map_err(broken)?;
            match response.status().as_u16() {
                200..=299 => Ok(response.headers().clone()),
                _ => Err(self.refusal(response, false)),
            }
        })
    }

    /// An address that may be asked: no plain one where the hub's own is a secure one.
    fn address(&self, url: &str) -> Result<Uri, Failure> {
        let shown = crate::visible::one_line(url);
        let address: Uri = url.parse().map_err(|_| Failure::Broken(format!("the address {shown}")))?;
        match Origin::of(&address) {
            None => Err(Failure::Broken(format!("the address {shown}"))),
            Some(origin) if self.origin.is_secure() && !origin.is_secure() => {
                Err(Failure::Broken(format!("a way without https to {origin}")))
            }
            Some(_) => Ok(address),
        }
    }

    /// Asks `url`, then whatever that refers to. The token is sent to the hub, and no longer after the way
    /// has once left it.
    fn follow(
        &self,
        method: &Method,
        url: &str,
        headers: &[(ureq::http::HeaderName, &str)],
        body: &[u8],
        elsewhere: Elsewhere,
    ) -> Result<Answer, Failure> {
        let mut address = self.address(url)?;
        let mut at_home = true;
        let mut said = vec![];
        for _ in 0..=MOST_REDIRECTS {
            at_home &= Origin::of(&address).as_ref() == Some(&self.origin);
            let response = self.ask(method, &address, headers, body, at_home)?;
            if at_home {
                said.insert(0, response.headers().clone());
            }
            match response.status().as_u16() {
                200..=299 => return Ok(Answer { response, said }),
                // Anything but GET would be asked as another question.
                301..=303 | 307 | 308 if *method == Method::GET || response.status().as_u16() >= 307 => {}
                _ => return Err(self.refusal(response, at_home)),
            }
            let place = response.headers().get(LOCATION);
            let Some(place) = place.and_then(|place| std::str::from_utf8(place.as_bytes()).ok()) else {
                return Err(Failure::Broken(format!("HTTP {} to nowhere", response.status().as_u16())));
            };
            let next = join(&address, place).ok_or_else(|| {
                Failure::Broken(format!("a redirect to {}", crate::visible::one_line(place)))
            })?;
            address = self.address(&next)?;
            let origin = Origin::of(&address);
            if elsewhere == Elsewhere::Refuse && origin.as_ref() != Some(&self.origin) {
                let origin = origin.map(|origin| origin.to_string()).unwrap_or_default();
                return Err(Failure::Broken(format!(
                    "a redirect to {origin}, which is not the hub at {} (is HF_ENDPOINT its address?)",
                    self.endpoint
                )));
            }
        }
        Err(Failure::Broken(format!("more than {MOST_REDIRECTS} redirects")))
    }

    fn ask(
        &self,
        method: &Method,
        address: &Uri,
        headers: &[(ureq::http::HeaderName, &str)],
        body: &[u8],
        with_token: bool,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method).uri(address);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        if let Some(token) = self.token.as_ref().filter(|_| with_token) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let answer = if *method == Method::GET {
            self.agent.run(request.body(()).map_err(broken)?)
        } else {
            let request = self.agent.configure_request(request.body(body).map_err(broken)?);
            let request = request.timeout_recv_response(Some(THINKING)).timeout_per_read(Some(THINKING));
            self.agent.run(request.build())
        };
        answer.map_err(broken)
    }

    fn json(&self, answer: Answer) -> Result<Value, Failure> {
        let bytes =
            self.whole(answer.response, LARGEST_ANSWER).map_err(|e| Failure::Broken(e.to_string()))?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Failure::Broken(format!("an answer that is no JSON ({e})")))
    }

    /// Everything of an answer; `most` bounds what it unpacks to.
    fn whole(&self, response: Response<Body>, most: u64) -> io::Result<Vec<u8>> {
        let end = Instant::now() + LONGEST_ANSWER;
        let mut reader = Steady::new(response.into_body().into_reader(), self.stall);
        let mut bytes = vec![];
        let mut buffer = [0; 1 << 14];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(bytes),
                n => bytes.extend_from_slice(&buffer[..n]),
            }
            if bytes.len() as u64 > most {
                return Err(io::Error::other(format!("an answer of more than {most} bytes")));
            }
            if Instant::now() > end {
                return Err(io::Error::other(format!("an answer slower than {LONGEST_ANSWER:?}")));
            }
        }
    }

    fn refusal(&self, response: Response<Body>, with_token: bool) -> Failure {
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_string()
        };
        let (status, code) = (response.status().as_u16(), header("x-error-code"));
        let (mut message, wait) = (header("x-error-message"), header("retry-after"));
        if message.is_empty() {
            let body = self.whole(response, 1 << 16).unwrap_or_default();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let several = body["errors"].as_array().into_iter().flatten();
            let mut said =
                body["error"].as_str().into_iter().chain(several.filter_map(|e| e["message"].as_str()));
            message = said.next().unwrap_or_default().into();
        }
        // A server may repeat what it was sent.
        if let Some(token) = &self.token {
            message = message.replace(token, "[token]");
        }
        Failure::Refused(Refusal {
            status,
            code,
            message: crate::visible::one_line(message),
            wait: wait.trim().parse().ok().map(Duration::from_secs),
            with_token: with_token && self.token.is_some(),
        })
    }

    /// Asks again where a server is busy, after as long as it says.
    fn patiently<T>(&self, ask: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut pause = Duration::from_secs(1);
        for _ in 1..ATTEMPTS {
            match ask() {
                Err(Failure::Refused(refusal)) if matches!(refusal.status, 429 | 500 | 502..=504) => {
                    let wait = refusal.wait.unwrap_or(pause).min(LONGEST_WAIT);
                    tracing::warn!("{}: HTTP {}, asked again in {wait:?}", self.endpoint, refusal.status);
                    std::thread::sleep(wait);
                    pause = (pause * 2).min(Duration::from_secs(8));
                }
                other => return other,
            }
        }
        ask()
    }
}

fn broken(e: impl std::fmt::Display) -> Failure {
    Failure::Broken(crate::visible::one_line(e))
}

/// A reader that gives up on a server which sends next to nothing.
pub struct Steady<R> {
    reader: R,
    patience: Duration,
    since: Instant,
    bytes: u64,
}

impl<R: Read> Steady<R> {
    pub fn new(reader: R, patience: Duration) -> Self {
        Self { reader, patience, since: Instant::now(), bytes: 0 }
    }
}

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.bytes += n as u64;
        if n > 0 && self.since.elapsed() >= self.patience {
            if self.bytes < LEAST {
                let what = format!("only {} bytes in {:?}", self.bytes, self.since.elapsed());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            (self.since, self.bytes) = (Instant::now(), 0);
        }
        Ok(n)
    }
}
