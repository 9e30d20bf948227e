//! Splits: how many, which, and what their manifest says.

use crate::message::message;
use crate::program::Lpc;
use crate::support::read;
use lpc::config::Truncation;
use lpc::data::binarize::{split, write};
use lpc::data::inspect::inspect;
use lpc::data::pairs::{Pair, Pairs};
use lpc::text::message::Message;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

/// Every third prompt is the next one's, too.
fn pairs(count: usize) -> Vec<Pair> {
    let pair = |i: usize| Pair {
        id: i.to_string(),
        source: format!("s{}", i % 3),
        ..Pair::of_texts(
            &format!("prompt {}", if i % 3 == 1 { i - 1 } else { i }),
            &format!("chosen {i}"),
            "rejected",
        )
    };
    (0..count).map(pair).collect()
}

#[test]
fn held_out_by_seed_without_a_shared_prompt() {
    let splits = split(pairs(300), 40, 30, 1).unwrap();
    assert_eq!((splits.validation.len(), splits.test.len()), (40, 30));
    let prompts =
        |pairs: &[Pair]| pairs.iter().map(|p| p.prompt_text().into_owned()).collect::<BTreeSet<_>>();
    let [train, validation, test] = [&splits.train, &splits.validation, &splits.test].map(|s| prompts(s));
    assert!(train.is_disjoint(&validation) && train.is_disjoint(&test) && validation.is_disjoint(&test));
    let used = splits.train.len() + 70 + splits.prompt_elsewhere;
    assert_eq!(used, 300, "every pair is in a split or counted");
    assert!(splits.prompt_elsewhere > 0);
    let numbers: Vec<usize> = splits.train.iter().map(|p| p.id.parse().unwrap()).collect();
    assert!(numbers.is_sorted());
    assert_eq!(split(pairs(300), 40, 30, 1).unwrap(), splits);
    assert_ne!(split(pairs(300), 40, 30, 2).unwrap().test, splits.test);
    assert!(message(split(pairs(30), 20, 20, 1)).contains("expected more pairs than 20 for the test"));
    assert_eq!(split(pairs(30), 0, 0, 1).unwrap().train.len(), 30);
}

/// What is written reads back as it was, with a context or without.
#[test]
fn written_splits_read_back() {
    let folder = tempfile::tempdir().unwrap();
    for context in [None, Some(Message::new("system", "é\n"))] {
        let mut all = pairs(60);
        if let Some(context) = context {
            all[7].prompt.insert(0, context);
            all.iter_mut().for_each(|pair| pair.is_text = false);
        }
        let splits = split(all, 5, 6, 3).unwrap();
        write(folder.path(), &[], &Pairs::default(), &splits, 3).unwrap();
        for (name, expected) in
            [("train", &splits.train), ("validation", &splits.validation), ("test", &splits.test)]
        {
            let read = read(&[folder.path().join(format!("{name}.jsonl"))]).unwrap();
            assert_eq!(&read.pairs, expected);
        }
    }
}

#[test]
fn the_command_counts_and_keeps_checksums() {
    let lpc = Lpc::new();
    let file = crate::support::fixture("ultrafeedback.parquet");
    let file = file.to_str().unwrap();
    let text = lpc.ok(&["data", "binarize", file, "--out", "out", "--validation", "1", "--test", "1"]);
    for line in [
        "rows: 9 (raw UltraFeedback)",
        "left out: 1 for an empty completion",
        "left out: 1 for want of two scores",
        "left out: 1 for equal scores throughout",
        "scores: 2 of 10 corrected to 1, 1 of 10 not used because they may mean 1 or 10, 3 missing; 2 rows have several completions with the best score",
        "4 training, 1 validation and 1 test pairs; 0 left out because another split has their prompt",
    ] {
        assert!(text.contains(line), "{text}\n{line}");
    }
    let manifest: Value = serde_json::from_str(&lpc.read("out/manifest.json")).unwrap();
    assert_eq!(manifest["left_out"]["no-scores"], 1);
    assert_eq!(manifest["ultrafeedback_scores"]["tens_corrected"], 2);
    for split in manifest["splits"].as_array().unwrap() {
        let bytes = fs::read(lpc.path("out").join(split["name"].as_str().unwrap())).unwrap();
        assert_eq!(split["sha256"], lpc::files::sha256(&bytes));
        assert_eq!(split["pairs"], bytes.iter().filter(|&&b| b == b'\n').count());
    }
    let text = lpc.ok(&["data", "inspect", "out/train.jsonl"]);
    assert!(text.contains("pairs: 4\n") && text.contains("repeated: 0 pairs, 0 prompts"), "{text}");
}

/// Numbers counted by hand.
#[test]
fn inspection() {
    let pair = Pair::of_texts;
    let mut all = vec![
        pair("é😀", "abc", "ab"),
        pair("é😀", "abc", "ab"),
        pair("é😀", "x", "x"),
        pair("", "x", "yyyyyyyyyy"),
    ];
    all[3].prompt.insert(0, Message::user("é😀"));
    let read = Pairs { identical: 1, pairs: all, ..Pairs::default() };
    let found = inspect(&read, None).unwrap();
    let [prompt, chosen, rejected] = found.characters.unwrap();
    assert_eq!((prompt.mean, prompt.quantiles), (2.0, [2, 2, 2, 2]));
    assert_eq!((chosen.mean, chosen.quantiles), (2.0, [1, 1, 3, 3]));
    assert_eq!((rejected.mean, rejected.quantiles), (3.75, [1, 2, 10, 10]));
    assert_eq!((found.repeated_pairs, found.repeated_prompts, found.identical), (1, 2, 1));
    assert_eq!((found.chosen_longer, found.with_context, found.sources[""]), (2, 1, 4));
    assert_eq!(found.samples.len(), 3);
    assert_eq!(inspect(&Pairs::default(), None).unwrap().characters, None);
}

/// Tokens and truncations counted by hand: a byte is a token, an answer has one more at its end.
#[test]
fn inspection_with_a_tokenizer() {
    let pair = Pair::of_texts;
    let pairs = vec![pair("xyz", "xx", "xxx"), pair("x", "y", "z"), pair("xy", "xx", "y")];
    let read = Pairs { pairs, ..Pairs::default() };
    let limits = Truncation { max_length: 5, max_prompt_length: 2 };
    let found = inspect(&read, Some((&crate::tiny::tokenizer(None), &limits))).unwrap();
    let ([prompt, chosen, rejected], cut) = found.tokens.unwrap();
    assert_eq!(prompt.quantiles, [1, 2, 3, 3]);
    assert_eq!(chosen.quantiles, [2, 3, 3, 3]);
    assert_eq!((rejected.mean, rejected.quantiles), (8.0 / 3.0, [2, 2, 4, 4]));
    assert_eq!((cut.truncated, cut.prompts_truncated, cut.completions_truncated), (1, 1, 1));
}

#[test]
fn completions_know_the_commands() {
    let lpc = Lpc::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(lpc.ok(&["completions", shell]).contains("binarize"), "{shell}");
    }
}
