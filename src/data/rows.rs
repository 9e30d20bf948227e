//! Files of rows: JSON Lines or one JSON array, both also compressed, and Parquet. A row is a JSON object.

use crate::data::json::{self, ArrayItems};
use crate::data::parquet::ParquetRows;
use crate::error::{Error, Place, Result};
use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

/// Most bytes of a line. No preference pair is longer.
const LONGEST_LINE: u64 = 16 << 20;
/// Endings of file names. The last one is used only if no file has another.
const KINDS: [&str; 4] = [".jsonl", ".jsonl.gz", ".parquet", ".json"];
/// An array must begin within this many bytes.
const LONGEST_HEAD: usize = 4096;
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// The rows of one file. Lines are numbered from 1, blank ones included; so are the rows of Parquet and
/// of a JSON array.
pub struct Rows {
    path: PathBuf,
    number: usize,
    kind: Kind,
}

enum Kind {
    Lines(BufReader<Box<dyn Read>>),
    Array(ArrayItems<BufReader<Box<dyn Read>>>),
    Parquet(Box<ParquetRows>),
}

impl Rows {
    /// Opens a file: `.parquet`, `.gz` (compressed), or else as it is. What begins with a bracket is an
    /// array, anything else JSON Lines.
    ///
    /// # Errors
    /// The file cannot be opened, or is no Parquet file with preference data.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let kind = match path.extension().and_then(|e| e.to_str()) {
            Some("parquet") => Kind::Parquet(Box::new(ParquetRows::open(file, path)?)),
            Some("gz") => Self::text(Box::new(MultiGzDecoder::new(file)), path)?,
            _ => Self::text(Box::new(file), path)?,
        };
        Ok(Self { path: path.into(), number: 0, kind })
    }

    fn text(mut bytes: Box<dyn Read>, path: &Path) -> Result<Kind> {
        // One byte at a time: what is damaged further on is told where its row is read.
        let mut head = vec![];
        let is_space = |byte: u8| byte.is_ascii_whitespace() || BYTE_ORDER_MARK.contains(&byte);
        while head.last().is_none_or(|&byte| is_space(byte)) && head.len() < LONGEST_HEAD {
            let read = bytes.by_ref().take(1).read_to_end(&mut head);
            if read.map_err(|e| Error::input(Place::file(path).line(1), "readable bytes", e))? == 0 {
                break;
            }
        }
        let is_array = head.last() == Some(&b'[');
        let bytes = BufReader::new(Box::new(Cursor::new(head).chain(bytes)) as Box<dyn Read>);
        Ok(match is_array {
            true => Kind::Array(ArrayItems::new(bytes, LONGEST_LINE as usize)),
            false => Kind::Lines(bytes),
        })
    }

    /// Columns with text that the file has and nobody reads, with their rows, where the format tells
    /// before the rows are read.
    pub(super) fn unread_columns(&self) -> &[(String, usize)] {
        match &self.kind {
            Kind::Parquet(rows) => rows.unread(),
            _ => &[],
        }
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
        let Some(text) = self.next_text()? else { return Ok(None) };
        json::object(&text).map(Some).map_err(|e| {
            let got = e.replace("at line 1 column", "at column");
            Error::input(self.place(), "a JSON object", got)
        })
    }

    /// The next item of the array, or the next line that is not blank, without a byte order mark.
    fn next_text(&mut self) -> Result<Option<String>> {
        if let Kind::Array(items) = &mut self.kind {
            self.number += 1;
            let item = items.next_item();
            let Some(item) = item.map_err(|got| Error::input(self.place(), "a JSON object", got))? else {
                return Ok(None);
            };
            let utf8 = |e: std::string::FromUtf8Error| Error::input(self.place(), "UTF-8", e.utf8_error());
            return String::from_utf8(item).map(Some).map_err(utf8);
        }
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

/// The files of a folder's split, in order: `train.jsonl`, `train.jsonl.gz`, `train.parquet` or else
/// `train.json`, or shards of one kind such as `train-00000-of-00002.parquet`.
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
    let (last, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|(kind, _)| *kind == KINDS[3]);
    let mut found = if others.is_empty() { last } else { others };
    found.sort();
    let expected =
        format!("{split}.jsonl, {split}.jsonl.gz, {split}.parquet, {split}.json or shards of one kind");
    let place = Place::file(folder);
    match found.as_slice() {
        [] => Err(Error::input(place, expected, "no such file")),
        [(first, _), .., (last, _)] if first != last => {
            Err(Error::input(place, expected, format!("both {first} and {last}")))
        }
        files => Ok(files.iter().map(|(_, path)| path.clone()).collect()),
    }
}
