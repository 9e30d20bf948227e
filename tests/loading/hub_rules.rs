//! The hub's rules as `huggingface_hub` has them: `fixtures/loading/hub.json`, made by `generate_hub.py`.

use crate::http::{COMMIT, reply};
use crate::message::message;
use crate::server::{Server, child, etag, load, model};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpc::files::sha256;
use lpc::model::load::hub::dataset_file;
use lpc::model::load::hub::environment::Environment;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

pub fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/loading/hub.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn the_environment_means_what_it_means_there() {
    let golden = golden();
    let cases = golden["environments"].as_array().unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().to_str().unwrap();
        for (name, content) in case["files"].as_object().unwrap() {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content.as_str().unwrap()).unwrap();
        }
        let mut variables: HashMap<String, String> =
            serde_json::from_value(case["variables"].clone()).unwrap();
        variables.values_mut().for_each(|value| *value = value.replace("{home}", root));
        variables.extend([("HOME", root), ("PART", "part")].map(|(k, v)| (k.into(), v.into())));
        let read = Environment::from_variables(|name| variables.get(name).cloned(), Some(home.path().into()));
        let read = read.unwrap();
        let shown = json!({
            "endpoint": read.endpoint,
            "cache": read.cache.to_str().unwrap().replace(root, "{home}"),
            "token": read.token,
            "offline": read.offline,
        });
        assert_eq!(shown, case["expected"], "{} {}", case["variables"], case["files"]);
    }
}

#[test]
fn no_home_and_other_wrong_variables() {
    let read = |variables: &[(&str, &str)]| {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        Environment::from_variables(|name| variables.get(name).map(|v| v.to_string()), None)
    };
    assert!(message(read(&[])).contains("HOME = nothing, expected a home folder, or one named by HF_HOME"));
    assert!(message(read(&[("HF_HOME", "~/x")])).contains("HOME = nothing"));
    assert_eq!(read(&[("HF_HOME", "/x")]).unwrap().cache, Path::new("/x/hub"));
    let line = message(read(&[("HF_HOME", "/x"), ("HF_HUB_ETAG_TIMEOUT", "soon")]));
    assert!(line.contains("HF_HUB_ETAG_TIMEOUT = soon, expected a whole number of seconds"), "{line}");
    for endpoint in
        ["hub.example", "ftp://hub.example", "https://", "https://me:key@hub.example", "http://a b"]
    {
        let line = load(&[("HF_ENDPOINT", endpoint), ("HF_HOME", "/nowhere")]);
        assert!(line.contains("HF_ENDPOINT = ") && line.contains("expected https://"), "{endpoint}: {line}");
    }
    let line = load(&[("HF_TOKEN", "a\u{7}b"), ("HF_HOME", "/nowhere")]);
    assert!(line.contains("HF_TOKEN = control characters, expected a token that can be sent"), "{line}");
}

#[test]
#[ignore = "started by the other tests of this file"]
fn child_data() {
    let Ok(names) = std::env::var("LPC_TEST_HUB") else { return };
    let files: lpc::Result<Vec<_>> = names.split(' ').map(|name| dataset_file("org/data", name)).collect();
    println!("\nchild: {}", files.map_or_else(|e| e.to_string(), |files| format!("{} files", files.len())));
}

/// Blobs, links and refs lie where `huggingface_hub` lays them, weak names included.
#[test]
fn the_cache_is_the_one_of_python() {
    let golden = golden();
    let download = &golden["download"];
    let files: HashMap<String, (Vec<u8>, String)> = download["files"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, file)| {
            let content = STANDARD.decode(file["content"].as_str().unwrap()).unwrap();
            (name.clone(), (content, file["etag"].as_str().unwrap().to_string()))
        })
        .collect();
    let mut names: Vec<String> = files.keys().cloned().collect();
    names.sort();
    let names = names.join(" ");
    let hub = Server::new(move |request, stream| {
        let name = request.path.strip_prefix("/datasets/org/data/resolve/main/").unwrap();
        let (content, etag) = &files[name];
        reply(stream, 200, &[("ETag", etag), ("X-Repo-Commit", COMMIT)], content);
    });
    let home = tempfile::tempdir().unwrap();
    let mut variables = vec![
        ("HF_ENDPOINT", format!("{}/", hub.address)),
        ("HF_HUB_CACHE", home.path().join("cache").to_str().unwrap().to_string()),
    ];
    let run = |variables: &[(&str, String)]| {
        let variables: Vec<_> = variables.iter().map(|(k, v)| (*k, v.as_str())).collect();
        child("hub_rules::child_data", &names, &variables)
    };
    assert_eq!(run(&variables), "3 files");
    assert!(hub.requests().iter().all(|request| request.token().is_none()));
    let folder = home.path().join("cache/datasets--org--data");
    let mut layout = BTreeMap::new();
    let mut left = vec![folder.clone()];
    while let Some(path) = left.pop() {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_string();
        if let Ok(to) = fs::read_link(&path) {
            layout.insert(name, format!("-> {}", to.display()));
        } else if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let content = fs::read(&path).unwrap();
            let text =
                if name.contains("refs") { String::from_utf8(content).unwrap() } else { sha256(&content) };
            layout.insert(name, text);
        }
    }
    assert_eq!(json!(layout), download["layout"]);

    variables.push(("HF_HUB_OFFLINE", "1".into()));
    assert_eq!(run(&variables), "3 files");
    fs::remove_dir_all(&folder).unwrap();
    let line = run(&variables);
    assert!(line.contains("in the hub's cache, as HF_HUB_OFFLINE is set"), "{line}");
    assert_eq!(hub.requests().len(), 0);
    let line =
        child("hub_rules::child_data", "../../x", &[("HF_ENDPOINT", &hub.address), ("HF_HOME", "/nowhere")]);
    assert!(line.contains("expected a name of a file, got ../../x"), "{line}");
}

#[test]
fn ids_of_data_sets_are_no_paths() {
    for id in ["../x", "a/b/c", "a--b/c", "a/..", "/a", ""] {
        assert!(message(dataset_file(id, "x")).contains("expected a hub id such as"), "{id}");
    }
}

/// Weak names, redirects to relative places, ranges or none: each is the same model.
#[test]
fn hubs_differ() {
    let (model, fingerprint) = model();
    for kind in ["plain", "weak", "relative", "chunked"] {
        let folder = model.path().to_path_buf();
        let hub = Server::hub(model.path().into(), move |request, stream| {
            let Some((_, name)) =
                request.path.rsplit_once('/').filter(|(p, _)| !p.starts_with("/api/models"))
            else {
                return false;
            };
            let Ok(bytes) = fs::read(folder.join(name.split('?').next().unwrap())) else { return false };
            let weak = format!("W/{}", etag(name, &bytes));
            let commit = ("X-Repo-Commit", COMMIT);
            match kind {
                "weak" => reply(stream, 200, &[("ETag", &weak), commit], &bytes),
                "relative" if request.path.starts_with("/org") => {
                    let tag = etag(name, &bytes);
                    let size = bytes.len().to_string();
                    let place = format!("../../../../cached/{name}?x=1%2F2");
                    let linked = [("X-Linked-Etag", tag.as_str()), ("X-Linked-Size", &size), commit];
                    reply(stream, 307, &[&linked[..], &[("Location", &place)]].concat(), b"");
                }
                "relative" => reply(stream, 200, &[("ETag", "\"another\"")], &bytes),
                "chunked" => {
                    let tag = etag(name, &bytes);
                    let chunk =
                        [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n0\r\n\r\n"].concat();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nETag: {tag}\r\n\
                         X-Repo-Commit: {COMMIT}\r\n\r\n"
                    );
                    use std::io::Write;
                    let _ = stream.write_all(&[head.as_bytes(), &chunk].concat());
                }
                _ => return false,
            }
            true
        });
        let home = tempfile::tempdir().unwrap();
        let line = load(&[("HF_ENDPOINT", &hub.address), ("HF_HOME", home.path().to_str().unwrap())]);
        assert!(line.starts_with(&fingerprint), "{kind}: {line}");
        let weights = fs::read(model.path().join("model.safetensors")).unwrap();
        assert!(home.path().join("hub/models--org--tiny/blobs").join(sha256(&weights)).is_file(), "{kind}");
    }
}

#[test]
fn refusals_say_what_to_do() {
    let (model, fingerprint) = model();
    let at = |end: &'static str,
              status: u16,
              headers: &'static [(&str, &str)],
              body: &'static str,
              token: &str| {
        let hub = Server::hub(model.path().into(), move |request, stream| {
            request.path.ends_with(end) && {
                reply(stream, status, headers, body.as_bytes());
                true
            }
        });
        let home = tempfile::tempdir().unwrap();
        let variables = [
            ("HF_ENDPOINT", hub.address.as_str()),
            ("HF_HOME", home.path().to_str().unwrap()),
            ("HF_TOKEN", token),
        ];
        load(&variables).replace(&hub.address, "HUB")
    };
    let (list, config) = ("/revision/v1", "/config.json");
    for (end, status, headers, body, token, expected) in [
        (
            list,
            401,
            &[("X-Error-Code", "GatedRepo"), ("X-Error-Message", "Access is restricted.")][..],
            "",
            "",
            "org/tiny@v1: expected the list of files from the hub, got a gated model (HTTP 401: Access is restricted.); \
             accept its licence at HUB/org/tiny and set HF_TOKEN to a token of that account",
        ),
        (
            config,
            403,
            &[("X-Error-Code", "GatedRepo")],
            "",
            "mine",
            "org/tiny@v1/config.json: expected a file from the hub, got a gated model (HTTP 403); accept its licence at \
             HUB/org/tiny with the account of this HF_TOKEN, or wait to be let in",
        ),
        (
            list,
            401,
            &[("X-Error-Code", "RepoNotFound")],
            r#"{"error": "Invalid username or password."}"#,
            "",
            "no such model, or a private one (HTTP 401: Invalid username or password.); see HUB/org/tiny; a private one \
             needs HF_TOKEN",
        ),
        (
            list,
            404,
            &[("X-Error-Code", "RepoNotFound")],
            "",
            "mine",
            "no such model, or one that this HF_TOKEN does not open",
        ),
        (
            list,
            401,
            &[],
            r#"{"error": "Invalid credentials in Authorization header"}"#,
            "mine",
            "an HF_TOKEN that the hub does not know (HTTP 401: Invalid credentials in Authorization header); make one at \
             HUB/settings/tokens, or unset it",
        ),
        (
            list,
            404,
            &[("X-Error-Code", "RevisionNotFound")],
            "",
            "",
            "no such revision (HTTP 404); see HUB/org/tiny/tree/main",
        ),
        (
            config,
            404,
            &[("X-Error-Code", "EntryNotFound")],
            "",
            "",
            "no such file (HTTP 404); see HUB/org/tiny/tree/main",
        ),
        (
            list,
            403,
            &[],
            "",
            "mine",
            "a refusal (HTTP 403); see at HUB/settings/tokens what the token may do",
        ),
        (list, 418, &[("X-Error-Message", "tea\tpot")], "", "", "no answer (HTTP 418: tea\\u{9}pot)"),
    ] {
        let line = at(end, status, headers, body, token);
        assert!(line.contains(expected), "{line}\n{expected}");
    }
    // A busy hub is asked again, after as long as it says.
    let asked = AtomicUsize::new(0);
    let hub = Server::hub(model.path().into(), move |request, stream| {
        request.path.ends_with("/revision/v1") && asked.fetch_add(1, Ordering::SeqCst) < 2 && {
            reply(stream, 429, &[("Retry-After", "0")], b"");
            true
        }
    });
    let home = tempfile::tempdir().unwrap();
    let line = load(&[("HF_ENDPOINT", &hub.address), ("HF_HOME", home.path().to_str().unwrap())]);
    assert!(line.starts_with(&fingerprint), "{line}");
    assert_eq!(hub.requests().iter().filter(|request| request.path.ends_with("/revision/v1")).count(), 3);
}
