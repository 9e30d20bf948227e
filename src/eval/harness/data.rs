//! Where a task's documents come from: a folder, a file, or a data set of the hub.

use crate::data::overlap::Item;
use crate::error::{Error, Place, Result};
use crate::eval::tasks::{Document, Source, Task};
use crate::files::sha256_file;
use crate::model::load::hub::dataset_file;
use std::path::{Path, PathBuf};

/// A task's documents with the SHA-256 of the files they were read from.
pub struct Documents {
    pub documents: Vec<Document>,
    pub sha256: Vec<String>,
}

/// `data`: a folder with a folder a task (`arc_easy/test.jsonl`, `gsm8k/train.jsonl`), a task's own folder
/// (`test.jsonl`), a file (its examples, where the task shows some, lie beside it, `train` for `test` in
/// its name), the task's own data set of the hub (`allenai/ai2_arc`, in Parquet), or another one whose
/// files lie as in such a folder.
///
/// Errors: the file does not exist, or is not one of the task.
pub fn read(task: Task, data: &Path) -> Result<Documents> {
    let source = task.source();
    let file = find(task, data, source.split)?;
    let few_shot = match source.few_shot {
        None => None,
        Some(split) if data.is_file() => {
            let name = data.file_name().unwrap_or_default().to_string_lossy();
            let same = name.strip_prefix(source.split).map(|rest| format!("{split}{rest}"));
            Some(data.with_file_name(same.unwrap_or(format!("{split}.jsonl"))))
        }
        Some(split) => Some(find(task, data, split)?),
    };
    let documents = task.documents(&file, few_shot.as_deref())?;
    let files = [Some(file), few_shot];
    let sha256 = files.iter().flatten().map(|file| sha256_file(file)).collect::<Result<_>>()?;
    Ok(Documents { documents, sha256 })
}

/// The questions of the named tasks, or of every task whose documents are in `data` if none is named. Two tasks with
/// the same questions count as one.
///
/// Errors: no task is named or found, or as [`read`].
pub fn questions(data: &Path, named: &[Task]) -> Result<Vec<Item>> {
    let is_there = |task: &Task| {
        let Source { folder, split, .. } = task.source();
        data.join(folder).join(format!("{split}.jsonl")).is_file()
    };
    let mut tasks: Vec<Task> = if named.is_empty() { Task::ALL.to_vec() } else { named.to_vec() };
    tasks.retain(|task| !named.is_empty() || is_there(task));
    tasks.dedup_by_key(|task| task.source().folder);
    if tasks.is_empty() {
        let folders = Task::ALL.map(|task| format!("{}/{}.jsonl", task.source().folder, task.source().split));
        let expected = format!("a folder with one of {}, or --task with its file", folders[..4].join(", "));
        return Err(Error::input(Place::file(data), expected, "none"));
    }
    let of = |task: Task| {
        let item = |document: &Document| Item {
            task: task.source().folder.into(),
            line: document.line,
            text: document.asked().into(),
        };
        Ok(read(task, data)?.documents.iter().map(item).collect::<Vec<_>>())
    };
    Ok(tasks.into_iter().map(of).collect::<Result<Vec<_>>>()?.concat())
}

fn find(task: Task, data: &Path, split: &str) -> Result<PathBuf> {
    let name = format!("{split}.jsonl");
    let Source { folder, hub, config, .. } = task.source();
    if data.is_file() {
        return Ok(data.into());
    }
    if data.is_dir() {
        let places = [data.join(folder).join(&name), data.join(&name)];
        let found = places.into_iter().find(|file| file.is_file());
        let missing = || Error::input(Place::file(data), format!("{folder}/{name} or {name}"), "neither");
        return found.ok_or_else(missing);
    }
    match data.to_str() {
        Some(id) if id == hub => dataset_file(id, &format!("{config}/{split}-00000-of-00001.parquet")),
        Some(id) if id.split('/').count() == 2 && !data.parent().is_some_and(Path::is_dir) => {
            dataset_file(id, &format!("{folder}/{name}"))
        }
        _ => Err(Error::input(
            Place::file(data),
            "a folder, a file, or organisation/name of the hub",
            "no such path",
        )),
    }
}

/// Documents by their place: 0-based, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: Option<usize>,
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{text:?} is no whole number"));
        let (start, end) = text.split_once("..").ok_or("expected A..B, A.. or ..B")?;
        let start = if start.is_empty() { 0 } else { number(start)? };
        let end = if end.is_empty() { None } else { Some(number(end)?) };
        match end {
            Some(end) if end <= start => Err("expected A below B".into()),
            _ => Ok(Self { start, end }),
        }
    }
}

impl Span {
    /// Errors: the documents end before the span begins.
    pub fn of(self, documents: Vec<Document>, limit: Option<usize>) -> Result<Vec<Document>> {
        let n = documents.len();
        if self.start >= n {
            return Err(Error::argument(
                "eval",
                "--docs",
                self.start,
                format!("a start below {n} documents"),
            ));
        }
        let end = self.end.unwrap_or(n).min(n);
        Ok(documents.into_iter().take(end).skip(self.start).take(limit.unwrap_or(usize::MAX)).collect())
    }
}
