//! Parquet as pyarrow writes it, damaged, and with other content.

use crate::message::message;
use crate::support::{assert_pair, fixture, json, read};
use lpc::data::pairs::Pairs;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

fn read_bytes(bytes: &[u8]) -> lpc::Result<Pairs> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.parquet");
    fs::write(&path, bytes).unwrap();
    read(&[path])
}

#[test]
fn strings_with_ids_and_sources() {
    let expected = json("pairs.json");
    let expected = expected["parquet"]["strings.parquet"].as_array().unwrap();
    let read = read(&[fixture("strings.parquet")]).unwrap();
    assert_eq!(read.pairs.len(), expected.len());
    for (pair, row) in read.pairs.iter().zip(expected) {
        assert_eq!(json!(pair.id), json!(row["id"].to_string()));
        assert_eq!(pair.source, row["source"].as_str().unwrap_or_default());
        assert_eq!(
            json!([pair.prompt_text(), pair.chosen_text(), pair.rejected_text()]),
            json!([row["prompt"], row["chosen"], row["rejected"]])
        );
    }
}

#[test]
fn messages_over_several_row_groups() {
    let expected = json("pairs.json");
    let read = read(&[fixture("messages.parquet")]).unwrap();
    // One of the four has an empty answer.
    let rows: Vec<&Value> =
        expected["trl"].as_array().unwrap()[..4].iter().filter(|c| c["rejected"] != "").collect();
    assert_eq!((read.pairs.len(), rows.len()), (3, 3));
    for (pair, row) in read.pairs.iter().zip(rows) {
        assert_pair(pair, row);
    }
}

#[test]
fn raw_ultrafeedback() {
    let rows = json("pairs.json")["ultrafeedback"].as_array().unwrap().clone();
    let from_lines = crate::support::read_rows(rows.iter().map(|case| &case["row"])).unwrap();
    assert_eq!(read(&[fixture("ultrafeedback.parquet")]).unwrap(), from_lines);
}

#[test]
fn other_columns_are_refused() {
    let text = message(read(&[fixture("other.parquet")]));
    assert!(
        text.contains("other.parquet: expected columns prompt, chosen and rejected")
            && text.contains("got text, label"),
        "{text}"
    );
    let text = message(read(&[fixture("numbers.parquet")]));
    assert!(text.contains("numbers.parquet:1: field `chosen`: expected a string, got a number"), "{text}");
}

/// Every truncation, and a bit flipped anywhere: an error of one line or the rows as they were, as
/// far as the format can tell; never a panic, never rows fewer than the file states.
#[test]
fn damaged_files() {
    std::panic::set_hook(Box::new(|_| {}));
    for name in ["strings.parquet", "messages.parquet", "ultrafeedback.parquet"] {
        let good = fs::read(fixture(name)).unwrap();
        for length in (0..good.len()).step_by(7) {
            assert!(message(read_bytes(&good[..length])).contains("pairs.parquet"), "{name} cut to {length}");
        }
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            if let Err(e) = read_bytes(&bytes) {
                assert!(!e.to_string().contains('\n'), "{e}");
            }
        }
    }
    let _ = std::panic::take_hook();
}

#[test]
fn lying_footers() {
    let good = fs::read(fixture("strings.parquet")).unwrap();
    let footer = good.len() - 8;
    for lie in [0u32, 1, u32::MAX, i32::MAX as u32, good.len() as u32, good.len() as u32 - 8] {
        let mut bytes = good.clone();
        bytes[footer..footer + 4].copy_from_slice(&lie.to_le_bytes());
        let text = message(read_bytes(&bytes));
        assert!(text.contains("expected a whole Parquet file"), "{lie}: {text}");
    }
    for bytes in [
        &b""[..],
        b"PAR1",
        b"PAR1PAR1",
        b"PAR1\0\0\0\0PAR1",
        &[b"PAR1", &[0xff; 64][..], b"\x40\0\0\0PAR1"].concat(),
    ] {
        assert!(message(read_bytes(bytes)).contains("expected a whole Parquet file"));
    }
}

/// Shards are one data set: rows without an id are numbered on.
#[test]
fn shards_and_splits() {
    use lpc::data::rows::split_files;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    for name in ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"] {
        fs::copy(fixture("messages.parquet"), path(name)).unwrap();
    }
    fs::write(path("trains.jsonl"), "").unwrap();
    fs::write(path("test.jsonl"), "").unwrap();
    let files = split_files(folder.path(), "train").unwrap();
    assert_eq!(files.len(), 2);
    let ids: Vec<String> = read(&files).unwrap().pairs.into_iter().map(|p| p.id).collect();
    assert_eq!(ids, ["1", "3", "4", "5", "7", "8"]);
    assert_eq!(split_files(folder.path(), "test").unwrap(), [path("test.jsonl")]);
    assert!(message(split_files(folder.path(), "validation")).contains("got no such file"));
    fs::write(path("train.jsonl.gz"), "").unwrap();
    assert!(message(split_files(folder.path(), "train")).contains("got both .jsonl.gz and .parquet"));
}
