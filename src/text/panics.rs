//! Turns panics in `tokenizers` and `parquet` into errors, so that a bad file neither prints a panic message
//! nor stops the program.

use crate::error::{Error, Result};
use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use tokenizers::Tokenizer;

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// What `work` returns, or the message with which it panicked, of which nothing is printed.
///
/// # Errors
/// `work` panicked. What it was about to change may be half changed.
pub fn caught<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !SILENT.get() {
                usual(info);
            }
        }));
    });
    let before = SILENT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    SILENT.set(before);
    result.map_err(|panic| said(panic.as_ref()))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_string()
}

/// Token ids of a text.
///
/// # Errors
/// The tokenizer has no token for a part of the text, or fails on it.
pub fn encode(tokenizer: &Tokenizer, text: &str, add_special: bool) -> Result<Vec<u32>> {
    match caught(|| tokenizer.encode_fast(text, add_special)) {
        Ok(Ok(encoding)) => Ok(encoding.get_ids().to_vec()),
        Ok(Err(error)) => Err(unusable("text", &error)),
        Err(panic) => Err(unusable("text", &panic)),
    }
}

/// The text of token ids.
///
/// # Errors
/// The tokenizer's decoder fails.
pub fn decode(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> Result<String> {
    match caught(|| tokenizer.decode(ids, skip_special)) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(unusable("ids", &error)),
        Err(panic) => Err(unusable("ids", &panic)),
    }
}

fn unusable(argument: &str, got: &dyn std::fmt::Display) -> Error {
    let got = got.to_string().replace(char::is_control, " ");
    Error::argument("tokenizer", argument, got, "something the tokenizer accepts")
}
