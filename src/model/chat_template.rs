//! Chat templates: Jinja programs that ship with a model and turn messages into its prompt.
//! They come from strangers, so they run with a bounded number of instructions. (Not of bytes: a
//! template can still double a string until memory ends, as it can in Python.)

use crate::error::{Error, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, Value, context};
use serde::Serialize;
use std::io;

/// Instructions a template may execute; real ones need a few hundred a message.
const FUEL: u64 = 10_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    pub role: &'a str,
    pub content: &'a str,
}

impl<'a> Message<'a> {
    pub fn user(content: &'a str) -> Self {
        Self { role: "user", content }
    }

    pub fn assistant(content: &'a str) -> Self {
        Self { role: "assistant", content }
    }
}

/// A compiled chat template with the special tokens it may mention.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    bos_token: Option<String>,
    eos_token: Option<String>,
}

impl ChatTemplate {
    /// Reads a template in the dialect of `transformers`: Jinja with trimmed blocks, Python's
    /// string methods, `raise_exception`, `strftime_now` and a `tojson` that does not escape HTML.
    ///
    /// # Errors
    /// The template does not parse.
    pub fn new(source: String, bos_token: Option<String>, eos_token: Option<String>) -> Result<Self> {
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let syntax = syntax.map_err(|e| template_error(&e, "a syntax that minijinja accepts"))?;
        let mut environment = Environment::new();
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        environment.template_from_str(&source).map_err(|e| template_error(&e, "a template that parses"))?;
        Ok(Self { environment, source, bos_token, eos_token })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a conversation; with `add_generation_prompt` it ends where the assistant's
    /// answer begins.
    ///
    /// # Errors
    /// The template raises, needs something that is not there, or does not come to an end.
    ///
    /// ```
    /// use lpc::model::chat_template::{ChatTemplate, Message};
    /// let source = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}".to_string();
    /// let template = ChatTemplate::new(source, None, None).unwrap();
    /// assert_eq!(template.render(&[Message::user(" hi ")], true).unwrap(), "<user>hi");
    /// ```
    pub fn render(&self, messages: &[Message<'_>], add_generation_prompt: bool) -> Result<String> {
        // As in `transformers`, a token that the model does not have is undefined, not none.
        let token = |t: &Option<String>| t.clone().map_or(Value::UNDEFINED, Value::from);
        let messages = messages.iter().map(|m| context! { role => m.role, content => m.content });
        let context = context! {
            messages => messages.collect::<Vec<_>>(),
            add_generation_prompt => add_generation_prompt,
            tools => (),
            documents => (),
            bos_token => token(&self.bos_token),
            eos_token => token(&self.eos_token),
        };
        self.environment
            .render_str(&self.source, context)
            .map_err(|e| template_error(&e, "a template that renders these messages"))
    }
}

fn template_error(error: &minijinja::Error, expected: &str) -> Error {
    let line = error.line().map(|l| format!(" (line {l})")).unwrap_or_default();
    Error::argument("chat_template", "template", format!("{error}{line}").replace('\n', " "), expected)
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: String) -> Result<String, minijinja::Error> {
    jiff::fmt::strtime::format(&format, &jiff::Zoned::now())
        .map_err(|e| minijinja::Error::new(ErrorKind::InvalidOperation, e.to_string()))
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn to_json(value: Value, kwargs: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    kwargs.assert_all_used()?;
    let json = match indent {
        None => serialize(&value, PythonFormatter),
        Some(width) if width <= 16 => {
            serialize(&value, serde_json::ser::PrettyFormatter::with_indent(&b" ".repeat(width)))
        }
        Some(width) => {
            return Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("tojson indent {width}")));
        }
    };
    json.map(Value::from_safe_string)
        .map_err(|e| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string()))
}

fn serialize(value: &Value, formatter: impl serde_json::ser::Formatter) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Python puts a space after `,` and `:`.
struct PythonFormatter;

impl serde_json::ser::Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
