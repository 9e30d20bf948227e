//! Where hub and cache are, and who asks: the environment variables of `huggingface_hub`, by its rules.

use crate::error::{Error, Place, Result};
use regex::{Captures, Regex};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ENDPOINT: &str = "https://huggingface.co";
/// Seconds without an answer, or without further bytes of one.
const PATIENCE: u64 = 10;

/// What the variables say.
pub struct Environment {
    /// Without a slash at its end.
    pub endpoint: String,
    /// The folder of repositories.
    pub cache: PathBuf,
    /// Without white space around it; nobody is named by an empty one.
    pub token: Option<String>,
    pub offline: bool,
    /// How long connecting may take, and then the beginning of an answer.
    pub answer: Duration,
    /// How long an answer may stand still.
    pub stall: Duration,
}

impl Environment {
    /// Of this process.
    ///
    /// Errors: no home folder and none named instead, a token file that cannot be read, or a time that is
    /// no number.
    pub fn read() -> Result<Self> {
        Self::from_variables(|name| std::env::var(name).ok(), std::env::home_dir())
    }

    /// Of a process with these variables and this home folder. An empty variable is one that is not set.
    ///
    /// Errors: as [`read`](Self::read).
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>, home: Option<PathBuf>) -> Result<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let home = home.filter(|home| !home.as_os_str().is_empty());
        let path = |value: String| {
            let missing =
                || Error::argument("hub", "HOME", "nothing", "a home folder, or one named by HF_HOME");
            match (value.strip_prefix('~'), &home) {
                (Some(""), home) => home.clone().ok_or_else(missing),
                (Some(rest), home) if rest.starts_with('/') => {
                    home.clone().ok_or_else(missing).map(|home| home.join(rest.trim_start_matches('/')))
                }
                _ => Ok(PathBuf::from(value)),
            }
        };
        let expanded = |value: String| path(value).map(|path| expand(&path, &variable));
        let hf_home = match (set("HF_HOME"), set("XDG_CACHE_HOME")) {
            (Some(folder), _) => expanded(folder)?,
            (None, Some(folder)) => expanded(folder)?.join("huggingface"),
            (None, None) => path("~/.cache/huggingface".into())?,
        };
        let cache = match set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")) {
            Some(folder) => expanded(folder)?,
            None => hf_home.join("hub"),
        };
        let is_true = |name: &str| {
            let value = set(name).unwrap_or_default().to_ascii_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
        };
        let token = if is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            None
        } else if let Some(token) =
            set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")).and_then(|token| clean(&token))
        {
            Some(token)
        } else {
            let file = match set("HF_TOKEN_PATH") {
                Some(file) => expanded(file)?,
                None => hf_home.join("token"),
            };
            token_in(&file)?
        };
        let seconds = |name: &'static str| match set(name).map(|value| value.trim().parse::<u64>()) {
            None | Some(Ok(0)) => Ok(Duration::from_secs(PATIENCE)),
            Some(Ok(seconds)) => Ok(Duration::from_secs(seconds.min(86_400))),
            Some(Err(_)) => {
                let got = crate::visible::one_line(set(name).unwrap_or_default());
                Err(Error::argument("hub", name, got, "a whole number of seconds"))
            }
        };
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        Ok(Self {
            endpoint: endpoint.trim().trim_end_matches('/').into(),
            cache,
            token,
            offline: match set("HF_HUB_OFFLINE") {
                Some(_) => is_true("HF_HUB_OFFLINE"),
                None => is_true("TRANSFORMERS_OFFLINE"),
            },
            answer: seconds("HF_HUB_ETAG_TIMEOUT")?,
            stall: seconds("HF_HUB_DOWNLOAD_TIMEOUT")?,
        })
    }
}

/// `address`, of a hub's answer, on the hub that is meant: a mirror repeats what the hub itself says.
pub(super) fn on_endpoint(address: &str, endpoint: &str) -> String {
    match address.strip_prefix(ENDPOINT).filter(|rest| rest.starts_with('/')) {
        Some(rest) => format!("{endpoint}{rest}"),
        None => address.into(),
    }
}

/// `$NAME` and `${NAME}`; a name that is not set stays as it is.
fn expand(path: &Path, variable: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let (Some(text), Ok(pattern)) = (path.to_str(), Regex::new(r"\$(?:([0-9A-Za-z_]+)|\{([^}]*)\})")) else {
        return path.into();
    };
    let value = |c: &Captures<'_>| {
        let name = c.get(1).or(c.get(2)).map_or("", |name| name.as_str());
        variable(name).unwrap_or_else(|| c[0].to_string())
    };
    PathBuf::from(pattern.replace_all(text, value).into_owned())
}

fn clean(token: &str) -> Option<String> {
    let token = token.replace(['\r', '\n'], "");
    let token = token.trim();
    (!token.is_empty()).then(|| token.into())
}

/// What the hub's own tools keep after a login.
fn token_in(file: &Path) -> Result<Option<String>> {
    match fs::read(file) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(clean(&text)),
            Err(_) => Err(Error::input(Place::file(file), "a token of the hub", "bytes that are no text")),
        },
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(e) => Err(Error::io(file)(e)),
    }
}
