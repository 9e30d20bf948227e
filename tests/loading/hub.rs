//! The hub, played by a server on this machine.

use crate::tiny::{self, bits, message};
use lpc::config::ModelSource;
use lpc::files::sha256;
use lpc::model::load::{huggingface, load};
use lpc::model::save::save;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

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

/// Serves a folder as `org/tiny` and remembers what was asked.
struct Hub {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn serve(folder: PathBuf, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &folder, &log, fault);
            }
        });
        Self { endpoint, requests }
    }
}

fn answer(mut stream: TcpStream, folder: &Path, log: &Mutex<Vec<String>>, fault: Fault) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let token = headers.iter().any(|line| line.eq_ignore_ascii_case("authorization: bearer secret"));
    let range = headers.iter().find_map(|line| {
        let (name, value) = line.split_once(": bytes=")?;
        let (from, to) = value.split_once('-')?;
        name.eq_ignore_ascii_case("range").then(|| (from.parse().unwrap(), to.parse::<usize>().ok()))
    });
    let path = request.split(' ').nth(1).unwrap_or_default().to_string();
    log.lock().unwrap().push(path.clone());
    let mut respond = |status: &str, headers: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
            body.len()
        );
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    };
    if !token {
        return respond("401 Unauthorized", "", b"gated");
    }
    if path == "/api/models/org/tiny/revision/v1" {
        let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let siblings: Vec<_> = names.map(|name| serde_json::json!({ "rfilename": name })).collect();
        let info = serde_json::json!({ "sha": COMMIT, "siblings": siblings });
        return respond("200 OK", "Content-Type: application/json\r\n", info.to_string().as_bytes());
    }
    let prefix = format!("/org/tiny/resolve/{COMMIT}/");
    match path.strip_prefix(&prefix).map(|name| (name, fs::read(folder.join(name)))) {
        Some((name, Ok(mut bytes))) => {
            // As the hub does: the SHA-256 of large files, another name for the content of small ones.
            let weights = name == "model.safetensors";
            let etag = if weights { sha256(&bytes) } else { format!("etag-{name}") };
            let fault = if weights { fault } else { Fault::None };
            let (from, to) = range.unwrap_or((0, None));
            let whole = bytes.len();
            if fault == Fault::SendsOther {
                bytes[whole - 1] ^= 1;
            }
            let probe = to.is_some();
            let mut to = to.map_or(whole, |last| (last + 1).min(whole));
            if fault == Fault::SendsLess && !probe {
                to -= 10;
            }
            let commit = if fault == Fault::LeadsOut { "../../../../out" } else { COMMIT };
            let headers = format!(
                "ETag: \"{etag}\"\r\nX-Repo-Commit: {commit}\r\nContent-Range: bytes {from}-{}/{whole}\r\n",
                to - 1
            );
            if fault == Fault::BreaksOff && to - from > 5000 {
                let head =
                    format!("HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\n{headers}\r\n", to - from);
                let _ = stream
                    .write_all(head.as_bytes())
                    .and_then(|()| stream.write_all(&bytes[from..(from + 3 * to) / 4]));
                return;
            }
            respond("206 Partial Content", &headers, &bytes[from..to]);
        }
        _ => respond("404 Not Found", "", b"nothing here"),
    }
}

/// Loads in a process of its own, since the hub's address and cache come from the environment.
fn load_with(endpoint: &str, home: &Path, id: &str, revision: &str) -> String {
    load_as(endpoint, home, id, revision, "0")
}

fn load_as(endpoint: &str, home: &Path, id: &str, revision: &str, offline: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hub::child", "--ignored", "--nocapture"])
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HOME", home)
        .env("HF_TOKEN", "secret")
        .env("HF_HUB_OFFLINE", offline)
        .env("LPC_TEST_HUB", format!("{id} {revision}"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("child: "));
    line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))).to_string()
}

#[test]
#[ignore = "started by the other tests of this file"]
fn child() {
    let Ok(model) = std::env::var("LPC_TEST_HUB") else { return };
    let (id, revision) = model.split_once(' ').unwrap();
    let result = load(&ModelSource::Hub { id: id.into(), revision: revision.into() });
    match result {
        Ok(loaded) => {
            let norm = bits(&loaded.weights["model.norm.weight"]);
            assert_eq!(norm, bits(&tiny::weights(&tiny::config(), 1)["model.norm.weight"]));
            println!("\nchild: {} {}", loaded.fingerprint, loaded.description);
        }
        error => println!("\nchild: {}", message(error)),
    }
}

#[test]
fn downloads_once_and_then_works_offline() {
    let (model, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let weights = tiny::weights(&tiny::config(), 1);
    save(model.path(), &tiny::config(), &weights, &tiny::tokenizer(Some(tiny::TEMPLATE))).unwrap();
    fs::write(model.path().join("pytorch_model.bin"), "not needed").unwrap();
    let fingerprint = huggingface::load(model.path()).unwrap().fingerprint;

    let hub = Hub::serve(model.path().into(), Fault::None);
    let expected = format!("{fingerprint} org/tiny@v1 (commit {COMMIT}): ");
    assert!(load_with(&hub.endpoint, home.path(), "org/tiny", "v1").starts_with(&expected));
    let asked = hub.requests.lock().unwrap().split_off(0);
    assert!(asked.iter().any(|path| path.ends_with("/model.safetensors")));
    assert!(!asked.iter().any(|path| path.contains("pytorch_model")), "{asked:?}");
    assert!(home.path().join("hub/models--org--tiny/refs/v1").is_file());

    assert!(load_with(&hub.endpoint, home.path(), "org/tiny", "v1").starts_with(&expected));
    let asked = hub.requests.lock().unwrap().split_off(0);
    assert_eq!(asked, ["/api/models/org/tiny/revision/v1"], "the second time comes from the cache");

    assert!(load_as(&hub.endpoint, home.path(), "org/tiny", "v1", "1").starts_with(&expected));
    assert_eq!(*hub.requests.lock().unwrap(), [""; 0], "offline means that nobody is asked");
    let message = load_as(&hub.endpoint, model.path(), "org/tiny", "v1", "1");
    assert!(message.contains("as HF_HUB_OFFLINE is set"), "{message}");

    // What lies in the cache is held against the name that the hub gave it.
    let weights = home.path().join(format!("hub/models--org--tiny/snapshots/{COMMIT}/model.safetensors"));
    let good = fs::read(&weights).unwrap();
    fs::write(fs::canonicalize(&weights).unwrap(), [&good[..good.len() - 1], b"x"].concat()).unwrap();
    let message = load_with(&hub.endpoint, home.path(), "org/tiny", "v1");
    assert!(
        message.contains("expected content of SHA-256") && message.contains("(delete the file)"),
        "{message}"
    );
    fs::write(fs::canonicalize(&weights).unwrap(), &good).unwrap();

    let nobody = "http://127.0.0.1:9";
    assert!(load_with(nobody, home.path(), "org/tiny", "v1").starts_with(&expected));
    let elsewhere = tempfile::tempdir().unwrap();
    let message = load_with(nobody, elsewhere.path(), "org/tiny", "v1");
    assert!(message.starts_with("org/tiny@v1: expected the list of files from the hub"), "{message}");
    let message = load_with(&hub.endpoint, elsewhere.path(), "org/tiny", "v2");
    assert!(message.contains("org/tiny@v2") && message.contains("404"), "{message}");
}

/// A reply that ends too early is continued, or else nothing of it is used, now or by a later try.
#[test]
fn replies_cut_short() {
    let model = tempfile::tempdir().unwrap();
    let weights = tiny::weights(&tiny::config(), 1);
    save(model.path(), &tiny::config(), &weights, &tiny::tokenizer(None)).unwrap();
    let fingerprint = huggingface::load(model.path()).unwrap().fingerprint;
    let good = Hub::serve(model.path().into(), Fault::None);
    for (fault, expected) in [
        (Fault::BreaksOff, fingerprint.as_str()),
        (Fault::SendsLess, "model.safetensors: expected "),
        (Fault::SendsOther, "model.safetensors: expected content of SHA-256 "),
        (Fault::LeadsOut, "model.safetensors: expected a file of commit "),
    ] {
        let home = tempfile::tempdir().unwrap();
        let hub = Hub::serve(model.path().into(), fault);
        let said = load_with(&hub.endpoint, home.path(), "org/tiny", "v1");
        assert!(said.contains(expected), "{fault:?}: {said}");
        let again = load_with(&good.endpoint, home.path(), "org/tiny", "v1");
        assert!(again.starts_with(&fingerprint), "{fault:?}, then a good hub: {again}");
    }
}

#[test]
fn pickled_weights_are_refused() {
    let model = tempfile::tempdir().unwrap();
    save(model.path(), &tiny::config(), &tiny::weights(&tiny::config(), 1), &tiny::tokenizer(None)).unwrap();
    fs::rename(model.path().join("model.safetensors"), model.path().join("pytorch_model.bin")).unwrap();
    let hub = Hub::serve(model.path().into(), Fault::None);
    let home = tempfile::tempdir().unwrap();
    let said = load_with(&hub.endpoint, home.path(), "org/tiny", "v1");
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
