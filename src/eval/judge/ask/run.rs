//! The threads that ask.

use super::question::has_verdict;
use super::{Counts, Limits, Question, Spent, Stop};
use crate::error::Result;
use crate::eval::journal::Journal;
use crate::eval::judge::{Failure, Judge, Missing, Reply, Verdict, verdict};
use crate::interrupt;
use crate::progress::Task;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// The longest wait that the server did not ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The longest wait that a server can ask for.
const LONGEST_OBEYED: Duration = Duration::from_secs(24 * 3600);

/// Waits up to this long are not announced.
const UNNOTICED: Duration = Duration::from_millis(900);

/// A wait checks for an interruption at least this often.
const LONGEST_NAP: Duration = Duration::from_millis(50);

/// After so many questions in a row without a verdict, and none before, the work stops: something is wrong
/// with all of them.
const HOPELESS: usize = 8;

/// Shared between the threads that ask.
struct State {
    next: usize,
    counts: Counts,
    spent: Spent,
    /// Requests on their way, and their estimates together.
    on_their_way: usize,
    reserved: f64,
    /// Estimates of replies that broke off: they may have been charged.
    broken_off: f64,
    /// The largest ratio of a reply's cost to its estimate: some texts have more tokens than estimated.
    underestimate: f64,
    verdicts: usize,
    without: usize,
    failures_in_a_row: usize,
    last_failure: Option<String>,
    stop: Option<Stop>,
    /// No request is made before this time.
    resume: Instant,
    /// The end of the wait that was announced last.
    announced: Instant,
    outcomes: Vec<Option<Verdict>>,
}

impl State {
    /// The cost so far. Replies that broke off, whose cost is unknown, count at the largest ratio seen.
    fn dollars(&self) -> f64 {
        self.spent.dollars + self.broken_off * self.underestimate
    }
}

pub struct Run<'a, J> {
    judge: &'a J,
    questions: &'a [Question],
    journal: &'a Journal<Reply>,
    limits: &'a Limits,
    task: &'a Task,
    state: Mutex<State>,
    /// Signals that a request has ended, so that its part of the budget is free again.
    ended: Condvar,
}

impl<'a, J: Judge> Run<'a, J> {
    pub fn new(
        judge: &'a J,
        questions: &'a [Question],
        journal: &'a Journal<Reply>,
        limits: &'a Limits,
        task: &'a Task,
    ) -> Self {
        let state = State {
            next: 0,
            counts: Counts::default(),
            spent: Spent::default(),
            on_their_way: 0,
            reserved: 0.0,
            broken_off: 0.0,
            underestimate: 1.0,
            verdicts: 0,
            without: 0,
            failures_in_a_row: 0,
            last_failure: None,
            stop: None,
            resume: Instant::now(),
            announced: Instant::now(),
            outcomes: vec![None; questions.len()],
        };
        Self { judge, questions, journal, limits, task, state: Mutex::new(state), ended: Condvar::new() }
    }

    /// All verdicts, or why there are not all; the counts; the cost.
    pub fn finish(self) -> (Result<Vec<Verdict>, Stop>, Counts, Spent) {
        let state = self.state.into_inner().unwrap_or_else(|e| e.into_inner());
        let spent = Spent { dollars: state.dollars(), ..state.spent };
        let outcomes: Option<Vec<Verdict>> = state.outcomes.into_iter().collect();
        let result = match (outcomes, state.stop, state.last_failure) {
            (_, Some(stop), _) => Err(stop),
            (Some(outcomes), None, _) => Ok(outcomes),
            (None, None, Some(why)) => Err(Stop::Failed(why)),
            (None, None, None) => Err(Stop::Interrupted),
        };
        (result, state.counts, spent)
    }
}

impl<J: Judge> Run<'_, J> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes the verdicts that the journal has, and the costs of all of its replies.
    pub(super) fn take_known(&self) {
        let mut state = self.lock();
        for (i, question) in self.questions.iter().enumerate() {
            let replies = question.replies(self.journal);
            replies.iter().for_each(|reply| self.charge(&mut state, i, reply));
            match replies.last() {
                Some(reply) if has_verdict(reply) => {
                    state.counts.cached += 1;
                    self.count(&mut state, i, reply);
                }
                Some(_) => state.counts.again += 1,
                None => {}
            }
        }
    }

    fn count(&self, state: &mut State, question: usize, reply: &Reply) {
        let verdict = verdict(reply);
        match verdict {
            Verdict::Preference(_) => state.verdicts += 1,
            Verdict::Missing(_) => state.without += 1,
        }
        state.outcomes[question] = Some(verdict);
        self.task.advance(1, || format!("{} without a verdict", state.without));
    }

    fn charge(&self, state: &mut State, question: usize, reply: &Reply) {
        state.spent.tokens_in += reply.prompt_tokens;
        state.spent.tokens_out += reply.completion_tokens;
        if let Some(budget) = &self.limits.budget {
            let cost = budget.cost(reply.prompt_tokens, reply.completion_tokens);
            state.spent.dollars += cost;
            // Prices of 0 need no estimate.
            let times = cost / self.expected(question);
            state.underestimate = if times.is_finite() { state.underestimate.max(times) } else { 1.0 };
        }
    }

    /// Asks one question after the other, until all are asked or the work stops.
    pub fn work(&self) -> Result<()> {
        while let Some((index, expected)) = self.take() {
            let outcome = self.ask(&self.questions[index], expected);
            if let Ok(reply) = &outcome {
                // Paid for: on disk before anything else can go wrong.
                let question = &self.questions[index];
                let key = question.key_of_reply(question.replies(self.journal).len());
                if let Err(e) = self.journal.insert(&key, reply.clone()) {
                    self.lock().stop = Some(Stop::Failed("the cache cannot be written".into()));
                    return Err(e);
                }
            }
            let mut state = self.lock();
            state.on_their_way -= 1;
            state.reserved = if state.on_their_way == 0 { 0.0 } else { state.reserved - expected };
            self.ended.notify_all();
            match outcome {
                Ok(reply) => {
                    state.counts.asked += 1;
                    state.counts.without += usize::from(!has_verdict(&reply));
                    state.failures_in_a_row = 0;
                    self.charge(&mut state, index, &reply);
                    self.count(&mut state, index, &reply);
                    if let Verdict::Missing(why) = verdict(&reply) {
                        let why = format!("replies without a verdict ({})", why.describe());
                        self.give_up_if_hopeless(&mut state, &why);
                    }
                }
                Err(None) => {}
                Err(Some(Failure::Refused { why })) => {
                    state.counts.refused += 1;
                    state.without += 1;
                    state.outcomes[index] = Some(Verdict::Missing(Missing::Refused));
                    tracing::warn!("a comparison was refused: {why}");
                    self.give_up_if_hopeless(&mut state, &format!("times {why}"));
                }
                Err(Some(Failure::Fatal { why })) => state.stop = Some(Stop::Fatal(why)),
                Err(Some(
                    Failure::Throttled { why, .. } | Failure::Server { why, .. } | Failure::Broken { why },
                )) => {
                    state.counts.failed += 1;
                    state.failures_in_a_row += 1;
                    tracing::warn!("a comparison failed {} times: {why}", self.limits.attempts);
                    if state.failures_in_a_row >= HOPELESS && state.stop.is_none() {
                        state.stop = Some(Stop::Failed(why.clone()));
                    }
                    state.last_failure = Some(why);
                }
            }
        }
        Ok(())
    }

    fn give_up_if_hopeless(&self, state: &mut State, why: &str) {
        if state.verdicts == 0 && state.without >= HOPELESS && state.stop.is_none() {
            state.stop = Some(Stop::Fatal(format!("{HOPELESS} {why}")));
        }
    }

    /// Dollars, by the estimate.
    fn expected(&self, question: usize) -> f64 {
        self.limits.budget.map_or(0.0, |budget| budget.cost(self.questions[question].estimated_tokens(), 1))
    }

    /// The next open question and its estimated cost, or none if the work stops here. If the budget is too small only
    /// because of the estimates of requests that have been sent, it waits for their real cost. So the point where a
    /// budget ends does not depend on the order of the replies.
    fn take(&self) -> Option<(usize, f64)> {
        let most = self.limits.budget.and_then(|b| b.most).unwrap_or(f64::INFINITY);
        let mut state = self.lock();
        loop {
            if interrupt::requested() && state.stop.is_none() {
                state.stop = Some(Stop::Interrupted);
            }
            if state.stop.is_some() {
                return None;
            }
            let open = |&i: &usize| state.outcomes[i].is_none();
            let index = (state.next..self.questions.len()).find(open)?;
            let expected = self.expected(index);
            if state.dollars() + (state.reserved + expected) * state.underestimate <= most {
                state.next = index + 1;
                state.on_their_way += 1;
                state.reserved += expected;
                return Some((index, expected));
            }
            if state.on_their_way == 0 {
                state.stop = Some(Stop::Budget);
                return None;
            }
            // Not for ever: an interruption wakes nobody.
            state = match self.ended.wait_timeout(state, LONGEST_NAP) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Asks up to the allowed number of attempts. The error is none if the work was stopped between two of them.
    fn ask(&self, question: &Question, expected: f64) -> Result<Reply, Option<Failure>> {
        let mut attempt = 0;
        loop {
            if !self.wait_for_turn() {
                return Err(None);
            }
            let failure = match self.judge.ask(&question.messages) {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            attempt += 1;
            let mut state = self.lock();
            let asked_to_wait = match &failure {
                Failure::Throttled { retry_after, .. } => {
                    state.counts.throttled += 1;
                    *retry_after
                }
                Failure::Server { retry_after, .. } => {
                    state.counts.server += 1;
                    *retry_after
                }
                Failure::Broken { .. } => {
                    state.counts.broken += 1;
                    state.broken_off += expected;
                    None
                }
                Failure::Refused { .. } | Failure::Fatal { .. } => return Err(Some(failure)),
            };
            if attempt >= self.limits.attempts {
                return Err(Some(failure));
            }
            let doubled = self.limits.first_wait.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_WAIT);
            let wait = asked_to_wait.unwrap_or(doubled).min(LONGEST_OBEYED);
            self.announce(&mut state, wait, &failure);
            match &failure {
                // One limit holds for all.
                Failure::Throttled { .. } => state.resume = state.resume.max(Instant::now() + wait),
                _ => {
                    drop(state);
                    self.sleep_until(Instant::now() + wait);
                }
            }
        }
    }

    /// Announces a wait and its reason, once for all threads that wait for the same.
    fn announce(&self, state: &mut State, wait: Duration, failure: &Failure) {
        let end = Instant::now() + wait;
        // A request that fails a little later waits for the same; only a much later end is told anew.
        if wait > UNNOTICED && end > state.announced + UNNOTICED.max(wait / 2) {
            state.announced = end;
            self.task.line(format!("waiting {:.0} s: {}", wait.as_secs_f64(), failure.why()));
        }
    }

    fn wait_for_turn(&self) -> bool {
        loop {
            let resume = self.lock().resume;
            if !self.sleep_until(resume) {
                return false;
            }
            if self.lock().resume <= Instant::now() {
                return true;
            }
        }
    }

    /// False if the work must stop.
    fn sleep_until(&self, end: Instant) -> bool {
        loop {
            if interrupt::requested() || self.lock().stop.is_some() {
                return false;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(LONGEST_NAP));
        }
    }
}
