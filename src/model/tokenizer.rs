//! Text to token ids and back, with what a model says about its special tokens.

use crate::error::{Error, Result};
use crate::model::chat_template::ChatTemplate;
use crate::model::panics;
use crate::model::save::write_json;
use crate::report::files::write_atomic;
use serde_json::json;
use std::path::Path;
use tokenizers::Tokenizer;

/// A tokenizer, its special tokens and its chat template.
#[derive(Debug, Clone)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    eos: Vec<u32>,
    bos: Option<u32>,
    chat_template: Option<ChatTemplate>,
    /// Of the embedding: ids from here on cannot be used.
    rows: usize,
}

impl TextTokenizer {
    /// `eos`: every id that ends a generation; the first one also ends a completion in training
    /// (for a chat model, its end-of-turn token).
    ///
    /// # Errors
    /// `eos` is empty, an id is not in the vocabulary, or the template does not parse.
    pub fn new(
        mut tokenizer: Tokenizer,
        eos: Vec<u32>,
        bos: Option<u32>,
        chat_template: Option<String>,
    ) -> Result<Self> {
        let token = |what: &str, id: u32| {
            let missing = || Error::argument("tokenizer", what, id, "an id of the vocabulary");
            tokenizer.id_to_token(id).ok_or_else(missing)
        };
        let eos_tokens = eos.iter().map(|&id| token("eos", id)).collect::<Result<Vec<_>>>()?;
        let eos_token = eos_tokens.into_iter().next();
        if eos_token.is_none() {
            return Err(Error::argument("tokenizer", "eos", "nothing", "at least one end-of-sequence token"));
        }
        let bos_token = bos.map(|id| token("bos", id)).transpose()?;
        let chat_template =
            chat_template.map(|source| ChatTemplate::new(source, bos_token, eos_token)).transpose()?;
        // A tokenizer.json may carry the truncation of the run that wrote it; ours is the recipe's.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| failed("truncation", e))?;
        Ok(Self { tokenizer, eos, bos, chat_template, rows: usize::MAX })
    }

    /// For an embedding of so many rows: a text with a token above them is refused.
    pub fn with_rows(self, rows: usize) -> Self {
        Self { rows, ..self }
    }

    /// Token ids of a text. Special tokens written out in it are recognised; `add_special` also
    /// adds what the tokenizer puts around a text (a beginning-of-sequence token, usually).
    ///
    /// # Errors
    /// The tokenizer has neither a token nor an unknown token for a part of the text, or one that is
    /// above the embedding.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let ids = panics::encode(&self.tokenizer, text, add_special)?;
        match ids.iter().find(|&&id| id as usize >= self.rows) {
            None => Ok(ids),
            Some(&id) => {
                let got = format!("{:?}", self.tokenizer.id_to_token(id).unwrap_or_default());
                let expected =
                    format!("tokens with one of the embedding's {} rows; {got} is number {id}", self.rows);
                Err(Error::argument("tokenizer", "text", got, expected))
            }
        }
    }

    /// The text of token ids; ids outside the vocabulary are left out.
    ///
    /// # Errors
    /// The tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        panics::decode(&self.tokenizer, ids, skip_special)
    }

    /// Every id that ends a generation.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos
    }

    /// The id that ends a completion: the end-of-turn token of a chat model.
    pub fn end_of_turn(&self) -> u32 {
        self.eos[0]
    }

    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// One more than the largest id that any text may have: added tokens, such as one that nobody pads
    /// with, stand in a text by their name only.
    pub fn text_vocab_size(&self) -> usize {
        let added = self.tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        let ids = self.tokenizer.get_vocab(false).into_values();
        ids.filter(|id| !added.contains_key(id)).max().map_or(0, |id| id as usize + 1)
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let text = self.tokenizer.to_string(true).map_err(|e| failed("tokenizer.json", e))?;
        write_atomic(&folder.join("tokenizer.json"), text.as_bytes())?;
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
            "bos_token": self.bos.and_then(|id| self.tokenizer.id_to_token(id)),
            "eos_token": self.tokenizer.id_to_token(self.end_of_turn()),
        });
        if let Some(template) = &self.chat_template {
            config["chat_template"] = template.source().into();
        }
        write_json(&folder.join("tokenizer_config.json"), &config)
    }
}

fn failed(argument: &str, error: tokenizers::Error) -> Error {
    let got = error.to_string().replace('\n', " ");
    Error::argument("tokenizer", argument, got, "something the tokenizer accepts")
}
