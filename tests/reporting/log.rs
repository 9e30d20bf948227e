//! `reports/log.md` says what files in this repository say.

use crate::git::committed;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// As committed, where there is git: whoever reproduces a table rewrites its files.
fn linked(link: &str) -> Option<String> {
    let name = Path::new("reports").join(link);
    let name: PathBuf = match name.strip_prefix("reports/..") {
        Ok(outside) => outside.into(),
        Err(_) => name,
    };
    committed(&name.display().to_string()).or_else(|| fs::read_to_string(root().join(name)).ok())
}

/// Lines joined: a quotation may run over the end of one, in the log or in the file.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Numbers with a point or an exponent, as they are written; signs aside.
fn numbers(text: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_digit() || c == '.' || c == 'e';
    let of_word = |word: &str| -> Vec<String> {
        let joined = word.replace("e-", "e\u{2212}");
        let tokens = joined
            .split(|c: char| !part(c) && c != '\u{2212}')
            .map(|t| t.trim_matches(|c: char| c == '.' || c == 'e' || c == '\u{2212}').to_string());
        tokens.filter(|t| t.starts_with(|c: char| c.is_ascii_digit()) && t.contains(['.', 'e'])).collect()
    };
    text.split_whitespace().flat_map(of_word).collect()
}

/// What is wrong with an entry, if anything.
fn fault(entry: &str) -> Option<String> {
    let (title, body) = entry.split_once('\n')?;
    let fault = |what: String| Some(format!("{title}: {what}"));
    let (date, question) = title.split_once(": ")?;
    if date.parse::<jiff::civil::Date>().is_err() || question.is_empty() {
        return fault("expected `DATE: question`".into());
    }
    let fields: Vec<&str> = body.split("\n- **").skip(1).collect();
    let names: Vec<&str> = fields.iter().filter_map(|f| f.split_once(":**")).map(|(name, _)| name).collect();
    if names != ["Ran", "Found", "Why", "Then"] || fields.iter().any(|f| f.ends_with(":**")) {
        return fault(format!("expected Ran, Found, Why, Then, got {names:?}"));
    }
    // Of `[name](file)`.
    let links: Vec<&str> =
        body.split("](").skip(1).filter_map(|l| l.split_once(')')).map(|(l, _)| l).collect();
    if !fields[1].contains("](") {
        return fault("what was found leads to no file".into());
    }
    let mut said = String::new();
    for link in links {
        match linked(link) {
            Some(text) => said += &flat(&text),
            None => return fault(format!("there is no {link}")),
        }
    }
    let told = flat(&fields[1..].join(" "));
    let quoted = told.split('"').skip(1).step_by(2);
    let quoted = quoted.filter(|q| q.contains(|c: char| c.is_ascii_digit()) || q.len() > 24);
    if let Some(quote) = quoted.into_iter().find(|q| !said.contains(q)) {
        return fault(format!("no linked file says {quote:?}"));
    }
    let known = numbers(&said);
    match numbers(&told.replace('`', " ")).into_iter().find(|n| !known.contains(n)) {
        Some(number) => fault(format!("no linked file has {number}")),
        None => None,
    }
}

#[test]
fn every_number_of_the_log_is_in_a_file_that_it_names() {
    let log = fs::read_to_string(root().join("reports/log.md")).unwrap();
    let entries: Vec<&str> = log.split("\n## ").skip(1).collect();
    assert!(entries.len() >= 10, "{}", entries.len());
    let faults: Vec<String> = entries.iter().filter_map(|entry| fault(entry)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let dates: Vec<&str> = entries.iter().map(|entry| &entry[..10]).collect();
    assert!(dates.is_sorted_by(|a, b| a >= b), "newest first: {dates:?}");
}

#[test]
fn a_log_that_says_something_else_is_found() {
    let entry = |found: &str| {
        format!(
            "2026-01-01: Why?\n\n- **Ran:** it, 9.99 times.\n- **Found:** {found}\n- **Why:** not known.\n- **Then:** nothing.\n"
        )
    };
    let link = "([CHANGES.md](CHANGES.md))";
    assert_eq!(fault(&entry(&format!("65.6 {link}"))), None);
    assert_eq!(fault(&entry(&format!("\"mean over all cells moved from 65.6\" {link}"))), None);
    for (found, expected) in [
        (format!("65.7 {link}"), "no linked file has 65.7"),
        (format!("-1.3e-7 {link}"), "no linked file has 1.3"),
        (
            format!("\"cells moved from 65.6\" {link} and \"to 1 point\""),
            "no linked file says \"to 1 point\"",
        ),
        ("65.6 ([none](toy/none.md))".into(), "there is no toy/none.md"),
        ("65.6".into(), "leads to no file"),
    ] {
        let fault = fault(&entry(&found)).unwrap_or_default();
        assert!(fault.contains(expected), "{found}: {fault}");
    }
    assert!(fault(&entry("x").replace("Then", "Next")).unwrap().contains("Ran, Found, Why, Then"));
    assert!(fault(&entry("x").replacen("2026-01-01", "soon", 1)).unwrap().contains("DATE"));
}
