//! The second data set of a study: a folder of splits, or one file that is split here.

use crate::config::{DataSource, EmptyCompletion};
use crate::data::binarize::{self, Splits};
use crate::data::pairs::{Pair, PairReader, Pairs};
use crate::data::rows::split_files;
use crate::error::{Error, Place, Result};
use crate::files::sha256_file;
use crate::seed::{permutation, stream};
use crate::text::message::Message;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// The split belongs to the data: it is the same in every run.
const SEED: u64 = 1;
/// Of one file a fifth is held out, at most as many pairs as the paper tests on.
const HELD_OUT: usize = 5;
const LARGEST_TEST: usize = 1000;

/// Pairs on disk, and what a reader of the results should know about them.
#[derive(Debug, Clone, PartialEq)]
pub struct SecondData {
    pub source: DataSource,
    pub note: String,
}

impl SecondData {
    /// A folder with train and test, or one file of pairs, whose splits are written below `runs`: equal
    /// bytes, equal folder, so that a run keeps its id wherever the file lies.
    ///
    /// Errors: a file that is missing, faulty (file, line and field are named) or too small to be split.
    pub fn open(path: &Path, runs: &Path, limit: Option<usize>) -> Result<Self> {
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into());
        let (folder, note) = match path.is_dir() {
            true => {
                let [train, test] = ["train", "test"].map(|split| read(&split_files(path, split)?));
                let (train, test) = (train?, test?);
                let openings: HashSet<String> = train.pairs.iter().map(opening).collect();
                let shared = test.pairs.iter().filter(|pair| openings.contains(&opening(pair))).count();
                let note = format!(
                    "Second data: {name}, split as it came; {shared} of its test pairs open as a training pair does."
                );
                (path.to_path_buf(), note)
            }
            false => {
                let sha256 = sha256_file(path)?;
                let files = [path.to_path_buf()];
                let read = read(&files)?;
                let total = read.pairs.len();
                let splits = split(&read.pairs, SEED);
                if splits.train.is_empty() || splits.test.len() < 2 {
                    let expected = "conversations enough to train on some and test on 2 others";
                    return Err(Error::input(Place::file(path), expected, format!("{total} pairs")));
                }
                let note = format!(
                    "Second data: {name} (SHA-256 {}), split here: {} pairs for training, {} for the test{}; no \
                     conversation opens in both.",
                    &sha256[..16],
                    splits.train.len(),
                    splits.test.len(),
                    left_out(&read)
                        + &read.notes().iter().map(|note| format!("; {note}")).collect::<String>()
                );
                let folder = runs.join("data").join(&sha256[..16]);
                binarize::write(&folder, &files, &read, &splits, SEED)?;
                (folder, note)
            }
        };
        let source = DataSource::Jsonl {
            folder,
            limit,
            empty_completion: EmptyCompletion::LeaveOut,
            flip_rate: 0.0,
            flip_marked: false,
            identical_completions: Default::default(),
        };
        Ok(Self { source, note })
    }
}

fn read(files: &[std::path::PathBuf]) -> Result<Pairs> {
    let read = PairReader::open(files, EmptyCompletion::LeaveOut)?.read_all(None)?;
    match read.pairs.is_empty() {
        true => Err(Error::input(Place::file(&files[0]), "at least one pair", "none")),
        false => Ok(read),
    }
}

fn left_out(read: &Pairs) -> String {
    read.left_out_by_reason().iter().map(|(reason, rows)| format!(", {rows} left out {reason}")).collect()
}

/// What the user said first: HH-RLHF asks the same thing again, and has a conversation once as it began
/// and once as it went on.
fn opening(pair: &Pair) -> String {
    let first = pair.prompt.iter().find(|message| message.role() == "user");
    first.map_or("".into(), Message::text).trim().to_string()
}

/// Holds out conversations by `seed` until a fifth of the pairs is, at most [`LARGEST_TEST`]. Pairs that
/// open alike stay together, so that nothing tested was trained; both splits are in the file's order.
///
/// ```
/// use lpc::data::pairs::Pair;
/// let pair = |prompt: &str| Pair::of_texts(prompt, "yes", "no");
/// let splits = lpc::experiment::second_data::split(&["a", "b", "a", "c", "d"].map(pair), 1);
/// assert_eq!(splits.train.len() + splits.test.len(), 5);
/// assert!(splits.test.iter().all(|held_out| splits.train.iter().all(|p| p.prompt != held_out.prompt)));
/// ```
pub fn split(pairs: &[Pair], seed: u64) -> Splits {
    let mut conversations: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, pair) in pairs.iter().enumerate() {
        conversations.entry(opening(pair)).or_default().push(i);
    }
    let conversations: Vec<Vec<usize>> = conversations.into_values().collect();
    let wanted = (pairs.len() / HELD_OUT).clamp(2, LARGEST_TEST);
    let mut held_out: HashSet<usize> = HashSet::new();
    for c in permutation(&mut stream(seed, "second data/held out"), conversations.len()) {
        if held_out.len() + conversations[c].len() <= wanted {
            held_out.extend(&conversations[c]);
        }
    }
    let part = |test: bool| {
        let of = pairs.iter().enumerate().filter(|(i, _)| held_out.contains(i) == test);
        of.map(|(_, pair)| pair.clone()).collect()
    };
    Splits { train: part(false), validation: vec![], test: part(true), prompt_elsewhere: 0 }
}
