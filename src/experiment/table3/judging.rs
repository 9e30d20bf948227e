//! Which answers are better, asked once for all runs.

use super::source::{Files, Source};
use crate::error::Result;
use crate::eval::journal::Journal;
use crate::eval::judge::{
    Annotator, Comparison, Judge, Judged, Limits, ModelOutput, Prompt, Question, Reply, WorldJudge, ask_all,
    compare, forecast, no_verdict, outcomes, questions, write_annotations,
};
use crate::progress::Progress;
use crate::report::table3::MEASURED;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

impl Source<'_> {
    /// The answers of every run judged against the base models', and `annotations.csv` of each in `folder`;
    /// `None` where nobody judges.
    pub fn judge<'a>(
        &self,
        sides: &[(&'a [ModelOutput], &'a [ModelOutput])],
        folder: &Path,
        progress: &Progress,
    ) -> Result<Option<Vec<Vec<Judged<'a>>>>> {
        match self {
            Self::World(world) => {
                // It answers at once, always, and for nothing.
                let limits = Limits { concurrency: 1, attempts: 1, first_wait: Duration::ZERO, budget: None };
                let judging = Judging {
                    judge: &WorldJudge { sharpness: world.sharpness },
                    name: "true utility",
                    place: "the world's judge",
                    prompt: &WorldJudge::prompt(),
                    limits: &limits,
                    journal: &Journal::in_memory(),
                };
                judging.all(sides, folder, &Progress::hidden()).map(Some)
            }
            Self::Files(Files { endpoint: None, .. }) => Ok(None),
            Self::Files(Files { endpoint: Some(endpoint), .. }) => {
                let judging = Judging {
                    judge: &endpoint.client,
                    name: &endpoint.judge,
                    place: &endpoint.url,
                    prompt: &endpoint.prompt,
                    limits: &endpoint.limits,
                    journal: &Journal::open(&endpoint.cache)?,
                };
                judging.all(sides, folder, progress).map(Some)
            }
        }
    }
}

/// One judge for the answers of all runs.
struct Judging<'a, J> {
    judge: &'a J,
    name: &'a str,
    /// Where it answers, for messages.
    place: &'a str,
    prompt: &'a Prompt,
    limits: &'a Limits,
    journal: &'a Journal<Reply>,
}

impl<J: Judge> Judging<'_, J> {
    /// Asks about each pair of texts once, whichever runs wrote it, under one budget; writes every run's
    /// `annotations.csv`.
    fn all<'a>(
        &self,
        sides: &[(&'a [ModelOutput], &'a [ModelOutput])],
        folder: &Path,
        progress: &Progress,
    ) -> Result<Vec<Vec<Judged<'a>>>> {
        let comparisons: Vec<Vec<Comparison<'a>>> =
            sides.iter().map(|(base, model)| compare(base, model)).collect();
        let asked: Vec<Vec<Question>> =
            comparisons.iter().map(|c| questions(self.judge, self.prompt, c)).collect();
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut each: Vec<Question> = vec![];
        for question in asked.iter().flatten() {
            places.entry(question.key()).or_insert_with(|| {
                each.push(question.clone());
                each.len() - 1
            });
        }
        let n: usize = comparisons.iter().map(Vec::len).sum();
        progress.line(format!("{n} comparisons, {}", forecast(&each, self.journal, self.limits, self.name)));
        let task = progress.task(format!("judged by {}", self.name), each.len());
        let (verdicts, counts, spent) = ask_all(self.judge, &each, self.journal, self.limits, &task)?;
        drop(task);
        let dollars =
            if self.limits.budget.is_some() { format!(", ${:.4}", spent.dollars) } else { String::new() };
        progress.line(format!("{counts}; {} tokens in, {} out{dollars}", spent.tokens_in, spent.tokens_out));
        let verdicts = verdicts.map_err(|stop| stop.into_error(self.place, counts.kept(), each.len()))?;
        let none = no_verdict(&verdicts, self.place);
        let mut all = vec![];
        for ((comparisons, asked), (base, model)) in comparisons.into_iter().zip(&asked).zip(sides) {
            let verdicts = asked.iter().map(|question| verdicts[places[question.key()]]).collect();
            let judged = outcomes(comparisons, verdicts);
            let annotator = Annotator {
                judge: self.name,
                prompt_sha256: &self.prompt.sha256,
                baseline: &base[0].generator,
                generator: &model[0].generator,
            };
            let file = folder.join(&model[0].generator).join("annotations.csv");
            write_annotations(&file, &annotator, &judged)?;
            all.push(judged);
        }
        none.map_or(Ok(all), Err)
    }
}

/// What the judge said of every answer, NaN where nothing, and how long it is.
pub(super) fn measured(judged: &[Judged]) -> Vec<(String, Vec<f64>)> {
    let length = |output: &str| output.chars().count() as f64;
    let columns: [Vec<f64>; 3] = [
        judged.iter().map(|(_, outcome)| outcome.unwrap_or(f64::NAN)).collect(),
        judged.iter().map(|(comparison, _)| length(comparison.output_1)).collect(),
        judged.iter().map(|(comparison, _)| length(comparison.output_2)).collect(),
    ];
    MEASURED.map(String::from).into_iter().zip(columns).collect()
}
