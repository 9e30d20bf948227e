//! Which tokens of a pair are prompt, chosen and rejected: as TRL has it, for every kind of tokenizer.

use crate::message::message;
use lpc::config::{EmptyCompletion, Truncation};
use lpc::data::pairs::{Pair, PairReader};
use lpc::data::show::{Part, Shown, show};
use lpc::data::tokenize::tokenize;
use lpc::text::tokenizer::TextTokenizer;
use serde_json::Value;
use std::path::Path;
use std::str::FromStr;
use tokenizers::Tokenizer;

const WHOLE: Truncation = Truncation { max_length: 100_000, max_prompt_length: 50_000 };

fn kinds() -> Vec<Value> {
    let kinds: Value = serde_json::from_str(include_str!("../../fixtures/loading/tokens.json")).unwrap();
    kinds.as_array().unwrap().clone()
}

/// The kind of this name.
pub fn kind(name: &str) -> Value {
    kinds().into_iter().find(|kind| kind["name"] == name).unwrap()
}

pub fn tokenizer(kind: &Value) -> TextTokenizer {
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
    let (cells, moved) = hold_to_trl(&kinds());
    assert!(cells > 250 && moved > 10);
}

/// fixtures/loading/generate_real_tokens.py: the same for tokenizers that models were published with, when
/// `LPC_TOKENIZERS` names the folder that it wrote.
#[test]
fn real_tokenizers() {
    let Some(folder) = std::env::var_os("LPC_TOKENIZERS") else {
        return println!("skipped: LPC_TOKENIZERS names no folder of generate_real_tokens.py");
    };
    let kinds: Value = serde_json::from_str(include_str!("../../fixtures/loading/real_tokens.json")).unwrap();
    let mut kinds = kinds.as_array().unwrap().clone();
    for kind in &mut kinds {
        let path = Path::new(&folder).join(kind["name"].as_str().unwrap()).join("tokenizer.json");
        kind["tokenizer"] = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    }
    assert!(hold_to_trl(&kinds).0 > 150);
}

/// Pairs, and how many of them have other tokens where the answer begins.
fn hold_to_trl(kinds: &[Value]) -> (usize, usize) {
    let (mut cells, mut moved) = (0, 0);
    let mut wrong = vec![];
    for kind in kinds {
        let tokenizer = tokenizer(kind);
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
    (cells, moved)
}

/// The page for people shows what happens to one pair, for three kinds of models.
#[test]
fn the_page_shows_the_tokens() {
    let page = std::fs::read_to_string("docs/tokens.md").unwrap();
    let mut missing = vec![];
    let question = "What is the capital of France?";
    let pair = Pair::of_texts(question, "The capital is Paris.", "I cannot help you.");
    for name in ["Mistral, tekken", "Llama-3", "SentencePiece, legacy"] {
        let shown = show(&pair, &tokenizer(&kind(name)), &WHOLE).unwrap();
        let block = format!("chosen\n{}rejected\n{}", shown.chosen.lines(false), shown.rejected.lines(false));
        if !page.contains(&block) {
            missing.push(format!("{name}:\n{block}"));
        }
    }
    assert!(missing.is_empty(), "docs/tokens.md lacks\n{}", missing.join("\n"));
}

#[test]
fn what_is_cut_off_is_shown() {
    let kinds = kinds();
    let tokenizer = tokenizer(&kinds[0]);
    let pair = Pair::of_texts("one two", " yes yes yes", " no\n");
    let limits = Truncation { max_length: 4, max_prompt_length: 3 };
    let shown = show(&pair, &tokenizer, &limits).unwrap();
    let count = |shown: &Shown, part| shown.tokens.iter().filter(|(p, _)| *p == part).count();
    assert_eq!((count(&shown.chosen, Part::Prompt), count(&shown.chosen, Part::Scored)), (3, 1));
    assert_eq!(shown.chosen.tokens[0], (Part::CutOff, "<s>".to_string()));
    assert_eq!(shown.chosen.tokens.last().unwrap(), &(Part::CutOff, "</s>".to_string()));
    assert!(shown.rejected.lines(true).contains("\x1b[9;31m"));
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
