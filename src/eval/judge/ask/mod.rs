//! Asks a judge many questions: several at the same time, with retries, and without paying twice for an answer.

mod outcome;
mod question;
mod run;

pub use outcome::{Counts, Spent, Stop};
pub use question::{Budget, Limits, Question, estimate, forecast};

use super::{Judge, Reply, Verdict};
use crate::error::Result;
use crate::eval::journal::Journal;
use crate::progress::Task;
use run::Run;
use std::thread;

/// Asks once every question that has no verdict in `journal`. Returns all verdicts, or why there are not all.
///
/// A reply is written to the journal before it counts, so that after a stop only missing replies are paid for. A reply
/// without a verdict counts as missing until the next call, which asks again, as the judge may work then. After an
/// interruption, requests that have been sent are still waited for.
///
/// Errors: the journal cannot be written.
pub fn ask_all(
    judge: &impl Judge,
    questions: &[Question],
    journal: &Journal<Reply>,
    limits: &Limits,
    task: &Task,
) -> Result<(Result<Vec<Verdict>, Stop>, Counts, Spent)> {
    let run = Run::new(judge, questions, journal, limits, task);
    run.take_known();
    let written: Result<Vec<()>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..limits.concurrency.max(1)).map(|_| scope.spawn(|| run.work())).collect();
        let joined = workers.into_iter().map(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    });
    written?;
    Ok(run.finish())
}
