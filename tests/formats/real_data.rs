//! Published preference data, where `LPC_DATA` names a folder with `hh_rlhf` and
//! `ultrafeedback_binarized`.

use crate::support::read;
use lpc::data::layout::Layout;
use lpc::data::pairs::LeftOut;
use std::path::{Path, PathBuf};

fn data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("LPC_DATA");
    if folder.is_none() {
        println!("skipped: LPC_DATA names no folder with {name}");
    }
    folder.map(|folder| Path::new(&folder).join(name))
}

/// Without white space and speakers' names, which a pair's turns do not hold.
fn letters(text: &str) -> String {
    let text = text.replace("Human:", "").replace("Assistant:", "");
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// Every transcript can be put together again from its pair.
#[test]
fn hh_rlhf() {
    let Some(path) = data("hh_rlhf/harmless_base_test.jsonl.gz") else { return };
    let read = read(std::slice::from_ref(&path)).unwrap();
    assert_eq!(read.layouts, [(Layout::Transcripts, 2312)].into());
    let text =
        std::io::read_to_string(flate2::read::MultiGzDecoder::new(std::fs::File::open(&path).unwrap()));
    let text = text.unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for pair in &read.pairs {
        let row = &rows[pair.id.parse::<usize>().unwrap() - 1];
        for (completion, key) in [(&pair.chosen, "chosen"), (&pair.rejected, "rejected")] {
            let parts: String = pair.prompt.iter().chain(completion).map(|message| message.text()).collect();
            assert_eq!(letters(&parts), letters(row[key].as_str().unwrap()), "row {}", pair.id);
        }
    }
    assert_eq!(read.pairs.len() + read.left_out.len(), 2312);
    let differ = read.left_out.iter().filter(|(_, reason)| *reason == LeftOut::DifferentPrompts).count();
    // By another rule: the text up to the last "\n\nAssistant:" is not the same.
    let expected = rows.iter().filter(|row| {
        let before =
            |key: &str| row[key].as_str().unwrap().rsplit_once("\n\nAssistant:").map(|(prompt, _)| prompt);
        before("chosen") != before("rejected")
    });
    assert_eq!(differ, expected.count());
    println!("{} pairs, left out: {:?}", read.pairs.len(), read.left_out_by_reason());
}

#[test]
fn ultrafeedback_binarized() {
    let Some(folder) = data("ultrafeedback_binarized") else { return };
    for (name, rows) in [("train.jsonl", 1000), ("test.jsonl", 200)] {
        let read = read(&[folder.join(name)]).unwrap();
        assert_eq!(read.pairs.len() + read.left_out.len(), rows);
        assert_eq!(read.layouts.values().sum::<usize>(), rows);
        println!("{name}: {} pairs, left out: {:?}", read.pairs.len(), read.left_out_by_reason());
    }
}
