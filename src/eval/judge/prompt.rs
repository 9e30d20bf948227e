//! The judge's prompt: a template with {instruction}, {output_1} and {output_2}.

use crate::error::{Error, Place, Result};
use crate::files::sha256;
use serde::Serialize;
use std::path::Path;

/// Our own template. It asks for the same answers as AlpacaEval's: the letter m or M.
const DEFAULT: &str = "\
<|im_start|>system
You compare two answers to an instruction and say which one people would rather have.
<|im_end|>
<|im_start|>user
Here are an instruction and two answers to it, called m and M. Their order is random and means nothing, and so does \
their length.

# Instruction
{instruction}

# Answer m
{output_1}

# Answer M
{output_2}

# Your choice
Weigh how well each answer does what was asked and whether what it says is true. Reply with the name of the better \
answer and nothing else, one letter: m or M.
<|im_end|>
";

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// A template, cut into messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    messages: Vec<Message>,
    /// SHA-256 of the template's text: results say with which prompt they were made.
    pub sha256: String,
}

impl Default for Prompt {
    fn default() -> Self {
        Self::of(DEFAULT)
    }
}

const FIELDS: [&str; 3] = ["{instruction}", "{output_1}", "{output_2}"];
const START: &str = "<|im_start|>";
const END: &str = "<|im_end|>";

impl Prompt {
    /// Reads a template: messages in ChatML, as AlpacaEval's are, or the text of one user message.
    ///
    /// Errors: one of the three fields is missing.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        if let Some(missing) = FIELDS.into_iter().find(|field| !text.contains(field)) {
            return Err(Error::input(Place::file(path), format!("a template with {missing}"), "none"));
        }
        Ok(Self::of(&text))
    }

    pub(super) fn of(text: &str) -> Self {
        Self { messages: messages(text), sha256: sha256(text.as_bytes()) }
    }

    /// The messages with all fields filled in. The filled-in text cannot add fields or messages.
    pub fn fill(&self, instruction: &str, output_1: &str, output_2: &str) -> Vec<Message> {
        let values = [instruction, output_1, output_2];
        let filled = |message: &Message| {
            let (mut content, mut rest) = (String::new(), message.content.as_str());
            let next = |text: &str| {
                let found = FIELDS.iter().zip(values).filter_map(|(f, v)| Some((text.find(f)?, *f, v)));
                found.min_by_key(|&(at, ..)| at)
            };
            while let Some((at, field, value)) = next(rest) {
                content.push_str(&rest[..at]);
                content.push_str(value);
                rest = &rest[at + field.len()..];
            }
            content.push_str(rest);
            Message { role: message.role.clone(), content: content.trim().to_string() }
        };
        self.messages.iter().map(filled).collect()
    }
}

fn messages(template: &str) -> Vec<Message> {
    if !template.trim_start().starts_with(START) {
        return vec![Message { role: "user".into(), content: template.trim().into() }];
    }
    let message = |part: &str| {
        let (role, content) = part.split_once('\n').unwrap_or((part, ""));
        let content = content.split(END).next().unwrap_or_default();
        Message { role: role.trim().into(), content: content.trim().into() }
    };
    template.split(START).skip(1).map(message).collect()
}
