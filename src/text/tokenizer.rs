//! Text to token ids and back, with what a model says about its special tokens.

use crate::error::{Error, Result};
use crate::files::{write_atomic, write_json};
use crate::text::chat_template::ChatTemplate;
use crate::text::dialogue::Framing;
use crate::text::panics;
use jiff::civil::DateTime;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::Tokenizer;

/// The chat templates of a model, and the special tokens that they may mention by name.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    pub default: Option<String>,
    /// The one for conversations with tools, where that is another.
    pub tool_use: Option<String>,
    /// `pad_token` and the like; `bos_token` and `eos_token` come from the tokenizer's ids.
    pub tokens: BTreeMap<String, String>,
}

impl From<Option<String>> for Templates {
    fn from(default: Option<String>) -> Self {
        Self { default, ..Self::default() }
    }
}

/// A tokenizer, its special tokens and its chat templates.
#[derive(Debug, Clone)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    eos: Vec<u32>,
    bos: Option<u32>,
    chat_template: Option<ChatTemplate>,
    tool_template: Option<ChatTemplate>,
    framing: Option<Framing>,
    /// Of the embedding: ids from here on cannot be used.
    rows: usize,
}

impl TextTokenizer {
    /// `eos`: every id that ends a generation; the first one is the tokenizer's own, which ends a text
    /// without a template. What the template ends a turn with ends a generation, too.
    ///
    /// # Errors
    /// `eos` is empty, or an id is not in the vocabulary.
    pub fn new(
        mut tokenizer: Tokenizer,
        eos: Vec<u32>,
        bos: Option<u32>,
        templates: impl Into<Templates>,
    ) -> Result<Self> {
        let token = |what: &str, id: u32| {
            let missing = || Error::argument("tokenizer", what, id, "an id of the vocabulary");
            tokenizer.id_to_token(id).ok_or_else(missing)
        };
        let eos_tokens = eos.iter().map(|&id| token("eos", id)).collect::<Result<Vec<_>>>()?;
        let Some(eos_token) = eos_tokens.into_iter().next() else {
            return Err(Error::argument("tokenizer", "eos", "nothing", "at least one end-of-sequence token"));
        };
        let Templates { default, tool_use, mut tokens } = templates.into();
        tokens.insert("eos_token".into(), eos_token);
        if let Some(bos_token) = bos.map(|id| token("bos", id)).transpose()? {
            tokens.insert("bos_token".into(), bos_token);
        }
        // A tokenizer.json may carry the truncation of the run that wrote it; ours is the recipe's.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| failed("truncation", e))?;
        let template = |source: String| ChatTemplate::new(source, tokens.clone());
        let chat_template = default.map(template);
        let tool_template = tool_use.map(template);
        let mut whole =
            Self { tokenizer, eos, bos, chat_template, tool_template, framing: None, rows: usize::MAX };
        whole.framing =
            whole.chat_template.as_ref().and_then(|template| Framing::of(template, &whole.tokenizer));
        let end = whole.framing.as_ref().and_then(|framing| framing.end_of_turn.as_deref());
        let end = end.and_then(|token| whole.tokenizer.token_to_id(token));
        whole.eos.extend(end.filter(|id| !whole.eos.contains(id)));
        Ok(whole)
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

    /// Token ids of a text with what the tokenizer puts around one, unless the text already begins with the
    /// beginning-of-sequence token.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        let begins = self.bos_token().is_some_and(|bos| text.starts_with(&bos));
        self.encode(text, !begins)
    }

    /// The text of token ids; ids outside the vocabulary are left out.
    ///
    /// # Errors
    /// The tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        panics::decode(&self.tokenizer, ids, skip_special)
    }

    /// A token as the vocabulary writes it, on one line.
    pub fn piece(&self, id: u32) -> String {
        let piece = self.tokenizer.id_to_token(id).unwrap_or_else(|| format!("<{id}>"));
        let mut line = String::new();
        for c in piece.chars() {
            match c.is_control() {
                true => line.extend(c.escape_default()),
                false => line.push(c),
            }
        }
        line
    }

    /// Every id that ends a generation.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos
    }

    /// The tokenizer's own end-of-sequence token.
    pub fn eos_id(&self) -> u32 {
        self.eos[0]
    }

    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    pub fn bos_token(&self) -> Option<String> {
        self.bos.and_then(|id| self.tokenizer.id_to_token(id))
    }

    /// Texts of the tokens that end a generation.
    pub(super) fn eos_tokens(&self) -> impl Iterator<Item = String> {
        self.eos.iter().filter_map(|&id| self.tokenizer.id_to_token(id))
    }

    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// The template for a conversation with tools, or without.
    pub fn template_for(&self, tools: bool) -> Option<&ChatTemplate> {
        self.tool_template.as_ref().filter(|_| tools).or(self.chat_template.as_ref())
    }

    /// What the template puts around a question and its answer.
    pub(super) fn framing(&self) -> Option<&Framing> {
        self.framing.as_ref()
    }

    /// The date that the templates write, where one of them asks for it.
    pub fn template_date(&self) -> Option<DateTime> {
        let mut templates = self.chat_template.iter().chain(&self.tool_template);
        templates.find(|template| template.asks_for_date()).map(ChatTemplate::date)
    }

    pub fn set_template_date(&mut self, date: DateTime) {
        for template in self.chat_template.iter_mut().chain(&mut self.tool_template) {
            template.set_date(date);
        }
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
            "eos_token": self.tokenizer.id_to_token(self.eos_id()),
        });
        let templates = self.chat_template.iter().chain(&self.tool_template);
        for (name, token) in templates.flat_map(ChatTemplate::tokens) {
            config[name] = token.as_str().into();
        }
        if let Some(template) = &self.chat_template {
            config["chat_template"] = match &self.tool_template {
                None => template.source().into(),
                Some(tools) => json!([
                    { "name": "default", "template": template.source() },
                    { "name": "tool_use", "template": tools.source() },
                ]),
            };
        }
        write_json(&folder.join("tokenizer_config.json"), &config)
    }
}

fn failed(argument: &str, error: tokenizers::Error) -> Error {
    let got = error.to_string().replace('\n', " ");
    Error::argument("tokenizer", argument, got, "something the tokenizer accepts")
}
