//! What endpoints differ in, and judges that give no verdicts until they are mended.

use crate::faults::{Case, KEY, always, error, said};
use crate::server::{Act, Asked, Server};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

/// The judge's log-probabilities are switched on later: the same command asks again, and what the first
/// replies cost counts.
#[test]
fn a_mended_judge_is_asked_again() {
    let case = Case::new(7);
    let server = Server::start(|_| Act::NoLogprobs);
    let prices = ["--price-in", "1000", "--price-out", "1000"];
    for call in 1..=2 {
        let said = case.refused(&server, &prices);
        let end =
            "/v1/: expected a verdict on at least one comparison, got none on 7 (7 no log-probabilities)";
        assert!(said.ends_with(end), "{said}");
        // Once a call.
        assert_eq!(server.requests(), 7 * call);
        assert!(case.rows().iter().all(|row| row["missing"] == "no_logprobs"));
    }
    server.change(|asked| if asked.id == 3 { Act::NeitherName } else { Act::Answer });
    let (out, errors) = case.ok(&server, &prices);
    assert!(out.ends_with(
        "7 comparisons, 6 verdicts, 0 of identical outputs, 1 without a verdict (1 neither m nor M)\n"
    ));
    assert!(errors.contains("7 questions for judge: about"), "{errors}");
    let counts = "0 replies from the cache, 7 asked for (7 of them had no verdict before);";
    assert!(errors.contains(counts), "{errors}");
    // 21 replies of 1001 tokens at $1000 a million.
    assert!(errors.contains("21000 tokens in, 21 out, $21.0210"), "{errors}");
    assert_eq!(server.requests(), 21);
    // A verdict is never asked for twice, and a budget that is used up asks for nothing.
    let said = case.refused(&server, &[&prices[..], &["--budget", "21.1"]].concat());
    assert!(said.contains("--budget = used up") && said.contains("6 of 7 comparisons are kept"), "{said}");
    server.change(always);
    case.ok(&server, &[]);
    assert_eq!(server.requests(), 22);
    case.check_annotations(&[]);
    case.ok(&server, &[]);
    assert_eq!(server.requests(), 22);
}

#[test]
fn a_forbidden_text_is_its_own_fate() {
    let case = Case::new(12);
    let server = Server::start(|asked| match asked.id {
        0 | 4 | 11 => Act::Status(403, None, error("content_policy", "blocked by\u{1b}[31m moderation")),
        _ => Act::Answer,
    });
    let (out, errors) = case.ok(&server, &["--concurrency", "1"]);
    assert!(
        out.ends_with(
            "12 comparisons, 8 verdicts, 1 of identical outputs, 3 without a verdict (3 refused)\n"
        )
    );
    assert!(errors.contains("HTTP 403: blocked by [31m moderation"), "{errors}");
    case.check_annotations(&[(0, "refused"), (4, "refused"), (11, "refused")]);
    // The next call asks for these three alone.
    server.change(always);
    let before = server.requests();
    case.ok(&server, &[]);
    assert_eq!(server.requests(), before + 3);
    case.check_annotations(&[]);

    // Where few are asked for and none is allowed, it is told as well.
    let case = Case::new(3);
    let server = Server::start(|_| Act::Status(403, None, error("forbidden", "this key may not")));
    let output = case.run(&server, &[]);
    let errors = said(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors.contains("HTTP 403: this key may not") && errors.contains("none on 3 (3 refused)"),
        "{errors}"
    );
}

/// As OpenAI's later models have it: the other name once, then only that; a cache made by the one serves
/// the other.
#[test]
fn the_newer_name_of_the_limit() {
    let newer = |asked: &Asked| match (asked.body.get("max_tokens"), asked.body.get("max_completion_tokens"))
    {
        (None, Some(limit)) => {
            assert_eq!(limit, &json!(1));
            Act::Answer
        }
        _ => {
            let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                           'max_completion_tokens' instead.";
            Act::Status(400, None, error("unsupported_parameter", message))
        }
    };
    let case = Case::new(20);
    let server = Server::start(newer);
    case.ok(&server, &["--concurrency", "1"]);
    case.check_annotations(&[]);
    assert_eq!(server.requests(), 20);
    server.change(always);
    case.ok(&server, &[]);
    assert_eq!(server.requests(), 20);

    // Neither name: asked twice a comparison, and told.
    let case = Case::new(3);
    let server = Server::start(|_| {
        Act::Status(400, None, error("unsupported_parameter", "no max_tokens of any kind"))
    });
    let output = case.run(&server, &[]);
    assert_eq!((output.status.code(), server.requests()), (Some(1), 6), "{}", said(&output.stderr));
    assert!(said(&output.stderr).contains("HTTP 400: no max_tokens of any kind"));
    // A prompt that is too long for the context is not a matter of names.
    let server = Server::start(|_| {
        let message = "max_tokens and prompt exceed the context";
        Act::Status(400, None, error("context_length_exceeded", message))
    });
    case.run(&server, &[]);
    assert_eq!(server.requests(), 3);
}

#[test]
fn a_query_string_and_a_header_for_the_key() {
    let case = Case::new(3);
    let mut server = Server::start(|asked| {
        assert_eq!(asked.path, "/v1/deployments/judge/chat/completions?api-version=2024-10-21&x=a/b");
        assert_eq!((asked.api_key.as_deref(), asked.authorization.as_deref()), (Some(KEY), None));
        Act::Answer
    });
    let root = server.base_url.trim_end_matches('/').to_string();
    for path in ["", "/", "/chat/completions", "/chat/completions/"] {
        server.base_url = format!("{root}/deployments/judge{path}?api-version=2024-10-21&x=a/b#top");
        case.ok(&server, &["--key-header", "api-key"]);
        case.check_annotations(&[]);
    }
    assert_eq!(server.requests(), 3, "one address in four spellings");
    // What a query string holds is in no message.
    server.change(|_| Act::NoLogprobs);
    server.base_url = format!("{root}?token=hidden-in-the-query");
    let output = case.run(&server, &["--key-header", "Api-Key"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = said(&output.stderr);
    assert!(
        errors.contains("/v1: expected a verdict") && !errors.contains("hidden-in-the-query"),
        "{errors}"
    );
    // A key without a header, a header that is none, and a header without a key.
    let refused = case.refused(&server, &["--key-header", "api key"]);
    assert!(refused.contains("--key-header = api key, expected a header's name"), "{refused}");
    let output = without_key(&case, &server);
    let errors = said(&output.stderr);
    assert!(errors.contains("--key-header = api-key, but no key, expected a key in LPC_API_KEY"), "{errors}");
}

fn without_key(case: &Case, server: &Server) -> Output {
    let files =
        ["--outputs", "outputs.json", "--baseline", "base.json", "--model", "judge", "--out", "a.csv"];
    let call = ["judge", "--base-url", &server.base_url, "--key-header", "api-key"];
    case.lpc.command(&call).args(files).env_remove("LPC_API_KEY").output().unwrap()
}

/// Whoever waits is told how long and why, in the server's words and once for all requests that wait for
/// the same.
#[test]
fn waits_are_told_with_their_reason() {
    let reasons = [
        (
            429,
            error("rate_limit_exceeded", "Limit 200 a day.\nTry again in 2s."),
            "HTTP 429: Limit 200 a day. Try again in 2s.",
        ),
        (503, json!({ "detail": "loading the model" }).to_string(), "HTTP 503: loading the model"),
        (503, json!({ "error": "overloaded" }).to_string(), "HTTP 503: overloaded"),
        (429, "<html>slow down</html>".into(), "HTTP 429"),
    ];
    for (status, body, reason) in reasons {
        let case = Case::new(3);
        // All three have asked before the first is answered: one that asks later learns of the limit anew.
        let all = std::sync::Barrier::new(3);
        let server = Server::start(move |asked| match asked.attempt {
            0 => {
                all.wait();
                Act::Status(status, Some("4"), body.clone())
            }
            _ => Act::Answer,
        });
        let (_, errors) = case.ok(&server, &["--concurrency", "3"]);
        let waits: Vec<&str> = errors.lines().filter(|line| line.contains("waiting ")).collect();
        assert_eq!(waits, [format!("judging model, ours: waiting 4 s: {reason}")]);
        case.check_annotations(&[]);
    }
    // Someone in between answers for a server that does not: not charged, asked again.
    let case = Case::new(3);
    let server = Server::start(|asked| match asked.attempt {
        0 => Act::Status(
            200,
            None,
            json!({ "error": { "message": "Provider is down", "code": 502 } }).to_string(),
        ),
        _ => Act::Answer,
    });
    let (_, errors) = case.ok(&server, &["--retry-wait", "1", "--concurrency", "1"]);
    assert!(errors.contains("waiting 1 s: HTTP 200 with an error: Provider is down"), "{errors}");
    assert!(errors.contains("3 server errors, 0 broken off"), "{errors}");
}

/// A server that asks for a wait beyond all time gets a day, which ends when the user stops it.
#[test]
#[cfg(unix)]
fn an_endless_wait_can_be_stopped() {
    let case = Case::new(3);
    let server = Server::start(|_| Act::Status(429, Some("1e18"), error("slow", "come back later")));
    let mut child = case.command(&server, &[]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut rest = vec![];
    for line in lines {
        if line.ends_with("waiting 86400 s: HTTP 429: come back later") {
            assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        }
        rest.push(line);
    }
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.last().unwrap().starts_with("lpc: interrupted: 0 of 3 comparisons are kept"), "{rest:?}");
}
