//! What GSM8K's filters find in a text, and what `exact_match` compares.

use regex::Regex;
use std::sync::LazyLock;

/// The result of a filter that finds nothing.
pub(super) const INVALID: &str = "[invalid]";

/// Returns what it finds in a text.
pub(super) type Filter = fn(&str) -> String;

/// The harness's filters by name.
pub const ALL: [(&str, Filter); 2] = [("flexible-extract", flexible), ("strict-match", strict)];

/// The first number behind `#### `.
///
/// ```
/// use lpc::eval::tasks::filters::strict;
/// assert_eq!((strict("#### 1,234.\n#### 5").as_str(), strict("####18").as_str()), ("1,234.", "[invalid]"));
/// ```
pub fn strict(text: &str) -> String {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"#### (-?[0-9.,]+)"));
    NUMBER.captures(text).map_or(INVALID, |found| found.get(1).map_or("", |m| m.as_str())).trim().to_string()
}

/// The last thing that looks like a number.
///
/// ```
/// use lpc::eval::tasks::filters::flexible;
/// assert_eq!((flexible("it is 18-20").as_str(), flexible("none").as_str()), ("-20", "[invalid]"));
/// ```
pub fn flexible(text: &str) -> String {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"-?[$0-9.,]{2,}|-?[0-9]+"));
    NUMBER.find_iter(text).last().map_or(INVALID, |found| found.as_str()).trim().to_string()
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the tests use every pattern")
}

/// As `exact_match` compares: without commas, dollar signs, all up to the last `#### ` and one
/// full stop at the end, in lower case.
///
/// ```
/// use lpc::eval::tasks::filters::normalised;
/// assert_eq!(normalised("so she has\n#### $1,234."), "1234");
/// ```
pub fn normalised(text: &str) -> String {
    let text = text.replace([',', '$'], "");
    let text = text.rsplit_once("#### ").map_or(text.as_str(), |(_, rest)| rest);
    // Python's `$` also stands before a line's end that ends the text.
    let text = match (text.strip_suffix('.'), text.strip_suffix(".\n")) {
        (Some(text), _) => text.to_string(),
        (None, Some(text)) => format!("{text}\n"),
        (None, None) => text.to_string(),
    };
    text.to_lowercase()
}
