//! The hub, played by a server on this machine.

use crate::http::{COMMIT, reply};
use crate::message::message;
use crate::server::{self, Server, etag};
use crate::tiny;
use crate::tiny_files::bits;
use lpc::config::ModelSource;
use lpc::model::load::{huggingface, load};
use std::fs;
use std::path::Path;

/// What a hub does with the weights that it should not do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Breaks off within each reply's body, so that each brings three quarters of what is left.
    BreaksOff,
    /// Sends less than it announced, and calls that everything.
    SendsLess,
    /// Sends other bytes than those whose SHA-256 it states.
    SendsOther,
    /// States a commit that leads out of the cache.
    LeadsOut,
}

/// Serves a folder as `org/tiny`, to whoever has the token.
fn hub(folder: &Path, fault: Fault) -> Server {
    let folder = folder.to_path_buf();
    Server::new(move |request, stream| {
        if !request.token().is_some_and(|token| token.eq_ignore_ascii_case("bearer secret")) {
            return reply(stream, 401, &[], b"gated");
        }
        if request.path == "/api/models/org/tiny/revision/v1" {
            let names = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            let siblings: Vec<_> = names.map(|name| serde_json::json!({ "rfilename": name })).collect();
            let info = serde_json::json!({ "sha": COMMIT, "siblings": siblings });
            return reply(stream, 200, &[("Content-Type", "application/json")], info.to_string().as_bytes());
        }
        let name = request.path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/"));
        let Some((name, Ok(mut bytes))) = name.map(|name| (name, fs::read(folder.join(name)))) else {
            return reply(stream, 404, &[], b"nothing here");
        };
        let fault = if name == "model.safetensors" { fault } else { Fault::None };
        let (etag, whole) = (etag(name, &bytes), bytes.len());
        if fault == Fault::SendsOther {
            bytes[whole - 1] ^= 1;
        }
        let mut sent = request.range(whole);
        let probe = request.header("range").is_some_and(|range| !range.ends_with('-'));
        if fault == Fault::SendsLess && !probe {
            sent.end -= 10;
        }
        let commit = if fault == Fault::LeadsOut { "../../../../out" } else { COMMIT };
        let range = format!("bytes {}-{}/{whole}", sent.start, sent.end - 1);
        let length = sent.len().to_string();
        let headers = [
            ("ETag", etag.as_str()),
            ("X-Repo-Commit", commit),
            ("Content-Range", &range),
            ("Content-Length", &length),
        ];
        if fault == Fault::BreaksOff && sent.len() > 5000 {
            sent.end = (sent.start + 3 * sent.end) / 4;
        }
        reply(stream, 206, &headers, &bytes[sent]);
    })
}

/// Loads in a process of its own, since the hub's address and cache come from the environment.
fn load_with(endpoint: &str, home: &Path, revision: &str) -> String {
    load_as(endpoint, home, revision, "0")
}

fn load_as(endpoint: &str, home: &Path, revision: &str, offline: &str) -> String {
    let variables = [
        ("HF_ENDPOINT", endpoint),
        ("HF_HOME", home.to_str().unwrap()),
        ("HF_TOKEN", "secret"),
        ("HF_HUB_OFFLINE", offline),
    ];
    server::child("hub::child", &format!("org/tiny {revision}"), &variables)
}

#[test]
#[ignore = "started by the other tests of this file"]
fn child() {
    let Ok(model) = std::env::var("LPC_TEST_HUB") else { return };
    let (id, revision) = model.split_once(' ').unwrap();
    let result = load(&ModelSource::Hub { id: id.into(), revision: revision.into() });
    match result {
        Ok(loaded) => {
            let norm = bits(&loaded.tensors().unwrap()["model.norm.weight"]);
            assert_eq!(norm, bits(&tiny::weights(&tiny::config(), 1)["model.norm.weight"]));
            println!("\nchild: {} {}", loaded.fingerprint, loaded.description);
        }
        error => println!("\nchild: {}", message(error)),
    }
}

/// Paths asked for since the last time.
fn asked(hub: &Server) -> Vec<String> {
    hub.requests().into_iter().map(|request| request.path).collect()
}

#[test]
fn downloads_once_and_then_works_offline() {
    let (model, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    tiny::save(model.path(), &tiny::config(), Some(tiny::TEMPLATE));
    fs::write(model.path().join("pytorch_model.bin"), "not needed").unwrap();
    let fingerprint = huggingface::load(model.path()).unwrap().fingerprint;

    let hub = hub(model.path(), Fault::None);
    let expected = format!("{fingerprint} org/tiny@v1 (commit {COMMIT}): ");
    assert!(load_with(&hub.address, home.path(), "v1").starts_with(&expected));
    let asked_first = asked(&hub);
    assert!(asked_first.iter().any(|path| path.ends_with("/model.safetensors")));
    assert!(!asked_first.iter().any(|path| path.contains("pytorch_model")), "{asked_first:?}");
    assert!(home.path().join("hub/models--org--tiny/refs/v1").is_file());

    assert!(load_with(&hub.address, home.path(), "v1").starts_with(&expected));
    assert_eq!(asked(&hub), ["/api/models/org/tiny/revision/v1"], "the second time comes from the cache");

    assert!(load_as(&hub.address, home.path(), "v1", "1").starts_with(&expected));
    assert_eq!(asked(&hub), [""; 0], "offline means that nobody is asked");
    let message = load_as(&hub.address, model.path(), "v1", "1");
    assert!(message.contains("as HF_HUB_OFFLINE is set"), "{message}");

    // What lies in the cache is held against the name that the hub gave it.
    let weights = home.path().join(format!("hub/models--org--tiny/snapshots/{COMMIT}/model.safetensors"));
    let good = fs::read(&weights).unwrap();
    fs::write(fs::canonicalize(&weights).unwrap(), [&good[..good.len() - 1], b"x"].concat()).unwrap();
    let message = load_with(&hub.address, home.path(), "v1");
    assert!(
        message.contains("expected content of SHA-256") && message.contains("(delete the file)"),
        "{message}"
    );
    fs::write(fs::canonicalize(&weights).unwrap(), &good).unwrap();

    let nobody = "http://127.0.0.1:9";
    assert!(load_with(nobody, home.path(), "v1").starts_with(&expected));
    let elsewhere = tempfile::tempdir().unwrap();
    let message = load_with(nobody, elsewhere.path(), "v1");
    assert!(message.starts_with("org/tiny@v1: expected the list of files from the hub"), "{message}");
    let message = load_with(&hub.address, elsewhere.path(), "v2");
    assert!(message.contains("org/tiny@v2") && message.contains("404"), "{message}");
}

/// A reply that ends too early is continued, or else nothing of it is used, now or by a later try.
#[test]
fn replies_cut_short() {
    let model = tempfile::tempdir().unwrap();
    tiny::save(model.path(), &tiny::config(), None);
    let fingerprint = huggingface::load(model.path()).unwrap().fingerprint;
    let good = hub(model.path(), Fault::None);
    for (fault, expected) in [
        (Fault::BreaksOff, fingerprint.as_str()),
        (Fault::SendsLess, "model.safetensors: expected "),
        (Fault::SendsOther, "model.safetensors: expected content of SHA-256 "),
        (Fault::LeadsOut, "model.safetensors: expected a file of commit "),
    ] {
        let home = tempfile::tempdir().unwrap();
        let hub = hub(model.path(), fault);
        let said = load_with(&hub.address, home.path(), "v1");
        assert!(said.contains(expected), "{fault:?}: {said}");
        let again = load_with(&good.address, home.path(), "v1");
        assert!(again.starts_with(&fingerprint), "{fault:?}, then a good hub: {again}");
    }
}

#[test]
fn pickled_weights_are_refused() {
    let model = tempfile::tempdir().unwrap();
    tiny::save(model.path(), &tiny::config(), None);
    fs::rename(model.path().join("model.safetensors"), model.path().join("pytorch_model.bin")).unwrap();
    let hub = hub(model.path(), Fault::None);
    let home = tempfile::tempdir().unwrap();
    let said = load_with(&hub.address, home.path(), "v1");
    assert!(said.contains("pickled weights, which run code when read; convert them in Python"), "{said}");
    let path = model.path().join("pytorch_model.bin");
    assert!(message(load(&ModelSource::Gguf { path })).contains("pickled weights"));
}

#[test]
fn ids_that_are_paths_are_refused() {
    for (id, revision) in
        [("../x", "v1"), ("a/b/c", "v1"), ("", "v1"), ("a b", "v1"), ("a/.", "v1"), ("/a", "v1")]
    {
        let source = ModelSource::Hub { id: id.into(), revision: revision.into() };
        assert!(message(load(&source)).contains("expected a hub id such as"), "{id}");
    }
    for revision in ["", "../main", "a?b", "x#y", ".."] {
        let source = ModelSource::Hub { id: "a/b".into(), revision: revision.into() };
        assert!(message(load(&source)).contains("a commit, a tag or a branch"), "{revision}");
    }
}
