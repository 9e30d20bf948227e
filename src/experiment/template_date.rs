//! The date that a chat template writes. It is fixed when pairs are first read, so that a run's tokens are
//! the same on the day after.

use crate::error::{Error, Place, Result};
use crate::experiment::dataset::TextPairs;
use crate::files::{sha256, write_atomic};
use crate::model::load::Loaded;
use crate::text::tokenizer::TextTokenizer;
use jiff::civil::{Date, Time};
use std::path::Path;

/// Sets the date of a model's template and returns it, as 2026-01-31; nothing where no template asks for one.
///
/// `stated` is a recipe's or the user's. Without one it is the day on which this model first read these
/// pairs in this folder of runs, which a file there keeps: the runs of a table share it.
///
/// # Errors
/// No date, or a file that cannot be read or written.
pub fn fix(
    loaded: &mut Loaded,
    stated: Option<&str>,
    text: &TextPairs,
    runs: &Path,
) -> Result<Option<String>> {
    if loaded.tokenizer.template_date().is_none() {
        return Ok(None);
    }
    let date = match stated {
        Some(date) => date.to_string(),
        None => {
            let pairs = serde_json::to_vec(&(&text.train, &text.test))
                .map_err(|e| Error::argument("template date", "pairs", e, "plain data"))?;
            let key = sha256(format!("{} {}", loaded.fingerprint, sha256(&pairs)).as_bytes());
            let folder = runs.join("template-dates");
            let path = folder.join(&key[..16]);
            if path.is_file() {
                let kept = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
                let kept = kept.trim().to_string();
                parse(&kept).map_err(|got| {
                    Error::input(
                        Place::file(&path),
                        "a date as 2026-01-31 (delete the file to take today's)",
                        got,
                    )
                })?;
                kept
            } else {
                let today = jiff::Zoned::now().date().to_string();
                std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
                write_atomic(&path, format!("{today}\n").as_bytes())?;
                today
            }
        }
    };
    set(&mut loaded.tokenizer, &date)?;
    Ok(Some(date))
}

/// Sets the date that a tokenizer's templates write.
///
/// # Errors
/// No date.
pub fn set(tokenizer: &mut TextTokenizer, date: &str) -> Result<()> {
    let refuse = |got| Error::argument("recipe", "template_date", got, "a date as 2026-01-31");
    tokenizer.set_template_date(parse(date).map_err(refuse)?.to_datetime(Time::midnight()));
    Ok(())
}

fn parse(date: &str) -> std::result::Result<Date, String> {
    date.parse::<Date>().map_err(|_| format!("{date:.40?}"))
}
