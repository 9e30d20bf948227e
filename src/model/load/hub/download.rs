//! One file of the hub: what its one answer announces, then the bytes, no more of them than announced.

use super::cache::Folder;
use super::client::{Answer, Client, Steady};
use super::refusal::Failure;
use super::{Repository, is_plain};
use crate::error::{Error, Place, Result};
use crate::progress::{Progress, Task};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Attempts at going on with a download that broke off, each of which may bring little.
const RETRIES: u32 = 5;
/// An attempt that brought this much does not count.
const PROGRESS: u64 = 1 << 20;
/// Before a download goes on.
const PAUSE: Duration = Duration::from_secs(1);

/// Which file, and what it may be.
pub struct Wanted<'a> {
    pub revision: &'a str,
    pub name: &'a str,
    /// The only commit that it may be of.
    pub commit: Option<&'a str>,
    /// Bytes at most.
    pub most: u64,
}

/// What the hub says of a file's content.
#[derive(Debug, PartialEq, Eq)]
struct Announced {
    commit: String,
    /// The content's name: its SHA-256 where it is large.
    etag: String,
    size: Option<u64>,
}

/// A file in the cache with its commit, downloaded if need be. What came is used only if it is as long as the
/// hub said and, where the hub states its SHA-256, has that.
pub fn fetch(
    client: &Client,
    folder: &Folder,
    repository: &Repository<'_>,
    wanted: &Wanted<'_>,
    place: &Place,
) -> Result<(PathBuf, String)> {
    let place = Place::file(format!("{}/{}", place.path.display(), wanted.name));
    if !wanted.name.split('/').all(is_file_name) {
        return Err(Error::input(place, "a name of a file", crate::visible::one_line(wanted.name)));
    }
    let path = repository.file(wanted.revision, wanted.name);
    let failed = |e: Failure| e.at(&place, "a file", repository);
    let answer = client.file(&path, 0).map_err(failed)?;
    let announced = Announced::of(&answer, wanted, &place)?;
    if let Some(file) = folder.file(&announced.commit, wanted.name) {
        return Ok((file, announced.commit));
    }
    let _lock = folder.lock(&announced.etag)?;
    let (blob, held) = folder.blob(&announced.etag)?;
    if !held {
        let part = folder.part(&blob)?;
        let progress = Progress::stderr();
        let task = progress.task(wanted.name, announced.size.unwrap_or(0).try_into().unwrap_or(usize::MAX));
        let download =
            Download { client, path: &path, wanted, announced: &announced, part: &part, place: &place, task };
        download.receive(answer).map_err(|e| e.into_error(&place, repository))?;
        verify(&part, &announced, &place)?;
        fs::rename(&part, &blob).map_err(Error::io(&blob))?;
    }
    Ok((folder.link(&announced.commit, wanted.name, &blob)?, announced.commit))
}

/// No way to another folder, on any system.
fn is_file_name(name: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '\\' | ':');
    !name.is_empty() && name != "." && name != ".." && !name.contains(odd)
}

impl Announced {
    fn of(answer: &Answer, wanted: &Wanted<'_>, place: &Place) -> Result<Self> {
        let refuse = |expected: String, got: &str| {
            Err(Error::input(place.clone(), expected, crate::visible::one_line(got)))
        };
        let Some(commit) = answer.said("x-repo-commit") else {
            let expected = "a commit (X-Repo-Commit), as a hub states it (is HF_ENDPOINT its address?)";
            return refuse(expected.into(), "none");
        };
        let etag = answer.said("x-linked-etag").or_else(|| answer.said("etag")).map(normalised);
        let Some(etag) = etag else {
            return refuse("the content's name (ETag), as a hub states it".into(), "none");
        };
        if !is_plain(etag) || !is_plain(commit) || wanted.commit.is_some_and(|wanted| wanted != commit) {
            let expected =
                format!("a file of commit {}", wanted.commit.unwrap_or("and hash that are plain names"));
            return refuse(expected, &format!("{etag} of {commit}"));
        }
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let total = |text: &str| number(text.rsplit_once('/')?.1);
        let size = answer
            .said("x-linked-size")
            .and_then(number)
            .or_else(|| answer.header("content-range").and_then(total))
            .or_else(|| answer.header("content-length").and_then(number));
        match size {
            Some(size) if size > wanted.most => {
                refuse(format!("at most {} bytes", wanted.most), &format!("a file of {size}"))
            }
            size => Ok(Self { commit: commit.into(), etag: etag.into(), size }),
        }
    }

    fn is_sha256(&self) -> bool {
        self.etag.len() == 64 && self.etag.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

/// `W/"name"`, of an answer that need not be the same byte by byte, and `"name"`.
fn normalised(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

enum Fault {
    Hub(Failure),
    Here(Error),
}

impl Fault {
    fn into_error(self, place: &Place, repository: &Repository<'_>) -> Error {
        match self {
            Self::Hub(failure) => failure.at(place, "a file", repository),
            Self::Here(error) => error,
        }
    }
}

struct Download<'a> {
    client: &'a Client,
    path: &'a str,
    wanted: &'a Wanted<'a>,
    announced: &'a Announced,
    part: &'a Path,
    place: &'a Place,
    task: Task,
}

impl Download<'_> {
    /// Brings the part to its announced length. `first` is the answer from the first byte on.
    fn receive(&self, first: Answer) -> Result<(), Fault> {
        let size = self.announced.size;
        let length = || fs::metadata(self.part).map_or(0, |part| part.len());
        // Only what can be checked as a whole is continued, and only while it is shorter than that.
        let left = length();
        if left > 0 && (!self.announced.is_sha256() || size.is_none_or(|size| left > size)) {
            fs::remove_file(self.part).map_err(|e| Fault::Here(Error::io(self.part)(e)))?;
        }
        let mut first = Some(first).filter(|_| length() == 0);
        let (mut tries, mut most) = (0, length());
        let mut why = String::from("no more");
        loop {
            let have = length();
            // An empty file is still to be made.
            if size == Some(have) && have > 0 {
                return Ok(());
            }
            if tries > RETRIES {
                let expected = size.map_or("all bytes".into(), |size| format!("{size} bytes"));
                let later =
                    if self.announced.is_sha256() { "; the same command goes on from there" } else { "" };
                let got = format!("{have} ({why}{later})");
                let expected = format!("{expected} from the hub");
                return Err(Fault::Here(Error::input(self.place.clone(), expected, got)));
            }
            if tries > 0 {
                tracing::warn!("{}: the download broke off after {have} bytes ({why})", self.place);
                std::thread::sleep(PAUSE);
                // What cannot be checked as a whole comes from one answer.
                if have > 0 && !self.announced.is_sha256() {
                    fs::remove_file(self.part).map_err(|e| Fault::Here(Error::io(self.part)(e)))?;
                }
            }
            let have = length();
            let answer = match first.take().map_or_else(|| self.client.file(self.path, have), Ok) {
                Ok(answer) => answer,
                // The part is as long as the hub's file or longer: from the start, then.
                Err(Failure::Refused(refusal)) if refusal.status == 416 && have > 0 => {
                    fs::remove_file(self.part).map_err(|e| Fault::Here(Error::io(self.part)(e)))?;
                    (tries, why) = (tries + 1, "a part that was too long".into());
                    continue;
                }
                Err(Failure::Broken(e)) => {
                    (tries, why) = (tries + 1, e);
                    continue;
                }
                Err(refused) => return Err(Fault::Hub(refused)),
            };
            let again = Announced::of(&answer, self.wanted, self.place).map_err(Fault::Here)?;
            if again.etag != self.announced.etag || again.commit != self.announced.commit {
                let expected = format!("the same file as before, {}", self.announced.etag);
                let got = format!("{} of {}", again.etag, again.commit);
                return Err(Fault::Here(Error::input(self.place.clone(), expected, got)));
            }
            match self.take(answer, have).map_err(Fault::Here)? {
                Ok(()) if size.is_none() || size == Some(length()) => return Ok(()),
                Ok(()) => why = "no more came".into(),
                Err(e) => why = e,
            }
            // Counted from the most that ever was: a server that begins anew each time brings nothing.
            tries += 1;
            if length() >= most + PROGRESS {
                (tries, most) = (1, length());
            }
        }
    }

    /// Appends one answer to the part. Returns why that ended where it was no end.
    fn take(&self, answer: Answer, have: u64) -> Result<Result<(), String>> {
        // A server that knows no ranges begins anew.
        let begins = match answer.header("content-range").and_then(|range| {
            range.trim().strip_prefix("bytes")?.trim().split_once('-')?.0.trim().parse::<u64>().ok()
        }) {
            Some(from) => from,
            None if answer.response.status().as_u16() == 206 => have,
            None => 0,
        };
        let open = OpenOptions::new().create(true).append(true).open(self.part);
        let mut file = open.map_err(Error::io(self.part))?;
        let mut have = have;
        if begins != have {
            if begins != 0 {
                return Ok(Err(format!("bytes from {begins} on instead of {have}")));
            }
            file.set_len(0).map_err(Error::io(self.part))?;
            have = 0;
        }
        let most = self.announced.size.unwrap_or(self.wanted.most);
        let mut reader = Steady::new(answer.response.into_body().into_reader(), self.client.stall);
        let mut buffer = vec![0; 1 << 17];
        let end = loop {
            match reader.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(n) if have + n as u64 > most => {
                    drop(file);
                    fs::remove_file(self.part).map_err(Error::io(self.part))?;
                    let expected = format!("at most {most} bytes from the hub");
                    return Err(Error::input(self.place.clone(), expected, "more; nothing of it is kept"));
                }
                Ok(n) => {
                    file.write_all(&buffer[..n]).map_err(Error::io(self.part))?;
                    have += n as u64;
                    self.task.advance(n, || format!("{:.1} MB", have as f64 / 1e6));
                }
                Err(e) => break Err(crate::visible::one_line(e)),
            }
        };
        file.sync_all().map_err(Error::io(self.part))?;
        Ok(end)
    }
}

/// Nothing is kept of a content that is not the announced one.
fn verify(part: &Path, announced: &Announced, place: &Place) -> Result<()> {
    if !announced.is_sha256() {
        return Ok(());
    }
    let sha256 = File::open(part).and_then(super::super::sha256).map_err(Error::io(part))?;
    if sha256 == announced.etag {
        return Ok(());
    }
    fs::remove_file(part).map_err(Error::io(part))?;
    let expected = format!("content of SHA-256 {} from the hub", announced.etag);
    Err(Error::input(place.clone(), expected, format!("{sha256}; nothing of it is kept")))
}
