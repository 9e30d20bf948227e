//! `lpc judge` against endpoints that fail in every way: it finishes or stops so that it can go on,
//! loses no annotation and pays for none twice.

use crate::program::Lpc;
use crate::server::{Act, Asked, Server, logprobs};
use crate::winrate::table;
use lpc::eval::judge::is_switched;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const KEY: &str = "sk-very-secret-0123456789";

pub struct Case {
    pub lpc: Lpc,
    n: usize,
}

fn instruction(id: usize) -> String {
    format!("Say <{id}> nicely.")
}

impl Case {
    /// `n` comparisons; the two outputs of number 7 are the same.
    pub fn new(n: usize) -> Self {
        let case = Self { lpc: Lpc::new(), n };
        for (name, generator, output) in
            [("outputs.json", "model, ours", "mine"), ("base.json", "base", "theirs")]
        {
            let entry = |id: usize| {
                let output = if id == 7 { "same".into() } else { format!("{output} é {}", "x".repeat(id)) };
                json!({ "dataset": "d", "instruction": instruction(id), "output": output, "generator": generator })
            };
            // The two files need not agree on the order; the baseline's counts.
            let mut entries: Vec<Value> = (0..n).map(entry).collect();
            if name == "outputs.json" {
                entries.reverse();
            }
            case.lpc.write(name, serde_json::to_vec(&entries).unwrap());
        }
        case
    }

    pub fn command(&self, server: &Server, more: &[&str]) -> Command {
        let mut command = self.lpc.command(&["judge", "--base-url", &server.base_url]);
        command.env("LPC_API_KEY", KEY).env("RUST_LOG", "trace,ureq_proto::util=trace");
        for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command.args(["--outputs", "outputs.json", "--baseline", "base.json", "--model", "judge"]);
        if !more.contains(&"--retry-wait") {
            command.args(["--retry-wait", "0.02"]);
        }
        if !more.contains(&"--timeout") {
            command.args(["--timeout", "1"]);
        }
        if !more.contains(&"--out") {
            command.args(["--out", "annotations.csv"]);
        }
        command.args(more);
        command
    }

    pub fn run(&self, server: &Server, more: &[&str]) -> Output {
        let output = self.command(server, more).output().unwrap();
        self.key_is_nowhere(&output);
        output
    }

    pub fn ok(&self, server: &Server, more: &[&str]) -> (String, String) {
        let output = self.run(server, more);
        let text = (said(&output.stdout), said(&output.stderr));
        assert!(output.status.success(), "{}", text.1);
        text
    }

    pub fn refused(&self, server: &Server, more: &[&str]) -> String {
        let output = self.run(server, more);
        let errors = said(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        errors.lines().find_map(|line| line.strip_prefix("lpc: ")).unwrap().to_string()
    }

    /// In nothing printed, logged or written.
    fn key_is_nowhere(&self, output: &Output) {
        for printed in [&output.stdout, &output.stderr] {
            let text = said(printed);
            // A dump of what is sent breaks it over lines.
            let part = KEY.as_bytes().windows(6).map(said).find(|part| text.contains(part));
            assert_eq!(part, None, "{text}");
        }
        let mut folders = vec![self.lpc.folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => assert!(!said(&fs::read(entry.path()).unwrap()).contains(KEY), "{entry:?}"),
                }
            }
        }
    }

    pub fn rows(&self) -> Vec<HashMap<String, String>> {
        let mut reader = csv::Reader::from_path(self.lpc.path("annotations.csv")).unwrap();
        reader.deserialize().map(Result::unwrap).collect()
    }

    /// Every comparison is there with the preference that the server's log-probabilities say.
    pub fn check_annotations(&self, missing: &[(usize, &str)]) {
        let rows = self.rows();
        assert_eq!(rows.len(), self.n);
        for (id, row) in rows.iter().enumerate() {
            assert_eq!(
                (&row["generator"][..], row["instruction_index"].as_str()),
                ("model, ours", &*id.to_string())
            );
            let (theirs, mine) = if id == 7 { (4, 4) } else { (9 + id, 7 + id) };
            assert_eq!(row["len_output_1"], theirs.to_string());
            assert_eq!(row["len_output_2"], mine.to_string());
            if let Some((_, why)) = missing.iter().find(|(missing, _)| *missing == id) {
                assert_eq!((row["preference"].as_str(), row["missing"].as_str()), ("", *why));
                continue;
            }
            let (m, other) = logprobs(id);
            let first = 2.0 - m.exp() / (m.exp() + other.exp());
            let expected = match id {
                7 => 1.5,
                _ if is_switched(&instruction(id)) => 3.0 - first,
                _ => first,
            };
            assert!((row["preference"].parse::<f64>().unwrap() - expected).abs() < 1e-12, "{id}");
        }
    }

    /// Each comparison but the one of identical outputs was charged exactly once.
    fn check_paid_once(&self, server: &Server) {
        let expected: HashMap<usize, usize> = (0..self.n).filter(|&id| id != 7).map(|id| (id, 1)).collect();
        assert_eq!(server.paid(), expected);
    }
}

pub fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn error(code: &str, message: &str) -> String {
    json!({ "error": { "code": code, "message": message } }).to_string()
}

pub fn always(_: &Asked) -> Act {
    Act::Answer
}

#[test]
fn the_request_is_alpaca_evals() {
    let case = Case::new(10);
    let server = Server::start(|asked| {
        let id = asked.id;
        assert_eq!(asked.authorization.as_deref(), Some(format!("Bearer {KEY}").as_str()));
        let body = &asked.body;
        assert_eq!((&body["model"], &body["max_tokens"]), (&json!("judge"), &json!(1)));
        assert_eq!((&body["logprobs"], &body["top_logprobs"]), (&json!(true), &json!(5)));
        let (mine, theirs) = (format!("mine é {}", "x".repeat(id)), format!("theirs é {}", "x".repeat(id)));
        let text = if is_switched(&instruction(id)) {
            format!("{}|{mine}|{theirs}", instruction(id))
        } else {
            format!("{}|{theirs}|{mine}", instruction(id))
        };
        assert_eq!(body["messages"], json!([{ "role": "user", "content": text.trim() }]));
        Act::Answer
    });
    case.lpc.write("prompt.txt", "{instruction}|{output_1}|{output_2}\n");
    let (out, errors) =
        case.ok(&server, &["--prompt", "prompt.txt", "--price-in", "10", "--price-out", "30"]);
    assert_eq!(
        out,
        "annotations.csv: 10 comparisons, 9 verdicts, 1 of identical outputs, 0 without a verdict\n"
    );
    assert!(errors.contains("10 comparisons, 9 questions for judge: about"), "{errors}");
    assert!(errors.contains("9000 tokens in, 9 out, $0.0903"), "{errors}");
    case.check_annotations(&[]);
    case.check_paid_once(&server);
    let rows = case.rows();
    assert_eq!(rows[0]["judge"], "judge");
    assert_eq!(rows[0]["prompt_sha256"].len(), 64);

    // As JSON and from the cache alone.
    case.ok(&server, &["--prompt", "prompt.txt", "--out", "annotations.json"]);
    let json: Vec<Value> =
        serde_json::from_slice(&fs::read(case.lpc.path("annotations.json")).unwrap()).unwrap();
    for (row, object) in rows.iter().zip(&json) {
        assert_eq!(row["preference"].parse::<f64>().unwrap(), object["preference"].as_f64().unwrap());
        assert_eq!((&object["generator_1"], &object["generator_2"]), (&json!("base"), &json!("model, ours")));
    }
    // Another prompt is another question.
    case.ok(&server, &["--prompt", "prompt.txt"]);
    assert_eq!(server.requests(), 9);
    server.change(always);
    case.ok(&server, &[]);
    assert_eq!(server.requests(), 18);
}

#[test]
fn every_fault_at_once() {
    let case = Case::new(40);
    let server = Server::start(|asked| match (asked.id % 8, asked.attempt) {
        (1, 0..=2) => Act::Status(429, Some("0"), error("rate_limit_exceeded", "slow down")),
        (2, 0..=1) => Act::Status(500 + asked.attempt as u16 * 3, None, "oops".into()),
        (3, 0) => Act::CutShort,
        (4, 0) => Act::Close,
        (5, 0) if asked.id < 20 => Act::Hang,
        (6, 0) => Act::NotJson,
        _ if asked.id == 16 => Act::NoLogprobs,
        _ if asked.id == 24 => Act::NeitherName,
        _ if asked.id == 32 => {
            Act::Status(400, None, error("context_length_exceeded", &format!("too\nlong {KEY}")))
        }
        _ => Act::Answer,
    });
    let (out, errors) = case.ok(&server, &["--concurrency", "5"]);
    let end = "40 comparisons, 36 verdicts, 1 of identical outputs, 3 without a verdict \
               (1 no log-probabilities, 1 neither m nor M, 1 refused)\n";
    assert!(out.ends_with(end), "{out}");
    let counts = "0 replies from the cache, 38 asked for; 15 attempts throttled, 10 server errors, 17 broken off; \
                  1 refused, 0 given up";
    assert!(errors.contains(counts), "{errors}");
    case.check_annotations(&[(16, "no_logprobs"), (24, "neither_name"), (32, "refused")]);
    let paid = server.paid();
    assert!(
        (0..40).all(|id| paid.get(&id).copied().unwrap_or(0) == usize::from(id != 7 && id != 32)),
        "{paid:?}"
    );
    assert!(server.log.lock().unwrap().most_at_once <= 5);

    // Whoever has no verdict counts in no mean.
    let difficulty: String = (0..40).map(|i| format!("{i},0.{i}\n")).collect();
    case.lpc.write("difficulty.csv", format!("instruction_index,difficulty\n{difficulty}"));
    let files = ["--annotations", "annotations.csv", "--difficulty", "difficulty.csv"];
    let ours = table(&case.lpc, &[&files[..], &["--glm", "minimal"]].concat());
    assert_eq!(ours["model, ours"]["n_total"], 37.0);
}

#[test]
fn a_storm_of_429_is_waited_out_by_all() {
    let case = Case::new(12);
    let begun = Instant::now();
    let server = Server::start(move |_| match begun.elapsed() < Duration::from_millis(1500) {
        true => Act::Status(429, Some("1"), error("rate_limit_exceeded", "slow down")),
        false => Act::Answer,
    });
    case.ok(&server, &["--concurrency", "6", "--attempts", "4"]);
    case.check_annotations(&[]);
    case.check_paid_once(&server);
    // Two waves at most while it lasted, where pestering would have sent dozens.
    assert!(server.requests() <= 11 + 2 * 6, "{}", server.requests());
    let times = &server.log.lock().unwrap().times;
    let gap = times.windows(2).map(|w| w[1] - w[0]).max().unwrap();
    assert!(gap > Duration::from_millis(900), "Retry-After was not waited for: {gap:?}");
}

#[test]
fn a_budget_stops_and_more_goes_on() {
    let case = Case::new(30);
    let server = Server::start(always);
    // A busy machine is not a judge that hangs: what breaks off is charged, and asked again.
    let patience = ["--timeout", "60", "--concurrency", "3"];
    let prices = [&patience[..], &["--price-in", "1000", "--price-out", "1000", "--budget"]].concat();
    // A reply costs 1.001 though its prompt looks like a tenth of that.
    let message = case.refused(&server, &[&prices[..], &["10"]].concat());
    assert!(message.contains("--budget = used up, expected more; "), "{message}");
    assert!(
        message.contains(" of 29 comparisons are kept, the same command goes on from there"),
        "{message}"
    );
    assert!(!case.lpc.path("annotations.csv").exists());
    // Whoever answers first: nine fit, and the same command finds no room for another.
    assert_eq!(server.paid().values().sum::<usize>(), 9, "replies of 1.001 for 10");
    assert!(case.refused(&server, &[&prices[..], &["10"]].concat()).contains("used up"));
    assert_eq!(server.paid().values().sum::<usize>(), 9);
    case.ok(&server, &[&prices[..], &["1000"]].concat());
    case.check_annotations(&[]);
    case.check_paid_once(&server);
}

#[test]
fn what_cannot_succeed_stops_early() {
    let case = Case::new(60);
    for (status, code, message) in [
        (401, "invalid_api_key", format!("Incorrect API key: {KEY}.")),
        (403, "forbidden", "this key may not".into()),
        (404, "model_not_found", "no such model".into()),
        (429, "insufficient_quota", "pay first".into()),
        (400, "bad_request", "what is top_logprobs?".into()),
    ] {
        let body = error(code, &message);
        let server = Server::start(move |_| Act::Status(status, None, body.clone()));
        let said = case.refused(&server, &["--concurrency", "2"]);
        assert!(said.contains(&format!("HTTP {status}: {}", message.replace(KEY, "[key]"))), "{said}");
        assert!(server.requests() <= 10, "{}", server.requests());
    }
    let server = Server::start(|_| Act::NoLogprobs);
    let said = case.refused(&server, &["--concurrency", "2"]);
    assert!(said.contains("8 replies without a verdict (no log-probabilities); "), "{said}");
    assert!(server.requests() <= 10);
    // Nobody is there.
    let mut server = Server::start(always);
    server.base_url = "http://127.0.0.1:9/v1".into();
    assert!(
        case.refused(&server, &["--attempts", "1"]).contains("http://127.0.0.1:9/v1: expected an answer")
    );
    server.base_url = "127.0.0.1:9".into();
    assert!(case.refused(&server, &[]).contains("--base-url = 127.0.0.1:9, expected http://"));
}

#[test]
fn one_that_always_fails_is_asked_again_next_time() {
    let case = Case::new(20);
    let server = Server::start(|asked| match asked.id {
        3 => Act::Status(503, None, String::new()),
        _ => Act::Answer,
    });
    let message = case.refused(&server, &["--attempts", "3"]);
    assert!(message.contains("expected an answer to every comparison, got HTTP 503; 18 of 19"), "{message}");
    assert_eq!(server.log.lock().unwrap().attempts[&3], 3);
    server.change(always);
    let before = server.requests();
    case.ok(&server, &[]);
    assert_eq!(server.requests(), before + 1);
    case.check_annotations(&[]);
    case.check_paid_once(&server);
}

#[test]
#[cfg(unix)]
fn interrupted_and_killed() {
    let case = Case::new(40);
    let slow = |_: &Asked| {
        std::thread::sleep(Duration::from_millis(100));
        Act::Answer
    };
    let server = Server::start(slow);
    let begin = |signal: &str, at: usize| {
        let mut child = case
            .command(&server, &["--concurrency", "3"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        // Read as it comes, or the pipe fills.
        let mut pipe = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = std::io::Read::read_to_string(&mut pipe, &mut text);
            text
        });
        while server.paid().len() < at {
            assert!(begun.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(5));
        }
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        (child.wait().unwrap(), errors.join().unwrap())
    };

    // Ctrl-C: replies on their way are waited for and kept.
    let (status, errors) = begin("-INT", 8);
    assert_eq!(status.code(), Some(130), "{errors}");
    let kept = server.paid().len();
    let message =
        format!("lpc: interrupted: {kept} of 39 comparisons are kept; the same command goes on from there");
    assert!(errors.contains(&message), "{message}\n{errors}");
    assert!(server.paid().values().all(|&n| n == 1));
    assert!(!case.lpc.path("annotations.csv").exists());

    // SIGKILL: at most the replies on their way are lost; a torn line is forgotten.
    let (status, _) = begin("-KILL", kept + 8);
    assert!(!status.success());
    let cache = case.lpc.path("runs/judge.jsonl");
    let mut text = fs::read(&cache).unwrap();
    assert_eq!(text.last(), Some(&b'\n'));
    text.extend_from_slice(b"{\"key\":\"0123");
    fs::write(&cache, text).unwrap();
    case.ok(&server, &["--concurrency", "3"]);
    case.check_annotations(&[]);
    let paid: usize = server.paid().values().sum();
    assert!((39..=42).contains(&paid), "{paid}");

    let requests = server.requests();
    case.ok(&server, &[]);
    assert_eq!(server.requests(), requests, "the cache is whole");

    let undisturbed = Case::new(40);
    undisturbed.ok(&Server::start(always), &[]);
    let bytes = |case: &Case| fs::read(case.lpc.path("annotations.csv")).unwrap();
    assert_eq!(bytes(&case), bytes(&undisturbed));
}

#[test]
fn bad_input() {
    let case = Case::new(12);
    let server = Server::start(always);
    let entry = |i: &str, g: &str| format!(r#"{{"instruction":"{i}","output":"o","generator":"{g}"}}"#);
    for (text, message) in [
        ("{}".to_string(), "outputs.json:1: expected a JSON array of objects"),
        ("[]".into(), "outputs.json: expected at least one entry, got none"),
        (r#"[{"instruction":"i","output":"o"}]"#.into(), "missing field `generator`"),
        (format!("[{},{}]", entry("a", "g"), entry("b", "h")), "field `[1].generator`: expected `g`, got h"),
        (
            format!("[{},{}]", entry("a", "g"), entry("a", "g")),
            "field `[1].instruction`: expected each instruction once",
        ),
        (
            format!("[{}]", entry("a", "g")),
            "outputs.json: expected instructions of base.json, got none of them",
        ),
    ] {
        case.lpc.write("outputs.json", text);
        let said = case.refused(&server, &[]);
        assert!(said.contains(message), "{said}");
    }
    assert_eq!(server.requests(), 0);
    let case = Case::new(12);
    case.lpc.write("runs/judge.jsonl", "{\"key\":\"a\"}\n");
    assert!(case.refused(&server, &[]).contains("judge.jsonl:1: expected an entry with key and value"));
    let output = case.run(&server, &["--budget", "1"]);
    assert_eq!(output.status.code(), Some(2), "a budget without prices");
}
