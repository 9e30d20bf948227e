//! Servers on this machine that play a hub or its storage, and processes that ask them.

use crate::http::{COMMIT, Request, reply, serve};
use crate::tiny;
use lpc::files::sha256;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

impl Request {
    pub fn token(&self) -> Option<&str> {
        self.header("authorization")
    }
}

pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn new(play: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let requests = Arc::new(Mutex::new(vec![]));
        let log = requests.clone();
        let address = serve(move |request, stream| {
            log.lock().unwrap().push(request.clone());
            play(request, stream);
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

/// A tiny model's folder, and its fingerprint.
pub fn model() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    tiny::save(folder.path(), &tiny::config(), None);
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
