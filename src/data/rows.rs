//! Files of rows, whatever their format: JSON Lines, the same compressed, Parquet. A row is a JSON
//! object.

use crate::data::parquet::ParquetRows;
use crate::error::{Error, Place, Result};
use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A line longer than this is not text that somebody labelled.
const LONGEST_LINE: u64 = 16 << 20;
/// What a name ends with says what the file is.
const KINDS: [&str; 3] = [".jsonl", ".jsonl.gz", ".parquet"];

/// The rows of one file. Lines are numbered from 1, blank ones included; so are Parquet's rows.
pub struct Rows {
    path: PathBuf,
    number: usize,
    kind: Kind,
}

enum Kind {
    Lines(BufReader<Box<dyn Read>>),
    Parquet(Box<ParquetRows>),
}

impl Rows {
    /// Opens a file: `.parquet`, `.gz` (compressed JSON Lines), or else JSON Lines.
    ///
    /// # Errors
    /// The file cannot be opened, or is no Parquet file with preference data.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let lines = |bytes: Box<dyn Read>| Kind::Lines(BufReader::new(bytes));
        let kind = match path.extension().and_then(|e| e.to_str()) {
            Some("parquet") => Kind::Parquet(Box::new(ParquetRows::open(file, path)?)),
            Some("gz") => lines(Box::new(MultiGzDecoder::new(file))),
            _ => lines(Box::new(file)),
        };
        Ok(Self { path: path.into(), number: 0, kind })
    }

    /// Number of the row that was read last.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Where that row is.
    pub fn place(&self) -> Place {
        Place::file(&self.path).line(self.number)
    }

    /// The next row, `None` behind the last one.
    ///
    /// # Errors
    /// The file is damaged here, or the line is not a JSON object.
    pub fn next_row(&mut self) -> Result<Option<Map<String, Value>>> {
        if let Kind::Parquet(rows) = &mut self.kind {
            self.number += 1;
            return rows.next_row(Place::file(&self.path).line(self.number));
        }
        let Some(text) = self.next_line()? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|e| {
            let got = e.to_string().replace("at line 1 column", "at column");
            Error::input(self.place(), "a JSON object", got)
        })
    }

    /// The next line that is not blank, without a byte order mark.
    fn next_line(&mut self) -> Result<Option<String>> {
        loop {
            let Kind::Lines(lines) = &mut self.kind else { return Ok(None) };
            let mut bytes = Vec::new();
            self.number += 1;
            let read = lines.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes);
            if read.map_err(|e| Error::input(self.place(), "readable bytes", e))? == 0 {
                return Ok(None);
            }
            if bytes.len() as u64 > LONGEST_LINE {
                return Err(Error::input(self.place(), "a line of at most 16 MiB", "a longer one"));
            }
            let text =
                String::from_utf8(bytes).map_err(|e| Error::input(self.place(), "UTF-8", e.utf8_error()))?;
            let text = if self.number == 1 { text.trim_start_matches('\u{feff}') } else { &text };
            if !text.trim().is_empty() {
                return Ok(Some(text.to_string()));
            }
        }
    }
}

/// The files of a folder's split, in order: `train.jsonl`, `train.jsonl.gz` or `train.parquet`, or
/// shards of one kind such as `train-00000-of-00002.parquet`.
///
/// # Errors
/// There is no such file, or files of several kinds.
pub fn split_files(folder: &Path, split: &str) -> Result<Vec<PathBuf>> {
    let mut found: Vec<(&str, PathBuf)> = vec![];
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let kind = KINDS.into_iter().find(|kind| name.ends_with(kind));
        let belongs = |kind: &str| {
            let stem = &name[..name.len() - kind.len()];
            stem == split || stem.strip_prefix(split).is_some_and(|shard| shard.starts_with('-'))
        };
        if let Some(kind) = kind.filter(|kind| belongs(kind)) {
            found.push((kind, path));
        }
    }
    found.sort();
    let expected = format!("{split}.jsonl, {split}.jsonl.gz, {split}.parquet or shards of one kind");
    let place = Place::file(folder);
    match found.as_slice() {
        [] => Err(Error::input(place, expected, "no such file")),
        [(first, _), .., (last, _)] if first != last => {
            Err(Error::input(place, expected, format!("both {first} and {last}")))
        }
        files => Ok(files.iter().map(|(_, path)| path.clone()).collect()),
    }
}
