//! Event files: what is in them by a reader written from the format's description, and by TensorBoard's
//! own where `LPC_PYTHON` names a Python that has it.

use lpc::train::tensorboard::EventFile;
use std::fs;
use std::path::Path;
use std::process::Command;

const READ: &str = "
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
for tag in sorted(events.Tags()['scalars']):
    print(tag, [(e.step, e.value) for e in events.Scalars(tag)])
";

fn write(run: &Path) {
    let mut events = EventFile::resume(run, 0).unwrap();
    for step in 0..5 {
        events.push(step, [("train/loss", 0.5 * step as f64), ("latent/kl", -2.0)]).unwrap();
    }
    drop(events);
    // Stopped behind the third step's checkpoint, half a record behind the fifth step.
    let file = fs::read_dir(run).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, [&bytes[..], &bytes[..20]].concat()).unwrap();
    let mut events = EventFile::resume(run, 3).unwrap();
    for step in 3..300 {
        events.push(step, [("train/loss", 7.0)]).unwrap();
    }
}

#[test]
fn tensorboard_reads_every_step_once() {
    let run = tempfile::tempdir().unwrap();
    write(run.path());
    let bytes = fs::read(fs::read_dir(run.path()).unwrap().next().unwrap().unwrap().path()).unwrap();
    let (mut records, mut at) = (0, 0);
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        at += 16 + length;
        records += 1;
    }
    assert_eq!((at, records), (bytes.len(), 301), "the version and 300 steps");

    let Some(python) = std::env::var_os("LPC_PYTHON") else {
        return println!("skipped: LPC_PYTHON names no Python with tensorboard");
    };
    let output = Command::new(python).args(["-c", READ]).arg(run.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let loss: Vec<String> = (0..300)
        .map(|step| format!("({step}, {:?})", if step < 3 { 0.5 * f64::from(step) } else { 7.0 }))
        .collect();
    let expected = format!("latent/kl [(0, -2.0), (1, -2.0), (2, -2.0)]\ntrain/loss [{}]\n", loss.join(", "));
    assert_eq!(text, expected);
}
