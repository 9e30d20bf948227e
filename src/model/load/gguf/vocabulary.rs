//! The tokenizer that a GGUF file carries as metadata: byte-level BPE.

use super::{FromValue, Metadata};
use crate::error::{Error, Result};
use crate::text::panics::caught;
use crate::text::tokenizer::TextTokenizer;
use crate::visible::one_line;
use candle_core::quantized::gguf_file::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

/// How Llama 3 splits a text before its byte-level BPE.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Kinds of token.
const CONTROL: usize = 3;
const USER_DEFINED: usize = 4;

/// Rebuilds the tokenizer. Splitting rules are not part of the file, only their name: a name that
/// is not known here is refused, because a wrong guess would go unnoticed.
///
/// # Errors
/// A key is missing, of another type or contradicts another one.
pub fn tokenizer(metadata: &Metadata<'_>) -> Result<TextTokenizer> {
    let model = metadata.need::<&str>("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return metadata.refuse("tokenizer.ggml.model", "gpt2 (byte-level BPE)", model);
    }
    let tokens = strings(metadata, "tokenizer.ggml.tokens")?;
    let mut merges = Vec::new();
    for merge in strings(metadata, "tokenizer.ggml.merges")? {
        match merge.split_once(' ') {
            Some((left, right)) => merges.push((left.to_string(), right.to_string())),
            None => return metadata.refuse("tokenizer.ggml.merges", "two tokens and a space", merge),
        }
    }
    let vocabulary = (0u32..).zip(&tokens).map(|(id, token)| (token.to_string(), id));
    let (split, ignore_merges) = splitting(metadata)?;
    let unusable = |e: tokenizers::Error| {
        Error::input(metadata.place.clone().field("tokenizer.ggml"), "a usable tokenizer", one_line(e))
    };
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary.collect::<tokenizers::models::bpe::Vocab>(), merges)
        .ignore_merges(ignore_merges);
    let bpe = caught(|| bpe.build()).map_err(|panic| unusable(panic.into()))?.map_err(unusable)?;
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(split)).with_decoder(Some(ByteLevel::new(true, true, true)));
    let (control, user_defined) = added_tokens(metadata, &tokens)?;
    tokenizer.add_special_tokens(control).map_err(unusable)?;
    tokenizer.add_tokens(user_defined).map_err(unusable)?;

    let id = |key: &str| -> Result<Option<u32>> {
        match metadata.optional::<usize>(key)? {
            Some(id) if id >= tokens.len() => metadata.refuse(key, "an id of the vocabulary", id),
            id => Ok(id.map(|id| id as u32)),
        }
    };
    let bos = id("tokenizer.ggml.bos_token_id")?;
    // Chat models whose end of a turn is not their end of a text name both.
    let mut eos = Vec::new();
    for key in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eos_token_id"] {
        eos.extend(id(key)?.filter(|id| !eos.contains(id)));
    }
    // Llama 3 files leave the key out, and llama.cpp then adds the token.
    let adds_bos = metadata.optional::<bool>("tokenizer.ggml.add_bos_token")?.unwrap_or(ignore_merges);
    if let (true, Some(id)) = (adds_bos, bos) {
        let token = tokens[id as usize];
        let around = TemplateProcessing::builder()
            .try_single(vec![token.to_string(), "$A".to_string()])
            .map_err(|e| unusable(e.into()))?
            .special_tokens(vec![(token.to_string(), id)])
            .build()
            .map_err(|e| unusable(e.into()))?;
        tokenizer.with_post_processor(Some(around));
    }
    let template = metadata.optional::<&str>("tokenizer.chat_template")?.map(str::to_string);
    TextTokenizer::new(tokenizer, eos, bos, template)
        .map_err(|e| Error::input(metadata.place.clone(), "a usable tokenizer", e))
}

fn strings<'a>(metadata: &Metadata<'a>, key: &str) -> Result<Vec<&'a str>> {
    let text = |value: &'a Value| match FromValue::read(value) {
        Some(text) => Ok(text),
        None => metadata.refuse(key, "strings", format!("{:?}", value.value_type())),
    };
    metadata.need::<&[Value]>(key)?.iter().map(text).collect()
}

/// The rule called `tokenizer.ggml.pre`, and whether whole words of the vocabulary go before merges.
fn splitting(metadata: &Metadata<'_>) -> Result<(PreTokenizerWrapper, bool)> {
    let key = "tokenizer.ggml.pre";
    match metadata.need::<&str>(key)? {
        "gpt-2" => Ok((ByteLevel::new(false, true, true).into(), false)),
        "smollm" => {
            let steps = vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()];
            Ok((Sequence::new(steps).into(), false))
        }
        "llama-bpe" | "llama3" | "llama-v3" => {
            let pattern = SplitPattern::Regex(LLAMA_3.to_string());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .or_else(|e| metadata.refuse(key, "a splitting rule that compiles", one_line(e)))?;
            Ok((Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into(), true))
        }
        other => metadata.refuse(key, "gpt-2, smollm or llama-bpe", other),
    }
}

/// Control tokens, which never come from decoding plain text, and tokens that are never split.
fn added_tokens(metadata: &Metadata<'_>, tokens: &[&str]) -> Result<(Vec<AddedToken>, Vec<AddedToken>)> {
    let key = "tokenizer.ggml.token_type";
    let kinds = metadata.need::<&[Value]>(key)?;
    if kinds.len() != tokens.len() {
        return metadata.refuse(key, &format!("{} kinds, one a token", tokens.len()), kinds.len());
    }
    let of_kind = |kind: usize, special: bool| {
        let chosen = kinds.iter().zip(tokens).filter(|(k, _)| usize::read(k) == Some(kind));
        chosen.map(|(_, token)| AddedToken::from(token.to_string(), special).normalized(false)).collect()
    };
    Ok((of_kind(CONTROL, true), of_kind(USER_DEFINED, false)))
}
