//! An append-only file of finished work, by key, so that no work is done or paid for twice.

use crate::error::{Error, Place, Result};
use crate::files::json_fault;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// One JSON object on each line. An entry is on disk when [`Journal::insert`] returns. Only one process at a time
/// can open it.
pub struct Journal<T> {
    path: PathBuf,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// None for a journal that is only in memory.
    file: Option<File>,
    entries: HashMap<String, T>,
}

#[derive(Serialize, Deserialize)]
struct Line<T> {
    key: String,
    value: T,
}

impl<T: Serialize + DeserializeOwned + Clone> Journal<T> {
    /// Opens a journal, or begins a new one. If the last line is incomplete, it is removed.
    ///
    /// Errors: another process has it open, or a line is not an entry.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Error::io(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::input(Place::file(path), "no other process to use it", "one that does"));
            }
            Err(TryLockError::Error(e)) => return Err(Error::io(path)(e)),
        }
        let mut text = vec![];
        file.read_to_end(&mut text).map_err(Error::io(path))?;
        let whole = text.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        let cut = file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0)));
        cut.map_err(Error::io(path))?;
        let mut entries = HashMap::new();
        for (i, line) in text[..whole].split(|&b| b == b'\n').enumerate().filter(|(_, line)| !line.is_empty())
        {
            let line: Line<T> = serde_json::from_slice(line).map_err(|e| {
                Error::input(Place::file(path).line(i + 1), "an entry with key and value", json_fault(&e))
            })?;
            entries.insert(line.key, line.value);
        }
        Ok(Self { path: path.into(), state: Mutex::new(State { file: Some(file), entries }) })
    }

    /// A journal without a file, for work that is cheap to do again.
    pub fn in_memory() -> Self {
        let state = State { file: None, entries: HashMap::new() };
        Self { path: PathBuf::new(), state: Mutex::new(state) }
    }

    pub fn get(&self, key: &str) -> Option<T> {
        self.lock().entries.get(key).cloned()
    }

    /// Adds an entry and waits until it is on disk.
    pub fn insert(&self, key: &str, value: T) -> Result<()> {
        self.insert_all([(key.to_string(), value)])
    }

    /// As [`Self::insert`], for several entries with one wait for the disk.
    pub(super) fn insert_all(&self, entries: impl IntoIterator<Item = (String, T)>) -> Result<()> {
        let lines: Vec<Line<T>> = entries.into_iter().map(|(key, value)| Line { key, value }).collect();
        let mut text = vec![];
        for line in &lines {
            serde_json::to_writer(&mut text, line)
                .map_err(|e| Error::input(Place::file(&self.path), "a value that is JSON", json_fault(&e)))?;
            text.push(b'\n');
        }
        let mut state = self.lock();
        if let Some(file) = &mut state.file {
            let written = file.write_all(&text).and_then(|()| file.sync_data());
            written.map_err(Error::io(&self.path))?;
        }
        state.entries.extend(lines.into_iter().map(|line| (line.key, line.value)));
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}
