//! What strangers write, fit to be seen: in error messages, on terminals, in tables and pages.

use std::fmt::Display;

/// The beginning of what a library or a file says, fit for an error message: candle appends stack
/// traces to its messages, and a hostile file may name its tensors as it likes.
pub fn one_line(text: impl Display) -> String {
    let text = text.to_string();
    visible(text.lines().next().unwrap_or_default().trim(), &[])
}

/// A name that a file gives itself, fit for a terminal, a table in Markdown and a page.
pub fn label(name: &str) -> String {
    visible(name.trim(), &['|', '<', '>', '`'])
}

/// The beginning of a text, with everything that is not seen as itself, and what else is to be, escaped:
/// line breaks, control sequences of terminals, marks that turn the direction of writing.
fn visible(text: &str, also: &[char]) -> String {
    let mut line = String::new();
    for c in text.chars().take(200) {
        // Behind a letter, which an accent needs to be seen.
        let seen = matches!(c, '"' | '\'' | '\\') || format!("a{c}").escape_debug().count() == 2;
        match seen && !also.contains(&c) {
            true => line.push(c),
            false => line.extend(c.escape_unicode()),
        }
    }
    line
}
