//! Preference pairs as text, and how they are read from files.

use crate::config::EmptyCompletion;
use crate::data::layout::{self, Found, Layout};
use crate::data::rows::Rows;
use crate::data::ultrafeedback::ScoreCounts;
use crate::error::{Error, Place, Result};
use crate::text::message::Message;
use crate::visible::one_line;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};

/// One preference pair (x, y_w, y_l), as messages. A text without a role is one plain message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Stable within its data set; records refer to it.
    pub id: String,
    /// Where the prompt comes from (UltraFeedback has six sources); may be empty.
    pub source: String,
    /// Everything before the answer: usually one message of the user.
    pub prompt: Vec<Message>,
    /// Each is usually one message of the assistant.
    pub chosen: Vec<Message>,
    pub rejected: Vec<Message>,
    /// Whether the row held texts without roles instead of messages.
    #[serde(skip)]
    pub is_text: bool,
    /// Functions that the assistant may call. The template describes them to the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Value>,
    /// Other values that the row gives to the template, by name.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub template_kwargs: Map<String, Value>,
    /// Built-in world only, and in no file: the true weights of the prompt's factors.
    #[serde(skip)]
    pub factor_weights: Option<Vec<f64>>,
}

impl Pair {
    /// A pair of bare texts, without id and source.
    pub fn of_texts(prompt: &str, chosen: &str, rejected: &str) -> Self {
        Self {
            prompt: vec![Message::user(prompt)],
            chosen: vec![Message::assistant(chosen)],
            rejected: vec![Message::assistant(rejected)],
            is_text: true,
            ..Self::default()
        }
    }

    /// Whether three texts without roles hold the whole pair.
    pub fn is_plain(&self) -> bool {
        let plain = |messages: &[Message], role: &str| match messages {
            [message] => message.is_plain() && message.role() == role,
            _ => false,
        };
        plain(&self.prompt, "user") && plain(&self.chosen, "assistant") && plain(&self.rejected, "assistant")
    }

    /// Messages before the last one of the prompt.
    pub fn context(&self) -> &[Message] {
        self.prompt.split_last().map_or(&[], |(_, before)| before)
    }

    /// The last message of the prompt, mostly the user's question.
    pub fn prompt_text(&self) -> Cow<'_, str> {
        self.prompt.last().map_or("".into(), Message::text)
    }

    pub fn chosen_text(&self) -> Cow<'_, str> {
        text_of(&self.chosen)
    }

    pub fn rejected_text(&self) -> Cow<'_, str> {
        text_of(&self.rejected)
    }

    /// Whether the two completions are the same. Then the margin is 0 for every policy.
    pub fn is_identical(&self) -> bool {
        self.chosen == self.rejected
    }
}

/// The text of an answer, mostly of one message.
fn text_of(answer: &[Message]) -> Cow<'_, str> {
    match answer {
        [message] => message.text(),
        several => several.iter().map(Message::text).collect::<Vec<_>>().join("\n").into(),
    }
}

/// Why a row gives no pair although the file is not faulty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftOut {
    EmptyCompletion,
    /// HH-RLHF: the transcripts differ before their last answer.
    DifferentPrompts,
    /// UltraFeedback: fewer than two completions with a usable score.
    NoScores,
    /// UltraFeedback: every completion has the same score.
    NoPreference,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyCompletion => "for an empty completion",
            Self::DifferentPrompts => "for transcripts that differ before their last answer",
            Self::NoScores => "for want of two scores",
            Self::NoPreference => "for equal scores throughout",
        })
    }
}

/// The pairs of a file, with counts that a reader of the results should know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pairs {
    pub pairs: Vec<Pair>,
    /// Pairs whose two completions are the same text.
    pub identical: usize,
    /// Lines left out, in order, and why.
    pub left_out: Vec<(usize, LeftOut)>,
    /// Rows by layout.
    pub layouts: BTreeMap<Layout, usize>,
    /// How many scores of raw UltraFeedback were corrected or not used.
    pub scores: ScoreCounts,
    /// Columns other than `prompt` that prompts and their system messages come from, with their rows.
    pub renamed: BTreeMap<String, usize>,
    /// Columns with content that no pair has, with the number of their rows.
    pub not_read: BTreeMap<String, usize>,
    /// Number of rows whose id an earlier row already has.
    pub repeated_ids: usize,
}

impl Pairs {
    /// Notes about the rows. Empty if there is nothing to note.
    pub fn notes(&self) -> Vec<String> {
        let listed = |columns: &BTreeMap<String, usize>| {
            let one = |(name, rows): (&String, &usize)| format!("{} ({rows} rows)", one_line(name));
            columns.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let mut notes = vec![];
        if !self.renamed.is_empty() {
            notes.push(format!("prompt from: {}", listed(&self.renamed)));
        }
        if !self.not_read.is_empty() {
            notes.push(format!("not read: {}", listed(&self.not_read)));
        }
        if self.repeated_ids > 0 {
            let rows = self.repeated_ids;
            notes.push(format!("repeated ids: {rows} rows, which have # and their line behind the id"));
        }
        notes
    }

    /// How many rows were left out, by reason.
    pub fn left_out_by_reason(&self) -> BTreeMap<LeftOut, usize> {
        let mut counts = BTreeMap::new();
        for (_, reason) in &self.left_out {
            *counts.entry(*reason).or_default() += 1;
        }
        counts
    }
}

/// Reads a `.jsonl`, `.jsonl.gz` or `.parquet` file; `limit` bounds the pairs.
///
/// # Errors
/// As [`PairReader`]. A file with a fault gives no pairs at all.
pub fn read(path: &Path, limit: Option<usize>, empty: EmptyCompletion) -> Result<Pairs> {
    PairReader::open(&[path.to_path_buf()], empty)?.read_all(limit)
}

/// Reads pairs one by one from a file or its shards. A row is laid out as [`Layout`] lists, with, if
/// known, `id` (its number otherwise) and `source`. An id that an earlier row has gets this row's number,
/// as in `q1#7`. Other keys are allowed, and counted if they say something; in JSON Lines a byte order mark,
/// CRLF and blank lines are tolerated.
///
/// # Errors
/// Each item may be an error that names file, line and field. After the first one there are no more.
pub struct PairReader {
    files: VecDeque<PathBuf>,
    rows: Option<Rows>,
    /// Rows of the files before this one.
    before: usize,
    empty: EmptyCompletion,
    seed: Option<u64>,
    /// The counts over all rows. The pairs themselves go to the caller.
    counts: Pairs,
    /// Columns of this file that no row holds.
    unread: Vec<(String, usize)>,
    ids: HashSet<String>,
    failed: bool,
}

impl PairReader {
    /// Opens the first of the files.
    pub fn open(files: &[PathBuf], empty: EmptyCompletion) -> Result<Self> {
        let mut reader = Self {
            files: files.iter().cloned().collect(),
            rows: None,
            before: 0,
            empty,
            seed: None,
            counts: Pairs::default(),
            unread: vec![],
            ids: HashSet::new(),
            failed: false,
        };
        reader.open_next()?;
        Ok(reader)
    }

    fn open_next(&mut self) -> Result<()> {
        self.rows = self.files.pop_front().map(|path| Rows::open(&path)).transpose()?;
        self.unread = self.rows.as_ref().map_or(vec![], |rows| rows.unread_columns().to_vec());
        for (name, rows) in &self.unread {
            *self.counts.not_read.entry(name.clone()).or_default() += rows;
        }
        Ok(())
    }

    /// Accepts raw UltraFeedback, whose rejected completion is drawn by `seed`.
    pub fn drawing(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Everything, or the first `limit` pairs, with the counts.
    pub fn read_all(mut self, limit: Option<usize>) -> Result<Pairs> {
        let pairs: Vec<Pair> = self.by_ref().take(limit.unwrap_or(usize::MAX)).collect::<Result<_>>()?;
        let identical = pairs.iter().filter(|pair| pair.is_identical()).count();
        Ok(Pairs { pairs, identical, ..self.counts })
    }

    /// The id, or one that no earlier row has.
    fn unique(&mut self, mut id: String, number: usize) -> String {
        self.counts.repeated_ids += usize::from(self.ids.contains(&id));
        while self.ids.contains(&id) {
            id = format!("{id}#{number}");
        }
        self.ids.insert(id.clone());
        id
    }

    fn next_pair(&mut self) -> Result<Option<Pair>> {
        loop {
            let Some(rows) = &mut self.rows else { return Ok(None) };
            let Some(mut object) = rows.next_row()? else {
                // The number behind the last row counts no row.
                self.before += rows.number().saturating_sub(1);
                self.open_next()?;
                continue;
            };
            let (place, number) = (rows.place(), self.before + rows.number());
            let id = match object.shift_remove("id") {
                None | Some(Value::Null) => number.to_string(),
                Some(Value::Number(id)) => id.to_string(),
                Some(id) => layout::string(&place, "id", Some(id))?,
            };
            let source = match object.shift_remove("source") {
                None | Some(Value::Null) => String::new(),
                Some(source) => layout::string(&place, "source", Some(source))?,
            };
            let id = self.unique(id, number);
            let draw = self.seed.map(|seed| (seed, number));
            let row = layout::read_row(object, &place, draw, &self.unread, &mut self.counts.scores)?;
            *self.counts.layouts.entry(row.layout).or_default() += 1;
            for name in row.renamed {
                *self.counts.renamed.entry(name).or_default() += 1;
            }
            for name in row.not_read {
                *self.counts.not_read.entry(name).or_default() += 1;
            }
            match self.kept(row.found, &place)? {
                Ok(text) => return Ok(Some(Pair { id, source, ..text })),
                Err(reason) => self.counts.left_out.push((number, reason)),
            }
        }
    }

    /// The pair, or why it is left out.
    fn kept(&self, found: Found, place: &Place) -> Result<std::result::Result<Pair, LeftOut>> {
        let pair = match found {
            Found::Pair(pair) => *pair,
            Found::LeftOut(reason) => return Ok(Err(reason)),
        };
        let is_empty = |answer: &[Message]| answer.iter().all(|m| m.text().is_empty() && m.has_only_text());
        let empty = match (is_empty(&pair.chosen), is_empty(&pair.rejected)) {
            (true, _) => Some("chosen"),
            (_, true) => Some("rejected"),
            _ => None,
        };
        match empty {
            None => Ok(Ok(pair)),
            Some(_) if self.empty == EmptyCompletion::LeaveOut => Ok(Err(LeftOut::EmptyCompletion)),
            Some(field) => {
                Err(Error::input(place.clone().field(field), "a non-empty string", "an empty one"))
            }
        }
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
