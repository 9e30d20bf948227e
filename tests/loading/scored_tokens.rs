//! Which tokens of a pair are prompt, chosen and rejected: as TRL has it, for every kind of tokenizer.

use crate::tiny::message;
use lpc::config::{EmptyCompletion, Truncation};
use lpc::data::pairs::{Pair, PairReader};
use lpc::data::tokenize::tokenize;
use lpc::model::tokenizer::TextTokenizer;
use serde_json::Value;
use std::str::FromStr;
use tokenizers::Tokenizer;

const WHOLE: Truncation = Truncation { max_length: 100_000, max_prompt_length: 50_000 };

fn kinds() -> Vec<Value> {
    let kinds: Value = serde_json::from_str(include_str!("../../fixtures/loading/tokens.json")).unwrap();
    kinds.as_array().unwrap().clone()
}

fn tokenizer(kind: &Value) -> TextTokenizer {
    let tokenizer = Tokenizer::from_str(&kind["tokenizer"].to_string()).unwrap();
    let id = |name: &str| kind[name].as_str().map(|token| tokenizer.token_to_id(token).unwrap());
    let (eos, bos) = (vec![id("eos").unwrap()], id("bos"));
    TextTokenizer::new(tokenizer, eos, bos, kind["template"].as_str().map(String::from)).unwrap()
}

fn pair(row: &Value) -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, row.to_string()).unwrap();
    let read = PairReader::open(&[path], EmptyCompletion::Refuse).unwrap().read_all(None).unwrap();
    read.pairs.into_iter().next().unwrap()
}

/// fixtures/loading/generate_tokens.py: TRL's own code on small tokenizers of sixteen kinds.
#[test]
fn tokens_are_those_of_trl() {
    let (mut cells, mut moved) = (0, 0);
    let mut wrong = vec![];
    for kind in kinds() {
        let tokenizer = tokenizer(&kind);
        for case in kind["cases"].as_array().unwrap() {
            let pair = pair(&case["row"]);
            let ids = |name: &str| serde_json::from_value::<Vec<u32>>(case[name].clone()).unwrap();
            let expected = [ids("prompt"), ids("chosen"), ids("rejected")];
            let tokenized = tokenize(&[pair], &tokenizer, &WHOLE);
            cells += 1;
            // No token is left of the prompt: nothing would predict the answer's first one.
            if expected[0].is_empty() {
                assert!(message(tokenized).contains("tokens that change where an answer follows"));
                continue;
            }
            let tokenized = &tokenized.unwrap()[0];
            let got = [&tokenized.prompt, &tokenized.chosen, &tokenized.rejected];
            if expected.each_ref() != got {
                let text = |ids: &[u32]| tokenizer.decode(ids, false).unwrap();
                let texts = |all: [&Vec<u32>; 3]| all.map(|ids| text(ids));
                let (expected, got) = (texts(expected.each_ref()), texts(got));
                wrong.push(format!("{}: {}\n  {expected:?}\n  {got:?}", kind["name"], case["row"]));
            }
            assert_eq!(tokenized.dressed, case.get("dressed").is_some(), "{}: {}", kind["name"], case["row"]);
            moved += usize::from(tokenized.boundary_moved);
        }
    }
    println!("{cells} pairs, {moved} with other tokens where the answer begins");
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cells > 250 && moved > 10);
}

/// What ends a turn ends a generation, whatever the tokenizer's own end token is.
#[test]
fn generation_stops_where_a_turn_ends() {
    for kind in kinds() {
        let tokenizer = tokenizer(&kind);
        let end = tokenizer.encode(kind["end"].as_str().unwrap(), false).unwrap();
        assert!(tokenizer.eos_ids().contains(end.last().unwrap()), "{}", kind["name"]);
        let own = tokenizer.decode(&[tokenizer.eos_id()], false).unwrap();
        assert_eq!(Some(own.trim()), kind["eos"].as_str());
    }
}
