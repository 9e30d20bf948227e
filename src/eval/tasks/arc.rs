//! ARC, both sets: the bare question, the answers' texts as continuations.

use super::lines;
use super::{ChoiceMetric, Document, Question};
use crate::Result;
use std::path::Path;

const METRICS: &[ChoiceMetric] = &[ChoiceMetric::Acc, ChoiceMetric::AccNorm];

pub fn documents(file: &Path) -> Result<Vec<Document>> {
    let document = |(index, object): (usize, lines::Object)| {
        let (choices, labels) = (object.texts("choices.text")?, object.texts("choices.label")?);
        if labels.len() != choices.len() {
            let expected = format!("{}, one a choice", choices.len());
            return Err(object.fault("choices.label", &expected, &labels.len().to_string()));
        }
        // Labels are letters or digits, so the key is looked up among them.
        let key = object.text("answerKey")?;
        let gold = labels.iter().position(|label| *label == key);
        let gold =
            gold.ok_or_else(|| object.fault("answerKey", &format!("one of {}", labels.join(", ")), &key))?;
        Ok(Document {
            index,
            line: object.line,
            id: object.id(),
            context: format!("Question: {}\nAnswer:", object.text("question")?),
            question: Question::Choice { choices, gold, metrics: METRICS },
        })
    };
    lines::read(file)?.into_iter().enumerate().map(document).collect()
}
