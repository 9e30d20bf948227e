//! The world's words as a tokenizer.

use super::{completion, knowledge::QUESTIONS, source};
use std::collections::BTreeSet;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, Tokenizer};

/// The first tokens of the vocabulary: a token's place is its id.
pub const SPECIAL_TOKENS: [&str; 8] =
    ["<pad>", "<s>", "</s>", "<unk>", "[FLIP]", "<|user|>", "<|assistant|>", "<|end|>"];
pub const PAD_ID: u32 = 0;
pub const BOS_ID: u32 = 1;
pub const EOS_ID: u32 = 2;
pub const UNK_ID: u32 = 3;

/// Special tokens, then every word of the world in alphabetical order.
pub fn vocabulary() -> Vec<String> {
    let asked =
        QUESTIONS.iter().flat_map(|q| [q.text.as_str(), q.answer].into_iter().chain(q.wrong.iter().copied()));
    let fragments = asked.chain(source::fragments()).chain(completion::fragments());
    let words: BTreeSet<&str> = fragments.flat_map(str::split_whitespace).collect();
    SPECIAL_TOKENS.into_iter().chain(words).map(String::from).collect()
}

/// A word-level tokenizer over [`vocabulary`]. White space and punctuation separate words, so
/// prompt and completion may be joined with or without a space; no token is added on its own.
///
/// ```
/// let tokenizer = lpc::data::world::tokenizer();
/// let ids = tokenizer.encode("it is paris . </s>", false).unwrap().get_ids().to_vec();
/// assert_eq!(ids.last(), Some(&lpc::data::world::EOS_ID));
/// assert_eq!(tokenizer.decode(&ids, false).unwrap(), "it is paris . </s>");
/// ```
pub fn tokenizer() -> Tokenizer {
    let ids = vocabulary().into_iter().zip(0..).collect();
    let model = WordLevel::builder().vocab(ids).unk_token(SPECIAL_TOKENS[UNK_ID as usize].into()).build();
    let mut tokenizer = Tokenizer::new(model.expect("a vocabulary in memory reads no file"));
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    let special = SPECIAL_TOKENS.map(|t| AddedToken::from(t, true));
    tokenizer.add_special_tokens(special).expect("there is no normalizer to refuse a token");
    tokenizer
}
