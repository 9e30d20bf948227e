//! Which tokens a model reads of a prompt and its answer: the one definition that training, evaluation and
//! generation share.

use crate::error::{Error, Result};
use crate::model::chat_template::{ChatTemplate, Conversation};
use crate::model::message::Message;
use crate::model::tokenizer::TextTokenizer;
use serde_json::Value;
use std::borrow::Cow;
use tokenizers::{AddedToken, Tokenizer};

/// What the answer follows.
#[derive(Debug, Clone, Copy)]
pub struct Dialogue<'a> {
    pub conversation: Conversation<'a>,
    /// It was a bare text, not messages: such a text may hold the template already.
    pub is_text: bool,
}

/// How a dialogue becomes the text that is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As the template renders it.
    Template,
    /// A text that holds what the template would write; it is not dressed a second time.
    Dressed,
    /// Prompt and answer are one text, for there is no template.
    Plain,
}

impl TextTokenizer {
    /// Token ids of a prompt as the model reads it before it answers, and how they came about.
    ///
    /// # Errors
    /// The template refuses the prompt or would leave out what it says, there is no template for more than
    /// a text, or the tokenizer has no token for a part of it.
    pub fn encode_prompt(&self, prompt: Dialogue<'_>) -> Result<(Vec<u32>, Form)> {
        let form = self.form(&prompt)?;
        let ids = match form {
            Form::Template => self.encode(&self.render(prompt.conversation, true)?, false),
            Form::Dressed => self.encode(&self.dressed(&prompt), false),
            Form::Plain => self.encode_text(&text_of(&prompt)),
        };
        Ok((ids?, form))
    }

    /// Token ids of a prompt with its answer. The answer ends with the token that the template ends a turn
    /// with, and without a template with the tokenizer's end token: once, also where its text has that
    /// already. White space that a template writes behind that token separates turns; no answer has it.
    ///
    /// # Errors
    /// As [`Self::encode_prompt`].
    pub fn encode_whole(&self, prompt: Dialogue<'_>, answer: &[Message]) -> Result<Vec<u32>> {
        match self.form(&prompt)? {
            Form::Template => {
                let messages = prompt.conversation.messages.iter().chain(answer);
                let messages: Vec<Message> = messages.map(|message| self.without_end(message)).collect();
                let whole = Conversation { messages: &messages, ..prompt.conversation };
                Ok(self.up_to_end(self.encode(&self.render(whole, false)?, false)?))
            }
            Form::Dressed => {
                let mut text = self.dressed(&prompt).into_owned();
                let end = self.framing().map_or("", |framing| &framing.end);
                let answer = one_text(answer)?;
                let ended = Some(end.trim_end()).filter(|end| !end.is_empty());
                let cut = ended.and_then(|end| answer.trim_end().strip_suffix(end));
                text.push_str(cut.unwrap_or_else(|| self.cut_end(&answer)));
                text.push_str(end);
                Ok(self.up_to_end(self.encode(&text, false)?))
            }
            Form::Plain => {
                let mut text = text_of(&prompt).into_owned();
                text.push_str(&one_text(answer)?);
                let (length, eos) = (text.len(), self.eos_tokens().next().unwrap_or_default());
                if !text.ends_with(&eos) {
                    text.push_str(&eos);
                }
                let mut ids = self.encode_text(&text)?;
                match ids.as_slice() {
                    // Some tokenizers put it behind every text.
                    [.., a, b] if *a == self.eos_id() && a == b => drop(ids.pop()),
                    [.., last] if *last == self.eos_id() => {}
                    // Others do not recognise it in a text.
                    _ => {
                        ids = self.encode_text(&text[..length])?;
                        ids.push(self.eos_id());
                    }
                }
                Ok(ids)
            }
        }
    }

    fn form(&self, prompt: &Dialogue<'_>) -> Result<Form> {
        match self.template_for(prompt.conversation.tools.is_some()) {
            Some(_) if self.is_dressed(prompt) => Ok(Form::Dressed),
            Some(_) => Ok(Form::Template),
            None => match prompt.conversation.messages {
                _ if prompt.conversation.tools.is_some() => Err(needs_template("tools")),
                _ if !prompt.conversation.kwargs.is_empty() => Err(needs_template("chat_template_kwargs")),
                [message] if message.role() == "user" && message.has_only_text() => Ok(Form::Plain),
                [message] if message.role() == "user" => {
                    Err(needs_template("a message that is more than a text"))
                }
                [message] => Err(needs_template(&format!("a message of role {:?}", message.role()))),
                messages => Err(needs_template(&format!("{} messages", messages.len()))),
            },
        }
    }

    fn is_dressed(&self, prompt: &Dialogue<'_>) -> bool {
        let between = self.framing().map(|framing| framing.between.trim()).filter(|mark| !mark.is_empty());
        prompt.is_text && between.is_some_and(|mark| text_of(prompt).contains(mark))
    }

    /// A text that holds the template, with the beginning-of-sequence token that the template begins with.
    fn dressed<'a>(&self, prompt: &Dialogue<'a>) -> Cow<'a, str> {
        let text = text_of(prompt);
        match self.bos_token() {
            Some(bos) if self.framing().is_some_and(|f| f.begins_with(&bos)) && !text.starts_with(&bos) => {
                (bos + &text).into()
            }
            _ => text,
        }
    }

    fn render(&self, conversation: Conversation<'_>, add_generation_prompt: bool) -> Result<String> {
        let Some(template) = self.template_for(conversation.tools.is_some()) else {
            return Err(needs_template("a conversation"));
        };
        refuse_unread(template, &conversation)?;
        template.render(conversation, add_generation_prompt)
    }

    /// Tokens without the white space that the template writes behind the end of a turn.
    fn up_to_end(&self, mut ids: Vec<u32>) -> Vec<u32> {
        let end = self.framing().and_then(|framing| framing.end_of_turn);
        if let Some(last) = end.and_then(|end| ids.iter().rposition(|&id| id == end)) {
            ids.truncate(last + 1);
        }
        ids
    }

    /// An assistant's message whose text does not end as its turn will.
    fn without_end(&self, message: &Message) -> Message {
        let mut message = message.clone();
        if message.role() == "assistant" {
            message.set_text(|text| text.truncate(self.cut_end(text).len()));
        }
        message
    }

    /// A text up to the end token that it ends with, white space behind that included.
    fn cut_end<'t>(&self, text: &'t str) -> &'t str {
        self.eos_tokens().find_map(|end| text.trim_end().strip_suffix(&end)).unwrap_or(text)
    }
}

fn needs_template(got: &str) -> Error {
    Error::argument("tokenize", "prompt", got, "one text, or a model with a chat template")
}

fn text_of<'a>(prompt: &Dialogue<'a>) -> Cow<'a, str> {
    prompt.conversation.messages.last().map_or("".into(), Message::text)
}

/// The text of an answer that is not to be rendered.
fn one_text(answer: &[Message]) -> Result<Cow<'_, str>> {
    match answer {
        [message] if message.has_only_text() => Ok(message.text()),
        [_] => Err(needs_template("an answer that is more than a text")),
        messages => Err(needs_template(&format!("an answer of {} messages", messages.len()))),
    }
}

/// What a conversation says and a template never looks at would be lost without a word.
fn refuse_unread(template: &ChatTemplate, conversation: &Conversation<'_>) -> Result<()> {
    // What is said; of other keys (an id, a date) nobody expects a token.
    const SAID: [&str; 2] = ["tool_calls", "function_call"];
    const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];
    let refuse = |argument: &str, got: &str| {
        Err(Error::argument("chat_template", argument, got, "what the model's template reads"))
    };
    if conversation.tools.is_some() && !template.mentions("tools") {
        return refuse("tools", "tools, which the template never mentions");
    }
    if let Some(name) = conversation.kwargs.keys().find(|name| !template.mentions(name)) {
        return refuse("chat_template_kwargs", &format!("{name:?}, which the template never mentions"));
    }
    for (i, message) in conversation.messages.iter().enumerate() {
        let said = |key: &&&str| message.keys().get(**key).is_some_and(says_something);
        let place = format!("message {i} ({})", message.role());
        if let Some(key) = SAID.iter().filter(said).find(|key| !template.mentions(key)) {
            return refuse(&place, &format!("{key}, which the template never mentions"));
        }
        if REASONING.iter().any(|key| said(&key)) && !REASONING.iter().any(|key| template.mentions(key)) {
            return refuse(&place, "reasoning, which the template never mentions");
        }
        if let Some(Value::Array(parts)) = message.keys().get("content") {
            let kind = |part: &Value| part.get("type").and_then(Value::as_str).unwrap_or("text").to_string();
            if let Some(other) = parts.iter().map(kind).find(|kind| kind != "text") {
                return refuse(&place, &format!("a part of type {other:?}; text alone can be read"));
            }
            if ![".text", "'text'", "\"text\""].iter().any(|read| template.mentions(read)) {
                return refuse(&place, "a content of parts, which the template takes for one text");
            }
        }
    }
    Ok(())
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(keys) => !keys.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// What a template puts around a question and its answer, found by rendering one of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framing {
    before: String,
    /// From the question's end to where the answer is asked for.
    between: String,
    /// Behind the answer.
    end: String,
    /// The token of its own behind an answer that only white space follows.
    pub(super) end_of_turn: Option<u32>,
}

impl Framing {
    /// Nothing where the template does not render these messages, or not as they stand.
    pub(super) fn of(template: &ChatTemplate, tokenizer: &Tokenizer) -> Option<Self> {
        const QUESTION: &str = "thequestion";
        const ANSWER: &str = "theanswer";
        let exchange = [Message::user(QUESTION), Message::assistant(ANSWER)];
        let text = template.render(Conversation::of(&exchange), false).ok()?;
        let asked = template.render(Conversation::of(&exchange[..1]), true).ok()?;
        let (before, between) = asked.split_once(QUESTION)?;
        let (_, end) = text.split_once(ANSWER)?;
        let added = tokenizer.get_added_tokens_decoder();
        let ends = |(id, token): &(&u32, &AddedToken)| {
            let at_end = !token.content.is_empty() && end.trim_end().ends_with(token.content.trim_end());
            at_end.then_some((token.content.len(), **id))
        };
        // Of tokens that end alike the longest is what the tokenizer finds.
        let end_of_turn = added.iter().filter_map(|entry| ends(&entry)).max().map(|(_, id)| id);
        Some(Self { before: before.into(), between: between.into(), end: end.into(), end_of_turn })
    }

    fn begins_with(&self, token: &str) -> bool {
        self.before.starts_with(token)
    }
}
