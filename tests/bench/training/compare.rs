//! Both sides in turns, each run a process of its own; raw rows go to a CSV file that the report
//! is written from, so that a stopped comparison goes on where it was.

use crate::ours::Measured;
use crate::shapes::{self, BATCH};
use crate::{Compare, report};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const ROUNDS: usize = 5;

/// Rows and tokens a row of passes that show how time grows; one round, for no bar hangs on them.
pub const SCALING: [(usize, usize); 7] =
    [(1, 256), (2, 256), (4, 256), (8, 256), (4, 64), (4, 128), (4, 512)];

/// What [`SCALING`]'s comparisons are called.
pub fn scaling((batch, tokens): (usize, usize)) -> String {
    format!("scaling, {batch} x {tokens}")
}

/// Steps of a run that warm up.
const WARM_UP: usize = 1;

/// Runs of one side in one round.
#[derive(Clone, Serialize, Deserialize)]
pub struct Row {
    pub comparison: String,
    pub side: String,
    pub round: usize,
    /// Median over the run's steps after the first.
    pub seconds: f64,
    pub peak_mib: f64,
}

/// A command line for each round.
type ForRound = Box<dyn Fn(usize) -> Vec<String>>;

/// Something measured in turns: sides with their command lines for a round.
struct Comparison {
    name: String,
    rounds: usize,
    sides: Vec<(&'static str, ForRound)>,
}

struct Bench {
    ours: PathBuf,
    python: PathBuf,
    scripts: PathBuf,
    work: PathBuf,
}

impl Bench {
    fn comparisons(&self, real: bool) -> Vec<Comparison> {
        let line = |parts: &[&str]| parts.iter().map(|p| p.to_string()).collect::<Vec<_>>();
        let ours = |parts: Vec<String>| [vec![self.ours.display().to_string()], parts].concat();
        let peer = |script: &str, parts: Vec<String>| {
            let script = self.scripts.join(script).display().to_string();
            [vec![self.python.display().to_string(), script], parts].concat()
        };
        let pairs = |name: &str| self.work.join(name).display().to_string();
        let fixed = |parts: Vec<String>| -> ForRound { Box::new(move |_| parts.clone()) };
        let equal = pairs("equal.jsonl");
        let steps = |file: &str, loss: &str, dtype: &str| {
            fixed(ours(line(&["steps", file, "--loss", loss, "--dtype", dtype])))
        };
        // A latent costs some per cent, which a few steps would not show.
        let long = pairs("equal-long.jsonl");
        let latents = |dtype: &str| -> Vec<(&'static str, ForRound)> {
            ["plain", "gumbel", "marginal", "exact-elbo"].map(|loss| (loss, steps(&long, loss, dtype))).into()
        };
        let passes = |dtype: &str| {
            (
                ("ours", fixed(ours(line(&["plain", "--dtype", dtype])))),
                ("torch", fixed(peer("torch_passes.py", line(&[dtype, "4", "256", "3"])))),
            )
        };
        let (bf16, f32) = (passes("bf16"), passes("f32"));
        let mut all = vec![
            Comparison {
                name: "DPO steps, equal lengths".into(),
                rounds: ROUNDS,
                sides: vec![
                    ("ours", steps(&equal, "plain", "bf16")),
                    ("TRL", fixed(peer("trl_steps.py", line(&[&equal, "4", "bf16"])))),
                ],
            },
            Comparison { name: "passes, bf16".into(), rounds: ROUNDS, sides: vec![bf16.0, bf16.1] },
            Comparison { name: "passes, f32".into(), rounds: ROUNDS, sides: vec![f32.0, f32.1] },
            Comparison { name: "LPC, bf16".into(), rounds: ROUNDS, sides: latents("bf16") },
            Comparison { name: "LPC, f32".into(), rounds: ROUNDS, sides: latents("f32") },
        ];
        all.extend(SCALING.map(|point| {
            let (batch, tokens) = (point.0.to_string(), point.1.to_string());
            let mine = line(&["plain", "--dtype", "bf16", "--batch", &batch, "--tokens", &tokens]);
            let theirs = line(&["bf16", &batch, &tokens, "3"]);
            let sides = vec![("ours", fixed(ours(mine))), ("torch", fixed(peer("torch_passes.py", theirs)))];
            Comparison { name: scaling(point), rounds: 1, sides }
        }));
        if real {
            let files: Vec<String> = (0..ROUNDS).map(|round| pairs(&format!("real-{round}.jsonl"))).collect();
            let (a, b) = (files.clone(), files);
            let (me, python) = (self.ours.display().to_string(), self.python.display().to_string());
            let script = self.scripts.join("trl_steps.py").display().to_string();
            let ours = move |round: usize| {
                vec![me.clone(), "steps".into(), a[round].clone(), "--dtype".into(), "bf16".into()]
            };
            let theirs = move |round: usize| {
                vec![python.clone(), script.clone(), b[round].clone(), "4".into(), "bf16".into()]
            };
            all.insert(
                1,
                Comparison {
                    name: "DPO steps, UltraFeedback".into(),
                    rounds: ROUNDS,
                    sides: vec![("ours", Box::new(ours)), ("TRL", Box::new(theirs))],
                },
            );
        }
        all
    }

    /// Token ids for both sides: three steps of equal lengths, or nine for latents, and two of real pairs a
    /// round.
    fn write_pairs(&self, arguments: &Compare) -> lpc::Result<bool> {
        let write = |name: &str, lines: &[shapes::Line]| {
            let path = self.work.join(name);
            shapes::write(&path, lines).map_err(lpc::Error::io(&path))
        };
        write("equal.jsonl", &shapes::equal(3 * BATCH))?;
        write("equal-long.jsonl", &shapes::equal(9 * BATCH))?;
        let (Some(data), Some(model)) = (&arguments.data, &arguments.model) else { return Ok(false) };
        let lines = shapes::real(data, model, 2 * BATCH * ROUNDS)?;
        for (round, lines) in lines.chunks_exact(2 * BATCH).enumerate() {
            write(&format!("real-{round}.jsonl"), lines)?;
        }
        Ok(true)
    }
}

pub fn run(arguments: &Compare) -> lpc::Result<()> {
    let rows_path = arguments.reports.join("bench.csv");
    let ours = std::env::current_exe().map_err(lpc::Error::io(Path::new("this program")))?;
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/training/peers");
    let folder = tempfile::tempdir().map_err(lpc::Error::io(Path::new("a temporary folder")))?;
    let bench = Bench { ours, python: arguments.python.clone(), scripts, work: folder.path().into() };
    let real = bench.write_pairs(arguments)?;
    let mut rows = report::read(&rows_path)?;
    for comparison in bench.comparisons(real) {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|only| comparison.name.starts_with(only))
        {
            continue;
        }
        for round in 0..comparison.rounds {
            for (side, command) in &comparison.sides {
                let key = (comparison.name.as_str(), *side, round);
                if rows.iter().any(|r| (r.comparison.as_str(), r.side.as_str(), r.round) == key) {
                    continue;
                }
                eprintln!("{}, {side}, round {} of {}", comparison.name, round + 1, comparison.rounds);
                let measured = measure(&command(round)).map_err(lpc::Error::io(Path::new(side)))?;
                rows.push(Row {
                    comparison: comparison.name.clone(),
                    side: side.to_string(),
                    round,
                    seconds: median(measured.seconds[WARM_UP..].to_vec()),
                    peak_mib: measured.peak_mib,
                });
                report::write_rows(&rows_path, &rows)?;
            }
        }
    }
    report::write(&arguments.reports, &rows, &arguments.python)
}

/// One run's last line of output. Threads are the machine's on both sides.
fn measure(command: &[String]) -> io::Result<Measured> {
    let threads = std::thread::available_parallelism()?.to_string();
    let output = Command::new(&command[0])
        .args(&command[1..])
        .envs([("RAYON_NUM_THREADS", &threads), ("OMP_NUM_THREADS", &threads)])
        .env_remove("OPENBLAS_CORETYPE")
        .env_remove("OPENBLAS_L2_SIZE")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let fault = || {
        let error = String::from_utf8_lossy(&output.stderr);
        io::Error::other(format!("{}: {}", command.join(" "), error.lines().last().unwrap_or("no output")))
    };
    let measured: Measured =
        text.lines().last().and_then(|line| serde_json::from_str(line).ok()).ok_or_else(fault)?;
    if measured.seconds.len() <= WARM_UP { Err(fault()) } else { Ok(measured) }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[n / 2] + values[(n - 1) / 2]) / 2.0
}
