//! Interrupted runs: nothing is lost, and going on leads to the same bytes.

use crate::program::Lpc;
use crate::toy_runs::Settings;
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const CALL: [&str; 6] = ["reproduce", "table2", "--recipe", "matrix.toml", "--threads", "1"];

fn settings() -> Settings {
    Settings { train: 640, checkpoint_every: 7, ..Settings::default() }
}

/// Lines of metrics that all runs have written so far.
fn steps(lpc: &Lpc) -> usize {
    let metrics =
        lpc.runs().into_iter().filter_map(|r| std::fs::read_to_string(r.join("metrics.jsonl")).ok());
    metrics.map(|text| text.lines().count()).sum()
}

fn start(lpc: &Lpc) -> Child {
    lpc.command(&CALL).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_for_steps(lpc: &Lpc, child: &mut Child, at_least: usize) {
    let begun = Instant::now();
    while steps(lpc) < at_least {
        assert!(child.try_wait().unwrap().is_none(), "finished before it could be interrupted");
        assert!(begun.elapsed() < Duration::from_secs(300), "no progress");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn undisturbed() -> String {
    let lpc = Lpc::with_base();
    lpc.write("matrix.toml", settings().matrix());
    lpc.ok(&CALL);
    lpc.read("reports/toy-own/table2.csv")
}

#[test]
#[cfg(unix)]
fn killed_and_interrupted_runs_go_on_to_the_same_bytes() {
    let lpc = Lpc::with_base();
    lpc.write("matrix.toml", settings().matrix());

    // SIGKILL in the first run, a few steps behind a checkpoint.
    let mut child = start(&lpc);
    wait_for_steps(&lpc, &mut child, 25);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lpc.runs()[0].join("checkpoint/state.safetensors").is_file());

    // Ctrl-C in a later one: exit status 130, one line, a checkpoint at that very step.
    let done = steps(&lpc);
    let mut child = start(&lpc);
    wait_for_steps(&lpc, &mut child, done + 100);
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    let status = child.wait().unwrap();
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(status.code(), Some(130), "{errors}");
    assert!(errors.lines().any(|l| l.starts_with("lpc: interrupted: ")), "{errors}");
    let stopped = lpc.runs().into_iter().find(|r| !r.join("manifest.json").exists()).unwrap();
    let before = std::fs::read_to_string(stopped.join("metrics.jsonl")).unwrap();
    let checkpoint = std::fs::read(stopped.join("checkpoint/state.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&checkpoint).unwrap();
    let steps_done: usize = header.metadata().as_ref().unwrap()["steps_done"].parse().unwrap();
    assert_eq!(steps_done, before.lines().count());

    lpc.ok(&CALL);
    assert_eq!(lpc.read("reports/toy-own/table2.csv"), undisturbed());
    // The timings in the old lines prove that those steps were not run again.
    assert!(std::fs::read_to_string(stopped.join("metrics.jsonl")).unwrap().starts_with(&before));
    for run in lpc.runs() {
        assert_eq!(std::fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines().count(), 80);
        assert!(!run.join("checkpoint").exists());
    }
}
