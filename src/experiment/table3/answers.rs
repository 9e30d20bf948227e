//! Answers of a model to the prompts, kept as they come.

use crate::config::Recipe;
use crate::data::tokenize::tokenize_prompt;
use crate::error::Result;
use crate::eval::generation::{Answer, Cut, Sampling, answer};
use crate::eval::journal::Journal;
use crate::eval::judge::ModelOutput;
use crate::eval::predictor::Predictor;
use crate::files::sha256;
use crate::model::load::Loaded;
use crate::passes::policy::Policy;
use crate::progress::Progress;

/// The prompts, how they are answered, and the answers there are.
pub(super) struct Writing<'a> {
    pub prompts: &'a [String],
    pub sampling: Sampling,
    pub kept: &'a Journal<Answer>,
}

impl Writing<'_> {
    /// `id` names the model's weights and its latent.
    pub fn answers(
        &self,
        recipe: Option<&Recipe>,
        loaded: &Loaded,
        policy: &Policy,
        generator: &str,
        id: &str,
        progress: &Progress,
    ) -> Result<Vec<ModelOutput>> {
        let tokenizer = &loaded.tokenizer;
        let predictor = Predictor::new(policy, recipe, None)?;
        let task = progress.task(format!("answers of {generator}"), self.prompts.len());
        let respond = |(index, prompt): (usize, &String)| {
            let ids = tokenize_prompt(prompt, tokenizer)?;
            let key = sha256(format!("{id}\n{:?}\n{index}\n{ids:?}", self.sampling).as_bytes());
            let Answer { output, cut } = match self.kept.get(&key) {
                Some(answer) => answer,
                None => {
                    let answer = answer(&predictor, tokenizer, &ids, self.sampling, index)?;
                    self.kept.insert(&key, answer.clone())?;
                    answer
                }
            };
            task.advance(1, || format!("{} characters", output.chars().count()));
            Ok(ModelOutput {
                dataset: None,
                instruction: prompt.clone(),
                output,
                generator: generator.into(),
                finish_reason: cut,
            })
        };
        let answers: Vec<ModelOutput> =
            self.prompts.iter().enumerate().map(respond).collect::<Result<_>>()?;
        drop(task);
        if let Some(cuts) = Cut::count(answers.iter().map(|a| a.finish_reason)) {
            progress.line(format!("{generator}: of {} answers {cuts}", answers.len()));
        }
        Ok(answers)
    }
}
