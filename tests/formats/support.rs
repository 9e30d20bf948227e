use lpc::config::EmptyCompletion;
use lpc::data::pairs::{Pair, PairReader, Pairs};
use lpc::text::message::Message;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of fixtures/loading.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/loading").join(name)
}

pub fn json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(name)).unwrap()).unwrap()
}

/// Reads files as `lpc data` does.
pub fn read(files: &[PathBuf]) -> lpc::Result<Pairs> {
    PairReader::open(files, EmptyCompletion::LeaveOut)?.drawing(1).read_all(None)
}

/// Reads rows as the lines of a file.
pub fn read_rows<'a>(rows: impl IntoIterator<Item = &'a Value>) -> lpc::Result<Pairs> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, rows.into_iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    read(&[path])
}

/// The pair that a fixture states; one without `rejected` is not compared there.
pub fn assert_pair(pair: &Pair, expected: &Value) {
    let context: Vec<Message> = serde_json::from_value(expected["context"].clone()).unwrap();
    assert_eq!(pair.context(), context, "{expected}");
    for (got, key) in
        [(pair.prompt_text(), "prompt"), (pair.chosen_text(), "chosen"), (pair.rejected_text(), "rejected")]
    {
        assert_eq!(Some(&*got), expected[key].as_str(), "{key} of {expected}");
    }
}
