//! GSM8K: five worked examples, then the question; the model writes.

use super::few_shot::FewShot;
use super::lines;
use super::{Document, Question, TARGET_DELIMITER, Written};
use crate::Result;
use std::path::Path;

pub(super) const STOPS: [&str; 3] = ["Question:", "</s>", "<|im_end|>"];

/// The harness's default for tasks without their own.
pub(super) const MAX_NEW_TOKENS: usize = 256;

const SHOTS: usize = 5;
const SHOT_DELIMITER: &str = "\n\n";

/// The examples a document's five are drawn from, as they stand in a context.
pub(super) fn shots(file: &Path) -> Result<Vec<String>> {
    let shot = |object: &lines::Object| {
        Ok(format!("{}{TARGET_DELIMITER}{}{SHOT_DELIMITER}", asked(object)?, object.text("answer")?))
    };
    lines::read(file)?.iter().map(shot).collect()
}

fn asked(object: &lines::Object) -> Result<String> {
    Ok(format!("Question: {}\nAnswer:", object.text("question")?))
}

/// All documents draw in their order, also those that are left out later.
pub fn documents(file: &Path, few_shot: &mut FewShot<'_>) -> Result<Vec<Document>> {
    let document = |(index, object): (usize, lines::Object)| {
        Ok(Document {
            index,
            line: object.line,
            id: object.id(),
            context: few_shot.draw(SHOTS)?.concat() + &asked(&object)?,
            question: Question::Text { answer: object.text("answer")?, written: Written::Gsm8k },
        })
    };
    lines::read(file)?.into_iter().enumerate().map(document).collect()
}
