//! A preference pair as text, and reading it from the files people have.

use crate::config::EmptyCompletion;
use crate::error::{Error, Place, Result};
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// One preference pair (x, y_w, y_l).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Stable within its data set; records refer to it.
    pub id: String,
    /// Where the prompt comes from (UltraFeedback has six sources); may be empty.
    pub source: String,
    pub prompt: String,
    pub chosen: String,
    pub rejected: String,
}

/// Pairs of a file with what a reader of the results should know about them.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    pub pairs: Vec<Pair>,
    /// Pairs whose two completions are the same text: their margin is 0 whatever the policy.
    pub identical: usize,
    /// Lines left out because a completion is empty.
    pub left_out: Vec<usize>,
}

/// Reads a `.jsonl` or `.jsonl.gz` file; `limit` bounds the pairs.
///
/// # Errors
/// As [`PairReader`]; nothing is returned of a file with a fault.
pub fn read(path: &Path, limit: Option<usize>, empty: EmptyCompletion) -> Result<Pairs> {
    let mut reader = PairReader::open(path, empty)?;
    let pairs: Vec<Pair> = reader.by_ref().take(limit.unwrap_or(usize::MAX)).collect::<Result<_>>()?;
    let identical = pairs.iter().filter(|pair| pair.chosen == pair.rejected).count();
    Ok(Pairs { pairs, identical, left_out: reader.left_out })
}

/// A line longer than this is not text that somebody labelled.
const LONGEST_LINE: u64 = 16 << 20;

/// Reads pairs one by one: a JSON object a line with `prompt`, `chosen`, `rejected` and, if known,
/// `id` (its line number otherwise) and `source`. Other keys are allowed; a byte order mark,
/// CRLF and blank lines are tolerated.
///
/// # Errors
/// Each item may be an error that names file, line and field. After the first one there are no more.
pub struct PairReader {
    lines: BufReader<Box<dyn Read>>,
    path: PathBuf,
    line: usize,
    empty: EmptyCompletion,
    left_out: Vec<usize>,
    ids: HashMap<String, usize>,
    failed: bool,
}

impl PairReader {
    pub fn open(path: &Path, empty: EmptyCompletion) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let bytes: Box<dyn Read> = match path.extension() {
            Some(extension) if extension == "gz" => Box::new(MultiGzDecoder::new(file)),
            _ => Box::new(file),
        };
        Ok(Self {
            lines: BufReader::new(bytes),
            path: path.into(),
            line: 0,
            empty,
            left_out: Vec::new(),
            ids: HashMap::new(),
            failed: false,
        })
    }

    fn place(&self) -> Place {
        Place::file(&self.path).line(self.line)
    }

    /// The next line that is not blank, without its end; `None` at the end of the file.
    fn next_line(&mut self) -> Result<Option<String>> {
        loop {
            let mut bytes = Vec::new();
            let mut line = self.lines.by_ref().take(LONGEST_LINE + 1);
            self.line += 1;
            let read = line.read_until(b'\n', &mut bytes);
            if read.map_err(|e| Error::input(self.place(), "readable bytes", e))? == 0 {
                return Ok(None);
            }
            if bytes.len() as u64 > LONGEST_LINE {
                return Err(Error::input(self.place(), "a line of at most 16 MiB", "a longer one"));
            }
            let text =
                String::from_utf8(bytes).map_err(|e| Error::input(self.place(), "UTF-8", e.utf8_error()))?;
            let text = if self.line == 1 { text.trim_start_matches('\u{feff}') } else { &text };
            if !text.trim().is_empty() {
                return Ok(Some(text.to_string()));
            }
        }
    }

    fn next_pair(&mut self) -> Result<Option<Pair>> {
        while let Some(text) = self.next_line()? {
            let place = self.place();
            let mut object: Map<String, Value> = serde_json::from_str(&text).map_err(|e| {
                let got = e.to_string().replace("at line 1 column", "at column");
                Error::input(place.clone(), "a JSON object", got)
            })?;
            let pair = Pair {
                id: match object.remove("id") {
                    None | Some(Value::Null) => self.line.to_string(),
                    Some(Value::Number(id)) => id.to_string(),
                    Some(id) => string(&place, "id", Some(id))?,
                },
                source: match object.remove("source") {
                    None | Some(Value::Null) => String::new(),
                    Some(source) => string(&place, "source", Some(source))?,
                },
                prompt: string(&place, "prompt", object.remove("prompt"))?,
                chosen: string(&place, "chosen", object.remove("chosen"))?,
                rejected: string(&place, "rejected", object.remove("rejected"))?,
            };
            if let Some(first) = self.ids.insert(pair.id.clone(), self.line) {
                let got = format!("{:?}, which line {first} has", pair.id);
                return Err(Error::input(place.field("id"), "an id of its own", got));
            }
            let empty = [("chosen", &pair.chosen), ("rejected", &pair.rejected)]
                .into_iter()
                .find_map(|(field, text)| text.is_empty().then_some(field));
            match empty {
                None => return Ok(Some(pair)),
                Some(_) if self.empty == EmptyCompletion::LeaveOut => self.left_out.push(self.line),
                Some(field) => {
                    return Err(Error::input(place.field(field), "a non-empty string", "an empty one"));
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for PairReader {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_pair();
        self.failed = next.is_err();
        next.transpose()
    }
}

fn string(place: &Place, field: &str, value: Option<Value>) -> Result<String> {
    let got = match value {
        Some(Value::String(text)) => return Ok(text),
        None => "nothing",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::Array(_)) => "an array",
        Some(Value::Object(_)) => "an object",
    };
    Err(Error::input(place.clone().field(field), "a string", got))
}
