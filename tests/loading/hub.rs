//! The hub, played by a server on this machine.

use crate::tiny::{self, bits, message};
use lpc::config::ModelSource;
use lpc::model::load::{huggingface, load};
use lpc::model::save::save;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Serves a folder as `org/tiny` and remembers what was asked.
struct Hub {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn serve(folder: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &folder, &log);
            }
        });
        Self { endpoint, requests }
    }
}

fn answer(mut stream: TcpStream, folder: &Path, log: &Mutex<Vec<String>>) {
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
    match path.strip_prefix("/org/tiny/resolve/v1/").map(|name| (name, fs::read(folder.join(name)))) {
        Some((name, Ok(bytes))) => {
            let (from, to) = range.unwrap_or((0, None));
            let to = to.map_or(bytes.len(), |last| (last + 1).min(bytes.len()));
            let headers = format!(
                "ETag: \"etag-{name}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {from}-{}/{}\r\n",
                to - 1,
                bytes.len()
            );
            respond("206 Partial Content", &headers, &bytes[from..to]);
        }
        _ => respond("404 Not Found", "", b"nothing here"),
    }
}

/// Loads in a process of its own, since the hub's address and cache come from the environment.
fn load_with(endpoint: &str, home: &Path, id: &str, revision: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hub::child", "--ignored", "--nocapture"])
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HOME", home)
        .env("HF_TOKEN", "secret")
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

    let hub = Hub::serve(model.path().into());
    let expected = format!("{fingerprint} org/tiny@v1: ");
    assert!(load_with(&hub.endpoint, home.path(), "org/tiny", "v1").starts_with(&expected));
    let asked = hub.requests.lock().unwrap().split_off(0);
    assert!(asked.iter().any(|path| path.ends_with("/model.safetensors")));
    assert!(!asked.iter().any(|path| path.contains("pytorch_model")), "{asked:?}");
    assert!(home.path().join("hub/models--org--tiny/refs/v1").is_file());

    assert!(load_with(&hub.endpoint, home.path(), "org/tiny", "v1").starts_with(&expected));
    let asked = hub.requests.lock().unwrap().split_off(0);
    assert_eq!(asked, ["/api/models/org/tiny/revision/v1"], "the second time comes from the cache");

    let nobody = "http://127.0.0.1:9";
    assert!(load_with(nobody, home.path(), "org/tiny", "v1").starts_with(&expected));
    let elsewhere = tempfile::tempdir().unwrap();
    let message = load_with(nobody, elsewhere.path(), "org/tiny", "v1");
    assert!(message.starts_with("org/tiny@v1: expected the list of files from the hub"), "{message}");
    let message = load_with(&hub.endpoint, elsewhere.path(), "org/tiny", "v2");
    assert!(message.contains("org/tiny@v2") && message.contains("404"), "{message}");
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
