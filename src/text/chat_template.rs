//! Chat templates: Jinja programs that ship with a model and turn messages into its prompt.
//! They come from strangers, so they are parsed and run with a bounded number of instructions, bytes and
//! seconds, on a stack that values nested as deep as those bytes allow do not overflow.

use crate::error::{Error, Result};
use crate::machine::bounded::{self, Limits};
use crate::text::message::Message;
use crate::text::panics::caught;
use crate::text::python_json;
use jiff::civil::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{Environment, ErrorKind, Value};
use regex::Regex;
use serde_json::Map;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Instructions a template may execute; real ones need a few hundred a message.
const FUEL: u64 = 10_000_000;
/// Real ones have up to 30 thousand bytes.
const LONGEST: usize = 1 << 18;
/// The parser goes one call deeper for each `-` in front of a number, say: this many bytes of stack for
/// each byte of the longest template.
const STACK_PER_BYTE: usize = 2048;
/// The longest conversations have a few MiB.
const RENDERING: Limits = Limits { bytes: 64 << 20, stack: 256 << 20, time: Duration::from_secs(60) };
const NAME: &str = "chat_template";
const NOW: &str = "strftime_now";

/// What a conversation says, before its answer or with it.
#[derive(Debug, Clone, Copy)]
pub struct Conversation<'a> {
    pub messages: &'a [Message],
    /// Functions that the assistant may call.
    pub tools: Option<&'a serde_json::Value>,
    /// Further names that the template may read; they go before the special tokens of that name.
    pub kwargs: &'a Map<String, serde_json::Value>,
}

impl<'a> Conversation<'a> {
    /// Messages alone.
    pub fn of(messages: &'a [Message]) -> Self {
        static NONE: LazyLock<Map<String, serde_json::Value>> = LazyLock::new(Map::new);
        Self { messages, tools: None, kwargs: &NONE }
    }
}

/// A chat template with the special tokens that it may mention, by name.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    /// The compiled template, or why there is none.
    environment: std::result::Result<Arc<Environment<'static>>, String>,
    source: String,
    tokens: BTreeMap<String, String>,
    date: DateTime,
}

impl ChatTemplate {
    /// Reads a template in the dialect of `transformers`: Jinja with trimmed blocks, Python's
    /// string methods, `raise_exception`, `strftime_now`, `{% generation %}`, which marks what the assistant
    /// says and prints nothing, and a `tojson` that is `json.dumps`.
    ///
    /// A template that does not parse is no error before something is to be rendered with it. `tokens` are
    /// special tokens by the names that `transformers` has for them: `bos_token`, `pad_token`.
    pub fn new(source: String, tokens: BTreeMap<String, String>) -> Self {
        let now = jiff::Zoned::now().date().to_datetime(jiff::civil::Time::midnight());
        let environment = compiled(&source, now).map(Arc::new);
        Self { environment, source, tokens, date: now }
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The special tokens that it may mention, by name.
    pub fn tokens(&self) -> &BTreeMap<String, String> {
        &self.tokens
    }

    /// Does it read this name, as far as its text tells?
    pub fn mentions(&self, name: &str) -> bool {
        self.source.contains(name)
    }

    /// Does what it writes depend on the date?
    pub fn asks_for_date(&self) -> bool {
        self.mentions(NOW)
    }

    /// The date that it writes, which is midnight: the day on which it was read, unless another was set.
    pub fn date(&self) -> DateTime {
        self.date
    }

    pub fn set_date(&mut self, date: DateTime) {
        self.date = date;
        if let Ok(environment) = &mut self.environment {
            Arc::make_mut(environment).add_function(NOW, strftime(date));
        }
    }

    /// The text of a conversation; with `add_generation_prompt` it ends where the assistant's
    /// answer begins.
    ///
    /// As in `transformers`, what a message holds of null is left out, and what it says of its reasoning
    /// stands under each of that field's names.
    ///
    /// # Errors
    /// The template does not parse, raises, needs something that is not there, or does not come to an end.
    ///
    /// ```
    /// use lpc::text::chat_template::{ChatTemplate, Conversation};
    /// use lpc::text::message::Message;
    /// let source = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}".to_string();
    /// let template = ChatTemplate::new(source, Default::default());
    /// let hi = [Message::user(" hi ")];
    /// assert_eq!(template.render(Conversation::of(&hi), true).unwrap(), "<user>hi");
    /// ```
    pub fn render(&self, conversation: Conversation<'_>, add_generation_prompt: bool) -> Result<String> {
        let refused =
            |fault: String, expected: &str| Error::argument("chat_template", "template", fault, expected);
        let environment = match &self.environment {
            Ok(environment) => environment.clone(),
            Err(fault) => return Err(refused(fault.clone(), "a template that parses")),
        };
        // As in `transformers`, a token that the model does not have is undefined, not none.
        let mut context: BTreeMap<String, Value> =
            self.tokens.iter().map(|(name, token)| (name.clone(), token.into())).collect();
        let mut insert = |name: &str, value: Value| context.insert(name.into(), value);
        insert("tools", Value::from(Serde(conversation.tools)));
        insert("documents", Value::from(()));
        for (name, value) in conversation.kwargs {
            insert(name, Value::from(Serde(value)));
        }
        let messages: Vec<Value> = conversation.messages.iter().map(as_transformers_has_it).collect();
        insert("messages", messages.into());
        insert("add_generation_prompt", add_generation_prompt.into());
        let rendered = limited(RENDERING, move || {
            let context = Value::from_pairs(context);
            environment.get_template(NAME).and_then(|template| template.render(context)).map_err(|e| line(&e))
        });
        rendered.map_err(|fault| refused(fault, "a template that renders these messages"))
    }
}

/// The result of a stranger's program, or its fault in one line.
fn limited<T: Send + 'static>(
    limits: Limits,
    work: impl FnOnce() -> std::result::Result<T, String> + Send + 'static,
) -> std::result::Result<T, String> {
    match bounded::run(limits, move || caught(work)) {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err("a fault of its reader".into()),
        Err(exceeded) => Err(format!("it takes {exceeded}")),
    }
}

/// Parses and compiles, on a stack that the longest template cannot overflow.
fn compiled(source: &str, date: DateTime) -> std::result::Result<Environment<'static>, String> {
    if source.len() > LONGEST {
        return Err(format!("{} bytes, more than {LONGEST}", source.len()));
    }
    let limits = Limits { stack: (16 << 20) + source.len() * STACK_PER_BYTE, ..RENDERING };
    let source = without_generation_marks(source);
    limited(limits, move || {
        let mut environment = environment(date).map_err(|e| line(&e))?;
        environment.add_template_owned(NAME, source).map_err(|e| line(&e))?;
        Ok(environment)
    })
}

fn environment(date: DateTime) -> std::result::Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    minijinja_contrib::add_to_environment(&mut environment);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function(NOW, strftime(date));
    environment.add_filter("tojson", to_json);
    Ok(environment)
}

/// `{% generation %}` opens a scope of its own and does nothing else.
fn without_generation_marks(source: &str) -> String {
    static MARK: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("a pattern that is right")
    });
    MARK.replace_all(source, "{%$1 ${2}with $3%}").into_owned()
}

/// A message without keys of null, and with its reasoning under each name that templates know.
fn as_transformers_has_it(message: &Message) -> Value {
    const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];
    let there = |key: &str| message.keys().get(key).filter(|value| !value.is_null());
    let mut keys: Map<String, serde_json::Value> = Map::new();
    let reasoning = REASONING.into_iter().find_map(there);
    if let Some(reasoning) = reasoning {
        keys.insert("thinking".into(), reasoning.clone());
    }
    for (key, value) in message.keys().iter().filter(|(_, value)| !value.is_null()) {
        keys.insert(key.clone(), value.clone());
    }
    if let Some(reasoning) = reasoning {
        keys.insert("reasoning_content".into(), reasoning.clone());
    }
    Value::from(Serde(&keys))
}

fn line(error: &minijinja::Error) -> String {
    let line = error.line().map(|l| format!(" (line {l})")).unwrap_or_default();
    format!("{error}{line}").replace('\n', " ")
}

fn raise_exception(message: String) -> std::result::Result<Value, minijinja::Error> {
    Err(invalid(message))
}

fn invalid(message: impl ToString) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, message.to_string())
}

fn strftime(date: DateTime) -> impl Fn(String) -> std::result::Result<String, minijinja::Error> {
    move |format| {
        let broken_down = jiff::fmt::strtime::BrokenDownTime::from(date);
        broken_down.to_string(&format).map_err(invalid)
    }
}

/// Python's `json.dumps`, with the arguments that `transformers` passes on.
fn to_json(value: Value, kwargs: Kwargs) -> std::result::Result<Value, minijinja::Error> {
    let mut style = python_json::Style {
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ..Default::default()
    };
    let indent: Option<Value> = kwargs.get("indent")?;
    style.indent = match indent.filter(|i| !i.is_none()) {
        None => None,
        Some(indent) => Some(match (indent.as_str(), usize::try_from(indent.clone())) {
            (Some(text), _) => text.to_string(),
            (None, Ok(width)) if width <= 16 => " ".repeat(width),
            _ => return Err(invalid(format!("tojson indent {indent}"))),
        }),
    };
    let separators: Option<Value> = kwargs.get("separators")?;
    if let Some(separators) = separators.filter(|s| !s.is_none()) {
        let two = |i: usize| separators.get_item_by_index(i).ok().and_then(|s| s.as_str().map(String::from));
        match (separators.kind(), separators.len(), two(0), two(1)) {
            (ValueKind::Seq, Some(2), Some(item), Some(key)) => style.separators = Some((item, key)),
            _ => return Err(invalid(format!("tojson separators {separators}"))),
        }
    }
    kwargs.assert_all_used()?;
    let value = serde_json::to_value(&value)
        .map_err(|e| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    Ok(Value::from_safe_string(python_json::dumps(&value, &style)))
}
