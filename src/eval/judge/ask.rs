//! Asks a judge many questions: several at the same time, with retries, and without paying twice for an answer.

use super::{Failure, Judge, Message, Missing, Reply, Verdict, verdict};
use crate::error::{Error, Result};
use crate::eval::journal::Journal;
use crate::files::sha256;
use crate::interrupt;
use crate::progress::Task;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// One prompt and the key its reply is kept under.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    messages: Vec<Message>,
    key: String,
}

impl Question {
    pub fn new(judge: &impl Judge, messages: Vec<Message>) -> Self {
        let key = sha256(judge.identity(&messages).as_bytes());
        Self { messages, key }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The key of the n-th reply. There is a second reply if the first held no verdict; both were paid for.
    fn key_of_reply(&self, n: usize) -> String {
        if n == 0 { self.key.clone() } else { format!("{}.{n}", self.key) }
    }

    fn replies(&self, journal: &Journal<Reply>) -> Vec<Reply> {
        (0..).map_while(|n| journal.get(&self.key_of_reply(n))).collect()
    }

    /// An estimate: English text has about four characters for each token.
    fn estimated_tokens(&self) -> u64 {
        self.messages.iter().map(|m| m.content.chars().count() as u64).sum::<u64>() / 4 + 10
    }
}

/// How many requests are made at the same time, how often, and for how much.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests at a time.
    pub concurrency: usize,
    /// Attempts at one question.
    pub attempts: u32,
    /// Wait after a first failure; it doubles with each further one.
    pub first_wait: Duration,
    pub budget: Option<Budget>,
}

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

/// Units: US dollars, and dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    pub most: Option<f64>,
    pub price_in: f64,
    pub price_out: f64,
}

impl Budget {
    fn cost(&self, tokens_in: u64, tokens_out: u64) -> f64 {
        (self.price_in * tokens_in as f64 + self.price_out * tokens_out as f64) / 1e6
    }
}

/// Counts of what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Verdicts that were already kept, and replies of this call.
    pub cached: usize,
    pub asked: usize,
    /// Questions whose earlier replies held no verdict.
    pub again: usize,
    /// Replies of this call that hold no verdict.
    pub without: usize,
    /// Attempts that failed, by kind.
    pub throttled: usize,
    pub server: usize,
    pub broken: usize,
    /// Questions the endpoint does not accept.
    pub refused: usize,
    /// Questions that failed at every attempt.
    pub failed: usize,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { cached, asked, again, throttled, server, broken, refused, failed, .. } = self;
        let again =
            if *again > 0 { format!(" ({again} of them had no verdict before)") } else { String::new() };
        write!(
            f,
            "{cached} replies from the cache, {asked} asked for{again}; {throttled} attempts throttled, {server} server errors, \
             {broken} broken off; {refused} refused, {failed} given up"
        )
    }
}

impl Counts {
    /// Questions that a later call does not ask again.
    pub fn kept(&self) -> usize {
        self.cached + self.asked - self.without
    }
}

/// What the questions have cost, earlier runs included.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    pub tokens_in: u64,
    pub tokens_out: u64,
    /// 0 without prices. A reply that broke off is counted by its estimate, because it may have been charged.
    pub dollars: f64,
}

/// Why some questions have no outcome.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    Interrupted,
    Budget,
    /// The endpoint accepts no request, or none of its replies holds a verdict.
    Fatal(String),
    /// The last failure of questions that got no reply.
    Failed(String),
}

/// What is expected of the questions that have no verdict yet: their number, tokens and dollars.
pub fn estimate(
    questions: &[Question],
    journal: &Journal<Reply>,
    budget: Option<&Budget>,
) -> (usize, u64, Option<f64>) {
    let answered = |q: &Question| q.replies(journal).last().is_some_and(has_verdict);
    let open = questions.iter().filter(|q| !answered(q));
    let (n, tokens) = open.fold((0, 0), |(n, tokens), q| (n + 1, tokens + q.estimated_tokens()));
    (n, tokens, budget.map(|b| b.cost(tokens, n as u64)))
}

fn has_verdict(reply: &Reply) -> bool {
    matches!(verdict(reply), Verdict::Preference(_))
}

/// [`estimate`] in a line, to be read before the first question is asked.
pub fn forecast(questions: &[Question], journal: &Journal<Reply>, limits: &Limits, judge: &str) -> String {
    let (open, tokens, dollars) = estimate(questions, journal, limits.budget.as_ref());
    let dollars = dollars.map_or("unknown cost (no prices given)".into(), |d| format!("about ${d:.2}"));
    let seconds = open.div_ceil(limits.concurrency.max(1));
    format!("{open} to ask {judge}: about {tokens} tokens, {dollars}, {seconds} s at a second a reply")
}

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
    let state = Mutex::new(State {
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
    });
    let run = Run { judge, questions, journal, limits, task, state, ended: Condvar::new() };
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
    let state = run.state.into_inner().unwrap_or_else(|e| e.into_inner());
    let spent = Spent { dollars: state.dollars(), ..state.spent };
    let outcomes: Option<Vec<Verdict>> = state.outcomes.into_iter().collect();
    let result = match (outcomes, state.stop, state.last_failure) {
        (_, Some(stop), _) => Err(stop),
        (Some(outcomes), None, _) => Ok(outcomes),
        (None, None, Some(why)) => Err(Stop::Failed(why)),
        (None, None, None) => Err(Stop::Interrupted),
    };
    Ok((result, state.counts, spent))
}

struct Run<'a, J> {
    judge: &'a J,
    questions: &'a [Question],
    journal: &'a Journal<Reply>,
    limits: &'a Limits,
    task: &'a Task,
    state: Mutex<State>,
    /// Signals that a request has ended, so that its part of the budget is free again.
    ended: Condvar,
}

impl<J: Judge> Run<'_, J> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn take_known(&self) {
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

    fn work(&self) -> Result<()> {
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

impl Stop {
    /// The error a user sees.
    pub fn into_error(self, endpoint: &str, done: usize, of: usize) -> Error {
        let state = format!("{done} of {of} comparisons are kept");
        let again = "the same command goes on from there";
        let failed = |why: &str| {
            let place = crate::error::Place::file(endpoint);
            Error::input(place, "an answer to every comparison", format!("{why}; {state}, {again}"))
        };
        match self {
            Self::Interrupted => Error::Interrupted { resume: format!("{state}; {again}") },
            Self::Budget => {
                Error::argument("lpc judge", "--budget", "used up", format!("more; {state}, {again}"))
            }
            Self::Fatal(why) | Self::Failed(why) => failed(&why),
        }
    }
}
