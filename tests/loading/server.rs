//! Servers on this machine that play a hub or its storage, and processes that ask them.

use crate::tiny;
use lpc::files::sha256;
use lpc::model::save::save;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            Some(line.trim_end().to_string())
        };
        let first = line()?;
        let mut words = first.split(' ').map(str::to_string);
        let (method, path) = (words.next()?, words.next()?);
        let mut headers = vec![];
        while let Some((name, value)) = line()?.split_once(": ") {
            headers.push((name.to_ascii_lowercase(), value.to_string()));
        }
        let mut request = Self { method, path, headers, body: vec![] };
        let length = request.header("content-length").map_or(0, |n| n.parse().unwrap());
        request.body.resize(length, 0);
        reader.read_exact(&mut request.body).ok()?;
        Some(request)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn token(&self) -> Option<&str> {
        self.header("authorization")
    }
}

pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// A thread for each connection, one request on each.
    pub fn new(play: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(vec![]));
        let (log, play) = (requests.clone(), Arc::new(play));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (log, play) = (log.clone(), play.clone());
                std::thread::spawn(move || {
                    let Some(request) = Request::read(&stream) else { return };
                    log.lock().unwrap().push(request.clone());
                    play(&request, &mut stream);
                });
            }
        });
        Self { address, requests }
    }

    /// What was asked since the last time.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    /// A hub of a folder's files as `org/tiny` at v1. `first` may answer in its place, and then says so.
    pub fn hub(
        folder: PathBuf,
        first: impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |request, stream| {
            if first(request, stream) {
                return;
            }
            if request.path == "/api/models/org/tiny/revision/v1" {
                let names =
                    fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
                let names: Vec<_> = names.map(|name| serde_json::json!({ "rfilename": name })).collect();
                let info = serde_json::json!({ "sha": COMMIT, "siblings": names });
                return reply(stream, 200, &[], info.to_string().as_bytes());
            }
            let name = request.path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/")).unwrap();
            let bytes = fs::read(folder.join(name)).unwrap();
            let etag = etag(name, &bytes);
            reply(stream, 200, &[("ETag", &etag), ("X-Repo-Commit", COMMIT)], &bytes);
        })
    }
}

/// As the hub has it: the SHA-256 of large files, another name for the content of small ones.
pub fn etag(name: &str, bytes: &[u8]) -> String {
    if name.ends_with("safetensors") { format!("\"{}\"", sha256(bytes)) } else { format!("\"etag-{name}\"") }
}

/// Headers that say another length come in the place of the true one.
pub fn reply(stream: &mut TcpStream, status: u16, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status} so\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(body));
}

/// A tiny model's folder, and its fingerprint.
pub fn model() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let weights = tiny::weights(&tiny::config(), 1);
    save(folder.path(), &tiny::config(), &weights, &tiny::tokenizer(None)).unwrap();
    let fingerprint = lpc::model::load::huggingface::load(folder.path()).unwrap().fingerprint;
    (folder, fingerprint)
}

/// What a process with these variables and no others of the hub's says of `org/tiny` at v1, in one line; hub
/// and cache come from the environment.
pub fn load(variables: &[(&str, &str)]) -> String {
    child("hub::child", "org/tiny v1", variables)
}

pub fn child(test: &str, what: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env("LPC_TEST_HUB", what);
    without_hub(&mut command).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("child: "));
    line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))).to_string()
}

/// None of the variables that this machine may have set.
pub fn without_hub(command: &mut Command) -> &mut Command {
    let odd = |name: &str| {
        let name = name.to_ascii_uppercase();
        name.starts_with("HF_")
            || name.starts_with("HUGGING")
            || name.ends_with("_PROXY")
            || name.starts_with("XDG_")
    };
    for (name, _) in std::env::vars().filter(|(name, _)| odd(name)) {
        command.env_remove(name);
    }
    command
}
