//! The cache of `huggingface_hub`, shared with it: `blobs` by the name that the hub gives a content, links to
//! them in `snapshots`, commits of branches in `refs`. Nothing is ever written outside of it.

use super::Kind;
use crate::error::{Error, Place, Result};
use crate::files::write_atomic;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// A repository's part of the cache.
pub struct Folder {
    cache: PathBuf,
    name: String,
}

impl Folder {
    pub fn new(cache: &Path, kind: Kind, id: &str) -> Self {
        Self { cache: cache.into(), name: format!("{}--{}", kind.plural(), id.replace('/', "--")) }
    }

    /// The commit that `revision` was when it was last asked for.
    pub fn commit(&self, revision: &str) -> Option<String> {
        let folder = self.cache.join(&self.name);
        match fs::read_to_string(folder.join("refs").join(revision)) {
            Ok(commit) => Some(commit.trim().to_string()).filter(|commit| super::is_plain(commit)),
            Err(_) => folder.join("snapshots").join(revision).is_dir().then(|| revision.to_string()),
        }
    }

    /// A file that is there. A link is followed wherever the owner of the cache may have laid it.
    pub fn file(&self, commit: &str, name: &str) -> Option<PathBuf> {
        let path = self.cache.join(&self.name).join("snapshots").join(commit).join(name);
        path.is_file().then_some(path)
    }

    /// Where a content belongs, and whether it is there.
    pub fn blob(&self, etag: &str) -> Result<(PathBuf, bool)> {
        let blob = self.make(Path::new(&self.name).join("blobs"))?.join(etag);
        let held = blob.is_file() && self.is_inside(&blob)?;
        if !held {
            remove_link(&blob)?;
        }
        Ok((blob, held))
    }

    /// Where a content grows until it is whole.
    pub fn part(&self, blob: &Path) -> Result<PathBuf> {
        let mut name = blob.file_name().unwrap_or_default().to_os_string();
        name.push(".incomplete");
        let part = blob.with_file_name(name);
        remove_link(&part)?;
        Ok(part)
    }

    /// Makes a content a file of a commit.
    pub fn link(&self, commit: &str, name: &str, blob: &Path) -> Result<PathBuf> {
        let relative = Path::new(&self.name).join("snapshots").join(commit).join(name);
        let folder = self.make(relative.parent().unwrap_or(Path::new("")).to_path_buf())?;
        let path = folder.join(relative.file_name().unwrap_or_default());
        remove_link(&path)?;
        let up = PathBuf::from_iter((0..=name.split('/').count()).map(|_| ".."));
        let to = up.join("blobs").join(blob.file_name().unwrap_or_default());
        make_link(&to, blob, &path).map_err(Error::io(&path))?;
        Ok(self.cache.join(relative))
    }

    /// Notes what `revision` is.
    pub fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let relative = Path::new(&self.name).join("refs").join(revision);
        let folder = self.make(relative.parent().unwrap_or(Path::new("")).to_path_buf())?;
        write_atomic(&folder.join(relative.file_name().unwrap_or_default()), commit.as_bytes())
    }

    /// Waits until no other process, in Python or here, downloads this content.
    pub fn lock(&self, etag: &str) -> Result<File> {
        let path = self.make(Path::new(".locks").join(&self.name))?.join(format!("{etag}.lock"));
        remove_link(&path)?;
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(Error::io(&path))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        tracing::warn!("{}: another process downloads this file; waiting for it", self.name);
                        told = true;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(TryLockError::Error(e)) => return Err(Error::io(&path)(e)),
                Ok(()) => return Ok(file),
            }
        }
    }

    /// Makes a folder of the cache step by step, so that no link on the way leads out of it.
    fn make(&self, relative: PathBuf) -> Result<PathBuf> {
        fs::create_dir_all(&self.cache).map_err(Error::io(&self.cache))?;
        let mut path = self.cache.clone();
        for part in relative.components() {
            // Names were looked at before; this holds even if one was forgotten.
            let Component::Normal(part) = part else {
                return Err(Error::argument("hub", "name", relative.display(), "a name without a way up"));
            };
            path.push(part);
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => {}
                Ok(_) if path.is_dir() && self.is_inside(&path)? => {}
                Ok(_) => {
                    let got = fs::read_link(&path)
                        .map_or("a file".into(), |to| format!("a link to {}", to.display()));
                    return Err(Error::input(Place::file(path), "a folder inside the hub's cache", got));
                }
                Err(_) => match fs::create_dir(&path) {
                    // Another process may have been faster.
                    Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                        return Err(Error::io(&path)(e));
                    }
                    _ => {}
                },
            }
        }
        Ok(path)
    }

    fn is_inside(&self, path: &Path) -> Result<bool> {
        let cache = fs::canonicalize(&self.cache).map_err(Error::io(&self.cache))?;
        Ok(fs::canonicalize(path).map_err(Error::io(path))?.starts_with(cache))
    }
}

/// Writing through a link would write where it leads.
fn remove_link(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::remove_file(path).map_err(Error::io(path)),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn make_link(to: &Path, _: &Path, path: &Path) -> std::io::Result<()> {
    match std::os::unix::fs::symlink(to, path) {
        // Another process was faster.
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(not(unix))]
fn make_link(_: &Path, blob: &Path, path: &Path) -> std::io::Result<()> {
    fs::copy(blob, path).map(|_| ())
}
