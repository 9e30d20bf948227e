//! `lpc push` asks what `huggingface_hub` asks, in its order: every request of `fixtures/loading/hub.json`.

use crate::http::{COMMIT, Request, reply};
use crate::hub_rules::golden;
use crate::program::Lpc;
use crate::server::{Server, without_hub};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpc::files::sha256;
use serde_json::{Value, json};
use std::fs;
use std::net::TcpStream;
use std::process::Output;
use std::sync::{Arc, Mutex};

/// What a hub does first with a request: true where it has answered.
type First = Box<dyn Fn(&Request, &mut TcpStream) -> bool + Send + Sync>;

/// A run with the golden model.
fn run() -> Lpc {
    let lpc = Lpc::new();
    fs::create_dir_all(lpc.path("run/model/folder")).unwrap();
    let recipe = lpc.write("run/recipe.toml", "");
    for (name, content) in golden()["model"].as_object().unwrap() {
        let content = STANDARD.decode(content.as_str().unwrap()).unwrap();
        lpc.write(&format!("run/model/{name}"), content);
    }
    // Neither is a file of the model.
    lpc.write("run/model/.hidden", "x");
    std::os::unix::fs::symlink(recipe, lpc.path("run/model/link.json")).unwrap();
    lpc
}

fn push(lpc: &Lpc, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = lpc.command(&["push"]);
    without_hub(&mut command).args(arguments);
    command.env("HF_HOME", lpc.path("home")).envs(variables.iter().copied()).output().unwrap()
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// A request as the fixture shows it.
fn shown(server: &str, request: &Request) -> Value {
    let kind = request.header("content-type");
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let body = match kind {
        Some(kind) if kind.contains("ndjson") => request
            .body
            .split(|&b| b == b'\n')
            .filter(|line| !line.is_empty())
            .map(json)
            .collect::<Vec<_>>()
            .into(),
        Some(kind) if kind.contains("json") => json(&request.body),
        _ => json!({ "bytes": request.body.len(), "sha256": sha256(&request.body) }),
    };
    json!({
        "server": server, "method": request.method, "path": request.path, "kind": kind, "token": request.token(),
        "body": body,
    })
}

/// Hub and storage that answer as they did for Python, and what they were asked.
struct Played {
    hub: Server,
    _storage: Server,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Played {
    fn new(
        requests: &Value,
        first: impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let requests = Arc::new(requests.as_array().unwrap().clone());
        let addresses = Arc::new(Mutex::new((String::new(), String::new())));
        let log = Arc::new(Mutex::new(vec![]));
        let server = |name: &'static str, first: First| {
            let (requests, addresses, log) = (requests.clone(), addresses.clone(), log.clone());
            Server::new(move |request, stream| {
                log.lock().unwrap().push(shown(name, request));
                if first(request, stream) {
                    return;
                }
                let same = |r: &&Value| {
                    r["server"] == name && r["method"] == *request.method && r["path"] == *request.path
                };
                let Some(answer) = requests.iter().find(same).map(|r| &r["answer"]) else {
                    return reply(stream, 200, &[], br#"{"private": true}"#);
                };
                let (hub, storage) = addresses.lock().unwrap().clone();
                let body =
                    answer["body"].as_str().unwrap().replace("{hub}", &hub).replace("{storage}", &storage);
                let headers = answer["headers"].as_object().unwrap();
                let headers: Vec<_> =
                    headers.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
                reply(stream, answer["status"].as_u64().unwrap() as u16, &headers, body.as_bytes());
            })
        };
        let (hub, storage) = (server("hub", Box::new(first)), server("storage", Box::new(|_, _| false)));
        *addresses.lock().unwrap() = (hub.address.clone(), storage.address.clone());
        Self { hub, _storage: storage, log }
    }

    fn log(&self) -> Vec<Value> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

#[test]
fn every_request_is_pythons() {
    let lpc = run();
    let golden = golden();
    let pushes = golden["pushes"].as_object().unwrap();
    assert_eq!(pushes.len(), 6);
    for (name, case) in pushes {
        let played = Played::new(&case["requests"], |_, _| false);
        let mut arguments = vec!["run", "org/name", "--revision", case["revision"].as_str().unwrap()];
        arguments.extend((case["private"] == true).then_some("--private"));
        let variables = [("HF_ENDPOINT", played.hub.address.as_str()), ("HF_TOKEN", "secret")];
        let (out, err) = printed(&push(&lpc, &arguments, &variables));
        // What Python asks, without its questions for the place of what is there already and for the last
        // commit where it makes none.
        let all = case["requests"].as_array().unwrap();
        let stores = all.iter().any(|r| r["body"].to_string().contains("lfsFile"));
        let expected: Vec<Value> = all
            .iter()
            .filter(|r| r["method"] != "GET" && (stores || !r["path"].as_str().unwrap().ends_with("/batch")))
            .map(|r| {
                let mut request = r.clone();
                request.as_object_mut().unwrap().remove("answer");
                request
            })
            .collect();
        // Whether it is private is looked at before anything is sent.
        let looks = |r: &Value| r["method"] == "GET" && r["path"] == "/api/models/org/name";
        let log = played.log();
        assert_eq!(log.iter().filter(|r| looks(r)).count(), usize::from(case["private"] == true), "{name}");
        let log: Vec<Value> = log.into_iter().filter(|r| !looks(r)).collect();
        assert_eq!(log, expected, "{name}: {out}{err}");
        let page = format!("{}/org/name", played.hub.address);
        let said = match name.as_str() {
            "nothing has changed" => format!("{page} already has all files\n"),
            "one file has changed" => format!("new or changed: lpc_config.json\n{page} at commit {COMMIT}\n"),
            _ => format!(
                "new or changed: README.md, config.json, empty.json, lpc_config.json, model.safetensors\n{page} at commit {COMMIT}\n"
            ),
        };
        assert_eq!(out, said, "{name}");
        assert!(!err.contains("secret"), "{err}");
    }
}

#[test]
fn what_cannot_be_pushed() {
    let lpc = run();
    let golden = golden();
    let pieces = &golden["pushes"]["a private one, in pieces"]["requests"];
    let fails = |first: First, arguments: &[&str], token: &str| {
        let played = Played::new(pieces, first);
        let variables = [("HF_ENDPOINT", played.hub.address.as_str()), ("HF_TOKEN", token)];
        let output = push(&lpc, &[&["run"], arguments].concat(), &variables);
        let (out, err) = printed(&output);
        assert_eq!((output.status.code(), out.as_str()), (Some(1), ""), "{err}");
        let line =
            err.lines().find(|line| line.starts_with("lpc: ")).unwrap().replace(&played.hub.address, "HUB");
        (line, played.log())
    };
    let none = || Box::new(|_: &Request, _: &mut TcpStream| false);
    let answer = |end: &'static str, status: u16, body: &'static str| {
        Box::new(move |request: &Request, stream: &mut TcpStream| {
            request.path.ends_with(end) && {
                reply(stream, status, &[], body.as_bytes());
                true
            }
        })
    };
    let (line, log) = fails(none(), &["org/name"], " ");
    assert_eq!(
        line,
        "lpc: push: HF_TOKEN = nothing, expected a token that may write (make one at HUB/settings/tokens, or `hf auth login`)"
    );
    assert!(log.is_empty());
    for id in ["name", "a/b/c", "../x", "org/na me", "org--x/name"] {
        let (line, log) = fails(none(), &[id], "secret");
        assert!(line.contains("expected organisation/name") && log.is_empty(), "{line}");
    }
    let (line, _) = fails(none(), &["org/name", "--revision", "../x"], "secret");
    assert!(line.contains("--revision = ../x, expected a branch"), "{line}");

    // A public repository does not become a private one by being pushed to; nothing is sent.
    let public = answer("/api/models/org/name", 200, r#"{"private": false}"#);
    let (line, log) = fails(public, &["org/name", "--private"], "secret");
    assert!(
        line.contains("expected a private repository, as --private asks for, got a public one"),
        "{line}"
    );
    assert_eq!(log.len(), 2);

    let card =
        answer("/api/validate-yaml", 400, r#"{"errors": [{"message": "\"license\" must be one of"}]}"#);
    let (line, log) = fails(card, &["org/name"], "secret");
    assert!(line.contains("README.md") && line.contains("\"license\" must be one of"), "{line}");
    assert_eq!(log.len(), 2);

    for (end, status, body, expected) in [
        ("/api/repos/create", 403, r#"{"error": "not yours"}"#, "HTTP 403: not yours"),
        ("/preupload/main", 200, r#"{"files": []}"#, "expected a plan for README.md from the hub, got none"),
        ("/preupload/main", 200, r#"{"files": [{"path": "x", "uploadMode": "post"}]}"#, "got another answer"),
        ("/preupload/main", 200, "no JSON", "got an answer that is no JSON"),
        (
            "/objects/batch",
            200,
            r#"{"objects": []}"#,
            "expected a place for model.safetensors from the hub, got none",
        ),
        (
            "/commit/main",
            400,
            r#"{"error": "no"}"#,
            "expected a commit from the hub, got no answer (HTTP 400: no)",
        ),
        ("/commit/main", 200, "{}", "expected the name of the new commit from the hub, got none"),
    ] {
        // A repository that cannot be made may be there; here it is not.
        let first = answer(end, status, body);
        let first = Box::new(move |request: &Request, stream: &mut TcpStream| {
            if end == "/api/repos/create" && request.method == "GET" {
                reply(stream, 404, &[], b"");
                return true;
            }
            first(request, stream)
        });
        let (line, log) = fails(first, &["org/name"], "secret");
        assert!(line.contains(expected), "{end}: {line}");
        assert!(log.iter().filter(|r| r["server"] == "storage").all(|r| r["token"].is_null()), "{end}");
    }
    let oid = "646db9abafe4f1ece93f8bc80f98968cc8fa443df7d4de5457ad3b73c85eb337";
    for (header, expected) in [
        (json!({ "chunk_size": 0 }), "got 0 for pieces of 0"),
        (json!({ "chunk_size": "many", "1": "http://127.0.0.1:9/" }), "got 1 for pieces of"),
        (json!({ "chunk_size": 1000, "1": "http://127.0.0.1:9/" }), "got 1 for pieces of 1000"),
    ] {
        let order = json!({ "oid": oid, "size": 2500, "actions": { "upload": { "href": "http://127.0.0.1:9/", "header": header } } });
        let body = json!({ "objects": [order] }).to_string().leak();
        let (line, _) = fails(answer("/objects/batch", 200, body), &["org/name"], "secret");
        assert!(line.contains("expected addresses for 2500 bytes of model.safetensors"), "{line}");
        assert!(line.contains(expected), "{line}");
    }
    let (_, err) = printed(&push(&lpc, &["run/model", "org/name"], &[("HF_TOKEN", "secret")]));
    assert!(err.contains("run/model: expected a run that holds its model"), "{err}");
    let (_, err) =
        printed(&push(&lpc, &["run", "org/name"], &[("HF_TOKEN", "secret"), ("HF_HUB_OFFLINE", "1")]));
    assert!(err.contains("HF_HUB_OFFLINE = set"), "{err}");
}

/// A storage that stumbles is tried again with the same bytes.
#[test]
fn a_piece_is_sent_again() {
    let lpc = run();
    let golden = golden();
    let failures = Mutex::new(1);
    let case = &golden["pushes"]["a new repository"]["requests"];
    let mut requests = case.clone();
    for request in requests.as_array_mut().unwrap() {
        if request["path"].as_str().unwrap().ends_with("/batch") {
            // The hub's own address, which then plays the storage, gets no token for it either.
            let body = request["answer"]["body"].as_str().unwrap().replace("{storage}", "{hub}");
            request["answer"]["body"] = body.into();
        }
    }
    let played = Played::new(&requests, move |request, stream| {
        let mut failures = failures.lock().unwrap();
        request.method == "PUT" && {
            let status = if *failures > 0 { 503 } else { 200 };
            *failures -= 1;
            reply(stream, status, &[], b"");
            true
        }
    });
    let variables = [("HF_ENDPOINT", played.hub.address.as_str()), ("HF_TOKEN", "secret")];
    let output = push(&lpc, &["run", "org/name"], &variables);
    assert!(output.status.success(), "{}", printed(&output).1);
    let puts: Vec<Value> = played.log().into_iter().filter(|r| r["method"] == "PUT").collect();
    assert_eq!(puts.len(), 2);
    assert!(puts.iter().all(|put| put["body"]["bytes"] == 2500 && put["token"].is_null()), "{puts:?}");
    assert_eq!(puts[0]["body"], puts[1]["body"]);
}
