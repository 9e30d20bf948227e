//! Progress of long work: bars with time left on a terminal, plain lines elsewhere.

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Without a terminal, a task reports at most this often.
const PLAIN_EVERY: Duration = Duration::from_secs(15);

/// Where progress is shown; shared by parallel runs.
pub struct Progress {
    bars: MultiProgress,
    plain: bool,
}

/// One task's progress.
pub struct Task {
    bar: ProgressBar,
    name: String,
    plain: Option<Mutex<Instant>>,
}

impl Progress {
    /// On stderr, so that results on stdout stay clean.
    pub fn stderr() -> Self {
        let plain = !std::io::stderr().is_terminal();
        let target = if plain { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Self { bars: MultiProgress::with_draw_target(target), plain }
    }

    /// Shows nothing: for tests and for library use.
    pub fn hidden() -> Self {
        Self { bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()), plain: false }
    }

    pub fn task(&self, name: impl Into<String>, total: usize) -> Task {
        let name = name.into();
        let bar = self.bars.add(ProgressBar::new(total as u64));
        let style = ProgressStyle::with_template("{prefix:42} {wide_bar} {pos}/{len} {eta:>5} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(name.clone());
        Task { bar, name, plain: self.plain.then(|| Mutex::new(Instant::now())) }
    }

    /// A line that stays, above the bars.
    pub fn line(&self, text: impl AsRef<str>) {
        if self.plain {
            eprintln!("{}", text.as_ref());
        } else {
            let _ = self.bars.println(text);
        }
    }
}

impl Task {
    pub fn advance(&self, by: usize, message: impl FnOnce() -> String) {
        self.bar.inc(by as u64);
        match &self.plain {
            None if self.bar.is_hidden() => {}
            None => self.bar.set_message(message()),
            Some(last) => {
                let mut last = last.lock().unwrap_or_else(|e| e.into_inner());
                if last.elapsed() >= PLAIN_EVERY {
                    *last = Instant::now();
                    let (at, of) = (self.bar.position(), self.bar.length().unwrap_or(0));
                    let left = HumanDuration(self.bar.eta());
                    eprintln!("{}: {at}/{of}, about {left} left, {}", self.name, message());
                }
            }
        }
    }

    /// A line that stays, above the bars.
    pub fn line(&self, text: impl AsRef<str>) {
        match &self.plain {
            Some(_) => eprintln!("{}: {}", self.name, text.as_ref()),
            None => self.bar.println(format!("{}: {}", self.name, text.as_ref())),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
