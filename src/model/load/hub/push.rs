//! A folder's files on the hub, by the protocol of `huggingface_hub`: what goes into git, what into the storage
//! of large files, then one commit. What the hub has already is not sent again.

use super::address::quoted;
use super::client::Client;
use super::environment::Environment;
use super::refusal::{Failure, Refusal};
use super::storage::{Shown, in_bar};
use super::{Kind, Repository, is_id, is_revision};
use crate::error::{Error, Place, Result};
use crate::model::load::huggingface::CARD;
use crate::progress::Progress;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Files in one question.
pub(super) const TOGETHER: usize = 256;
/// Of a file the hub sees this much before it decides where it goes.
const SAMPLE: u64 = 512;
/// Bytes of a file that may go into git: more than any hub wants there.
const LARGEST_IN_GIT: u64 = 32 << 20;
pub(super) const LFS: &str = "application/vnd.git-lfs+json";
const MAIN: &str = "main";

/// Where to.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// `organisation/name`.
    pub id: &'a str,
    /// A branch, made if it is not there.
    pub revision: &'a str,
    /// Nobody else may see it.
    pub private: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Pushed {
    pub page: String,
    /// The new commit, unless the hub had everything.
    pub commit: Option<String>,
    /// Files that the commit brings.
    pub files: Vec<String>,
}

/// One file on its way.
pub(super) struct Upload {
    pub name: String,
    pub path: PathBuf,
    pub size: u64,
    sample: Vec<u8>,
    /// Of a file for the storage of large files.
    pub sha256: Option<String>,
}

/// The hub's plan for a file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    path: String,
    upload_mode: Mode,
    #[serde(default)]
    should_ignore: bool,
    /// What the hub has under this name: the SHA-256 of a large file, git's name of a small one.
    oid: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Lfs,
    Regular,
}

/// Publishes the files of `folder`. [`Environment`] says where the hub is and whose token it is.
///
/// # Errors
/// No token, a name that is none, no file, a private repository asked for where a public one is, a hub that
/// refuses, or a file that cannot be read.
pub fn push(folder: &Path, to: Destination<'_>, progress: &Progress) -> Result<Pushed> {
    let Destination { id, revision, private } = to;
    if !is_id(id) || !id.contains('/') {
        return Err(Error::argument("push", "repository", crate::visible::one_line(id), "organisation/name"));
    }
    if !is_revision(revision) {
        return Err(Error::argument("push", "--revision", crate::visible::one_line(revision), "a branch"));
    }
    let environment = Environment::read()?;
    if environment.offline {
        return Err(Error::argument("push", "HF_HUB_OFFLINE", "set", "no such variable, to reach the hub"));
    }
    let client = Client::new(&environment)?;
    if !client.has_token() {
        let page = format!("{}/settings/tokens", environment.endpoint);
        let expected = format!("a token that may write (make one at {page}, or `hf auth login`)");
        return Err(Error::argument("push", "HF_TOKEN", "nothing", expected));
    }
    let files = files_of(folder)?;
    let repository = Repository { endpoint: &environment.endpoint, kind: Kind::Model, id };
    let place = Place::file(format!("{id}@{revision}"));
    let pusher = Pusher { client: &client, repository, revision, place, progress };
    pusher.create(private)?;
    pusher.check_card(&files)?;
    pusher.push(files)
}

/// Ordinary files that are not hidden, by name; the folder's own folders are none of a model's.
fn files_of(folder: &Path) -> Result<Vec<Upload>> {
    let mut files = vec![];
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let path = entry.path();
        let file = entry.file_type().map_err(Error::io(&path))?.is_file();
        let Some(name) = entry.file_name().to_str().map(str::to_string) else { continue };
        if !file || name.starts_with('.') {
            continue;
        }
        let mut sample = vec![];
        let open = File::open(&path).map_err(Error::io(&path))?;
        let size = open.metadata().map_err(Error::io(&path))?.len();
        open.take(SAMPLE).read_to_end(&mut sample).map_err(Error::io(&path))?;
        files.push(Upload { name, path, size, sample, sha256: None });
    }
    if files.is_empty() {
        return Err(Error::input(Place::file(folder), "files of a model", "none"));
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

pub(super) struct Pusher<'a> {
    pub client: &'a Client,
    pub repository: Repository<'a>,
    pub revision: &'a str,
    pub place: Place,
    pub progress: &'a Progress,
}

impl Pusher<'_> {
    pub fn failed(&self, what: &str) -> impl Fn(Failure) -> Error {
        move |e| e.at(&self.place, what, &self.repository)
    }

    pub fn unreadable<T: serde::de::DeserializeOwned>(&self, what: &str, answer: Value) -> Result<T> {
        serde_json::from_value(answer).map_err(|e| {
            let got = format!("another answer ({})", crate::visible::one_line(e));
            Error::input(self.place.clone(), format!("{what} from the hub"), got)
        })
    }

    fn post_json(&self, path: &str, body: &Value, patient: bool) -> std::result::Result<Value, Failure> {
        let url = format!("{}/{path}", self.repository.endpoint);
        self.client.post(&url, "application/json", body.to_string().as_bytes(), patient)
    }

    /// The repository and its branch. Both may be there, also for a token that may make none.
    fn create(&self, private: bool) -> Result<()> {
        let (organisation, name) = self.repository.id.split_once('/').unwrap_or_default();
        let mut body = json!({ "name": name, "organization": organisation, "type": "model" });
        if private {
            body["visibility"] = "private".into();
        }
        let made = self.post_json("api/repos/create", &body, false);
        let there = || self.client.get(&self.repository.api(), true);
        let info = match made {
            Ok(_) if private => Some(there().map_err(self.failed("the new repository"))?),
            Ok(_) => None,
            Err(Failure::Refused(Refusal { status: 409, .. })) if !private => None,
            Err(refused @ Failure::Refused(Refusal { status: 401..=403 | 409, .. })) => {
                Some(there().map_err(|_| self.failed("a new repository")(refused))?)
            }
            Err(e) => return Err(self.failed("a new repository")(e)),
        };
        // Before anything is sent: what is public was seen already when it is made private.
        if private && info.is_some_and(|info| info["private"] == false) {
            let expected = "a private repository, as --private asks for";
            let got = format!("a public one; make it private at {}/settings", self.repository.page());
            return Err(Error::input(self.place.clone(), expected, got));
        }
        if self.revision == MAIN {
            return Ok(());
        }
        let branch = format!("{}/branch/{}", self.repository.api(), quoted(self.revision, false));
        match self.post_json(&branch, &json!({}), false) {
            Ok(_) | Err(Failure::Refused(Refusal { status: 409, .. })) => Ok(()),
            Err(e) => Err(self.failed("a new branch")(e)),
        }
    }

    /// A card that the hub does not take would stop the commit, after everything was sent.
    fn check_card(&self, files: &[Upload]) -> Result<()> {
        let Some(card) = files.iter().find(|file| file.name == CARD) else { return Ok(()) };
        let text = fs::read_to_string(&card.path).map_err(Error::io(&card.path))?;
        let checked =
            self.post_json("api/validate-yaml", &json!({ "content": text, "repoType": "model" }), true);
        let checked = checked.map_err(self.failed(&format!("approval of {CARD}")))?;
        for warning in checked["warnings"].as_array().into_iter().flatten() {
            tracing::warn!(
                "{CARD}: {}",
                crate::visible::one_line(warning["message"].as_str().unwrap_or_default())
            );
        }
        Ok(())
    }

    fn push(&self, mut files: Vec<Upload>) -> Result<Pushed> {
        let mut plans = vec![];
        for some in files.chunks(TOGETHER) {
            plans.extend(self.plans(some)?);
        }
        let mut lines = vec![json!({
            "key": "header",
            "value": { "summary": "Upload a model with lpc", "description": "" },
        })];
        let mut large = vec![];
        let mut names = vec![];
        for file in &mut files {
            let plan = plans.iter().find(|plan| plan.path == file.name).ok_or_else(|| {
                Error::input(self.place.clone(), format!("a plan for {} from the hub", file.name), "none")
            })?;
            if plan.should_ignore {
                tracing::warn!("{}: left out, as .gitignore of {} says", file.name, self.repository.page());
                continue;
            }
            // The storage takes no empty objects.
            let line = if plan.upload_mode == Mode::Regular || file.size == 0 {
                self.in_git(file, plan)?
            } else {
                self.in_storage(file, plan)?
            };
            let Some(line) = line else { continue };
            lines.push(line);
            names.push(file.name.clone());
            if file.sha256.is_some() {
                large.push(&*file);
            }
        }
        let page = self.repository.page();
        if names.is_empty() {
            return Ok(Pushed { page, commit: None, files: names });
        }
        for some in large.chunks(TOGETHER) {
            self.store(some)?;
        }
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let url = format!(
            "{}/{}/commit/{}",
            self.repository.endpoint,
            self.repository.api(),
            quoted(self.revision, false)
        );
        let made = self.client.post(&url, "application/x-ndjson", body.as_bytes(), false);
        let made = made.map_err(self.failed("a commit"))?;
        let commit = made["commitOid"].as_str().filter(|commit| super::is_plain(commit)).map(str::to_string);
        let missing = || Error::input(self.place.clone(), "the name of the new commit from the hub", "none");
        Ok(Pushed { page, commit: Some(commit.ok_or_else(missing)?), files: names })
    }

    /// What the hub wants to do with the files.
    fn plans(&self, files: &[Upload]) -> Result<Vec<Plan>> {
        #[derive(Deserialize)]
        struct Plans {
            files: Vec<Plan>,
        }
        let files: Vec<Value> = files
            .iter()
            .map(|f| json!({ "path": f.name, "sample": STANDARD.encode(&f.sample), "size": f.size }))
            .collect();
        let path = format!("{}/preupload/{}", self.repository.api(), quoted(self.revision, false));
        let plans = self.post_json(&path, &json!({ "files": files }), true);
        let plans = plans.map_err(self.failed("a plan of the upload"))?;
        Ok(self.unreadable::<Plans>("a plan of the upload", plans)?.files)
    }

    /// A small file's line in the commit, unless the hub has it.
    fn in_git(&self, file: &Upload, plan: &Plan) -> Result<Option<Value>> {
        if file.size > LARGEST_IN_GIT {
            let place = Place::file(&file.path);
            let expected =
                format!("a hub that stores files of more than {LARGEST_IN_GIT} bytes outside of git");
            return Err(Error::input(place, expected, format!("{} bytes to be sent as text", file.size)));
        }
        let bytes = fs::read(&file.path).map_err(Error::io(&file.path))?;
        let git = Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(&bytes);
        let oid: String = git.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let line = json!({
            "key": "file",
            "value": { "content": STANDARD.encode(&bytes), "path": file.name, "encoding": "base64" },
        });
        Ok((plan.oid.as_ref() != Some(&oid)).then_some(line))
    }

    /// A large file's line in the commit, unless the hub has it.
    fn in_storage(&self, file: &mut Upload, plan: &Plan) -> Result<Option<Value>> {
        let task = self.progress.task(format!("{}: SHA-256", file.name), in_bar(file.size));
        let open = File::open(&file.path).map_err(Error::io(&file.path))?;
        let oid = super::super::sha256(Shown { file: open.take(file.size), task: Rc::new(task) });
        let oid = oid.map_err(Error::io(&file.path))?;
        if plan.oid.as_ref() == Some(&oid) {
            return Ok(None);
        }
        let line = json!({
            "key": "lfsFile",
            "value": { "path": file.name, "algo": "sha256", "oid": oid, "size": file.size },
        });
        file.sha256 = Some(oid);
        Ok(Some(line))
    }
}
