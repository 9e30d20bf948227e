//! Which tokens a model reads of a prompt and its answer: the one definition that training, evaluation and
//! generation share.

use crate::error::{Error, Result};
use crate::text::chat_template::{ChatTemplate, Conversation};
use crate::text::message::Message;
use crate::text::tokenizer::TextTokenizer;
use serde_json::Value;
use std::borrow::Cow;
use tokenizers::Tokenizer;

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
    /// A text that already contains what the template would write; the template is not applied again.
    Dressed,
    /// Prompt and answer are one text, for there is no template.
    Plain,
}

impl TextTokenizer {
    /// How a prompt is read that one of these answers follows; none of them is known before one is written.
    ///
    /// # Errors
    /// There is no template for more than a text.
    pub fn form(&self, prompt: Dialogue<'_>, answers: &[&[Message]]) -> Result<Form> {
        let Conversation { messages, tools, kwargs } = prompt.conversation;
        match self.template_for(tools.is_some()) {
            Some(_) if prompt.is_text && self.is_dressed(&text_of(&prompt), answers) => Ok(Form::Dressed),
            Some(_) => Ok(Form::Template),
            None => match messages {
                _ if tools.is_some() => Err(needs_template("tools")),
                _ if !kwargs.is_empty() => Err(needs_template("chat_template_kwargs")),
                [message] if message.role() == "user" && message.has_only_text() => Ok(Form::Plain),
                [message] if message.role() == "user" => {
                    Err(needs_template("a message that is more than a text"))
                }
                [message] => Err(needs_template(&format!("a message of role {:?}", message.role()))),
                messages => Err(needs_template(&format!("{} messages", messages.len()))),
            },
        }
    }

    /// Token ids of a prompt as the model reads it before it answers.
    ///
    /// # Errors
    /// The template refuses the prompt or would leave out what it says, or the tokenizer has no token for a
    /// part of it.
    pub fn encode_prompt(&self, prompt: Dialogue<'_>, form: Form) -> Result<Vec<u32>> {
        match form {
            Form::Template => self.encode(&self.render(prompt.conversation, &[], true)?, false),
            Form::Dressed => self.encode(&self.dressed(&prompt), false),
            Form::Plain => self.encode_text(&text_of(&prompt)),
        }
    }

    /// Token ids of a prompt with its answer. The answer ends with the token that the template ends a turn
    /// with, and without a template with the tokenizer's end token: once, also where its text has that
    /// already. White space that a template writes behind that token separates turns; no answer has it.
    ///
    /// # Errors
    /// As [`Self::encode_prompt`].
    pub fn encode_whole(&self, prompt: Dialogue<'_>, answer: &[Message], form: Form) -> Result<Vec<u32>> {
        match form {
            Form::Template => {
                let text = self.render(prompt.conversation, answer, false)?;
                self.encode(self.up_to_end(&text), false)
            }
            Form::Dressed => {
                let mut text = self.dressed(&prompt).into_owned();
                text.push_str(&one_text(answer)?);
                // Whatever end token stands there was meant.
                if !self.eos_tokens().any(|end| text.trim_end().ends_with(&end)) {
                    text.push_str(self.framing().map_or("", |framing| &framing.end));
                }
                self.encode(self.up_to_end(&text), false)
            }
            Form::Plain => {
                let mut text = text_of(&prompt).into_owned();
                text.push_str(&one_text(answer)?);
                let (length, eos) = (text.len(), self.eos_tokens().next().unwrap_or_default());
                match text.trim_end().ends_with(&eos) {
                    true => text.truncate(text.trim_end().len()),
                    false => text.push_str(&eos),
                }
                let mut ids = self.encode_text(&text)?;
                match ids.as_slice() {
                    // Some tokenizers put it behind every text.
                    [.., a, b] if *a == self.eos_id() && a == b => drop(ids.pop()),
                    [.., last] if *last == self.eos_id() => {}
                    // Others do not recognise it in a text.
                    _ => {
                        ids = self.encode_text(&text[..length.min(text.len())])?;
                        ids.push(self.eos_id());
                    }
                }
                Ok(ids)
            }
        }
    }

    /// Does a text hold the template already? It has what the template writes between question and answer, and
    /// it begins as the template does or ends where the answer is asked for: a text may also speak of that mark.
    fn is_dressed(&self, prompt: &str, answers: &[&[Message]]) -> bool {
        let Some(framing) = self.framing() else { return false };
        let (mark, opening) = (framing.between.trim(), framing.opening(self.bos_token().as_deref()));
        if mark.is_empty() {
            return false;
        }
        let bos = self.bos_token().unwrap_or_default();
        let text = prompt.strip_prefix(&bos).unwrap_or(prompt).trim_start();
        let begins = !opening.is_empty() && text.starts_with(opening);
        let with = |answer: &&[Message]| format!("{prompt}{}", text_of_all(answer)).contains(mark);
        // The mark may stand in the answers, all of them then.
        let has_mark = prompt.contains(mark) || (!answers.is_empty() && answers.iter().all(with));
        (begins && has_mark) || prompt.trim_end().ends_with(mark)
    }

    /// A text that holds the template, with the beginning-of-sequence token that the template begins with.
    fn dressed<'a>(&self, prompt: &Dialogue<'a>) -> Cow<'a, str> {
        let text = text_of(prompt);
        match self.bos_token() {
            Some(bos)
                if self.framing().is_some_and(|f| f.before.starts_with(&bos)) && !text.starts_with(&bos) =>
            {
                (bos + &text).into()
            }
            _ => text,
        }
    }

    /// The template's text of prompt and answer. No message of the assistant's ends twice.
    fn render(
        &self,
        prompt: Conversation<'_>,
        answer: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String> {
        let Some(template) = self.template_for(prompt.tools.is_some()) else {
            return Err(needs_template("a conversation"));
        };
        let messages = prompt.messages.iter().chain(answer);
        let messages: Vec<Message> = messages.map(|message| self.without_end(message)).collect();
        let whole = Conversation { messages: &messages, ..prompt };
        refuse_unread(template, &whole)?;
        let text = template.render(whole, add_generation_prompt)?;
        refuse_lost(&text, &messages)?;
        Ok(text)
    }

    /// A text without the white space behind the end token that it ends with.
    fn up_to_end<'t>(&self, text: &'t str) -> &'t str {
        let kept = text.trim_end();
        match self.eos_tokens().any(|end| kept.ends_with(&end)) {
            true => kept,
            false => text,
        }
    }

    /// An assistant's message whose text does not end as the template will end it, nor with the tokenizer's
    /// own end token, which stands for the same.
    fn without_end(&self, message: &Message) -> Message {
        let mut message = message.clone();
        let end_of_turn = self.framing().and_then(|framing| framing.end_of_turn.as_deref());
        if let (Some(end), "assistant") = (end_of_turn, message.role()) {
            let own = self.eos_tokens().next().unwrap_or_default();
            message.set_text(|text| {
                let kept = [end, &own].iter().find_map(|end| text.trim_end().strip_suffix(end));
                if let Some(length) = kept.map(str::len) {
                    text.truncate(length);
                }
            });
        }
        message
    }
}

fn needs_template(got: &str) -> Error {
    Error::argument("tokenize", "prompt", got, "one text, or a model with a chat template")
}

fn text_of<'a>(prompt: &Dialogue<'a>) -> Cow<'a, str> {
    prompt.conversation.messages.last().map_or("".into(), Message::text)
}

fn text_of_all(messages: &[Message]) -> String {
    messages.iter().map(Message::text).collect()
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
    let taken = |name: &&String| ["messages", "add_generation_prompt"].contains(&name.as_str());
    if let Some(name) = conversation.kwargs.keys().find(taken) {
        return refuse("chat_template_kwargs", &format!("{name:?}, which is not the row's to say"));
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

/// What a template mentions it may still leave out: messages of roles that it does not know (the system's, with
/// some), a content beside
/// tool calls, or the calls beside a content.
fn refuse_lost(rendered: &str, messages: &[Message]) -> Result<()> {
    let has = |text: &str| {
        let text = text.trim();
        let quoted = Value::from(text).to_string();
        rendered.contains(text) || rendered.contains(&quoted[1..quoted.len() - 1])
    };
    let refuse = |i: usize, what: &str| {
        let argument = format!("message {i} ({})", messages[i].role());
        Err(Error::argument("chat_template", argument, what, "what the model's template writes"))
    };
    for (i, message) in messages.iter().enumerate() {
        let calls = message.keys().get("tool_calls").and_then(Value::as_array);
        let calls = calls.into_iter().flatten().collect::<Vec<_>>();
        let unusual = !matches!(message.role(), "user" | "assistant");
        let text = message.text();
        if (unusual || !calls.is_empty()) && !text.contains("<think>") && !has(&text) {
            return refuse(i, "a content that the template leaves out");
        }
        let name = |call: &&Value| {
            let name = call.pointer("/function/name").or_else(|| call.get("name"));
            name.and_then(Value::as_str).map(String::from)
        };
        if calls.iter().filter_map(name).any(|name| !has(&name)) {
            return refuse(i, "a tool call that the template leaves out");
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
    /// Behind the question, whether an answer is asked for or follows.
    between: String,
    /// Behind the answer.
    end: String,
    /// The token of its own behind an answer that at most white space follows.
    pub(super) end_of_turn: Option<String>,
}

impl Framing {
    /// Nothing where the template does not render these messages, or not as they stand.
    pub(super) fn of(template: &ChatTemplate, tokenizer: &Tokenizer) -> Option<Self> {
        const QUESTION: &str = "thequestion";
        const ANSWER: &str = "theanswer";
        let exchange = [Message::user(QUESTION), Message::assistant(ANSWER)];
        let text = template.render(Conversation::of(&exchange), false).ok()?;
        let asked = template.render(Conversation::of(&exchange[..1]), true).ok()?;
        let (before, asked) = asked.split_once(QUESTION)?;
        let (_, answered) = text.split_once(QUESTION)?;
        let (_, end) = answered.split_once(ANSWER)?;
        let common = asked.chars().zip(answered.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a);
        let mut between: String = common.collect();
        // Where a thought is begun for the model, texts are written with it and without.
        between.truncate(between.find("<think>").unwrap_or(between.len()));
        let added = tokenizer.get_added_tokens_decoder();
        let written = added.values().map(|token| token.content.trim());
        let ends = written.filter(|token| !token.is_empty() && end.trim_end().ends_with(token));
        // Of tokens that end alike the longest is what the tokenizer finds.
        let end_of_turn = ends.max_by_key(|token| token.len()).map(String::from);
        Some(Self { before: before.into(), between, end: end.into(), end_of_turn })
    }

    /// The first mark of a turn, up to white space.
    fn opening(&self, bos: Option<&str>) -> &str {
        let before = bos.and_then(|bos| self.before.strip_prefix(bos)).unwrap_or(&self.before);
        before.split_whitespace().next().unwrap_or_default()
    }
}
