//! The tokenizer knows every text of the world and survives being saved.

use lpc::config::World;
use lpc::data::world::knowledge::QUESTIONS;
use lpc::data::world::{
    BOS_ID, EOS_ID, PAD_ID, SPECIAL_TOKENS, UNK_ID, WorldPair, corpus, generate, tokenizer, vocabulary,
};
use tokenizers::Tokenizer;

#[test]
fn every_text_survives_the_round_trip() {
    let tokenizer = tokenizer();
    let data = generate(&World { flip_rate: 0.5, flip_marked: true, ..World::default() }).unwrap();
    let pairs = data.train.iter().chain(&data.test).flat_map(|WorldPair { pair, .. }| {
        [pair.prompt_text(), pair.chosen_text(), pair.rejected_text()].map(String::from)
    });
    let written = corpus(3, 3000);
    let texts = pairs.chain(written.into_iter().flat_map(|(prompt, completion)| [prompt, completion]));
    let known = QUESTIONS.iter().map(|q| format!("{} {} {}", q.text, q.answer, q.wrong.join(" ")));
    for text in texts.chain(known) {
        let ids = tokenizer.encode(text.as_str(), true).unwrap().get_ids().to_vec();
        assert_eq!(ids.len(), text.split(' ').count(), "{text}");
        assert!(!ids.contains(&UNK_ID), "{text}");
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
}

#[test]
fn special_tokens_come_first_and_the_size_is_small() {
    let words = vocabulary();
    assert_eq!(words[..8], SPECIAL_TOKENS);
    assert_eq!(
        [PAD_ID, BOS_ID, EOS_ID, UNK_ID].map(|id| &*words[id as usize]),
        ["<pad>", "<s>", "</s>", "<unk>"]
    );
    assert!((300..=500).contains(&words.len()), "{}", words.len());
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.get_vocab_size(true), words.len());
    for (id, word) in words.iter().enumerate() {
        assert_eq!(tokenizer.token_to_id(word), Some(id as u32), "{word}");
    }
    assert_eq!(tokenizer.encode("quetzal", false).unwrap().get_ids(), [UNK_ID]);
}

/// Saved and read back it encodes the same, joined with or without a space.
#[test]
fn a_saved_tokenizer_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    tokenizer().save(&path, true).unwrap();
    let reloaded = Tokenizer::from_file(&path).unwrap();
    let joined = "<s><|user|>what is the colour of snow ?[FLIP]<|end|><|assistant|>- it is white .</s>";
    let spaced =
        "<s> <|user|> what is the colour of snow ? [FLIP] <|end|> <|assistant|> - it is white . </s>";
    let ids = |t: &Tokenizer, text| t.encode(text, false).unwrap().get_ids().to_vec();
    assert_eq!(ids(&reloaded, joined), ids(&tokenizer(), spaced));
    assert_eq!(ids(&reloaded, "do you ?- it is")[2..4], ids(&reloaded, "? -")[..]);
    assert_eq!(reloaded.decode(&ids(&reloaded, joined), false).unwrap(), spaced);
    assert_eq!(
        reloaded.decode(&ids(&reloaded, joined), true).unwrap(),
        "what is the colour of snow ? - it is white ."
    );
}
