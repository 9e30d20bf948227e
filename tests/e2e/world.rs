//! `lpc data world`: the world's pairs as files.

use crate::program::Lpc;
use lpc::config::{EmptyCompletion, Taste, World};
use lpc::data::pairs::PairReader;
use lpc::data::world::{Truth, generate};
use serde_json::Value;

#[test]
fn the_worlds_files_are_its_pairs_with_their_truth() {
    let lpc = Lpc::new();
    let sizes = ["--train", "50", "--test", "20", "--seed", "7", "--flip-rate", "0.5", "--flip-marked"];
    let arguments = [&["data", "world", "--taste", "by-annotator", "--out", "world"], &sizes[..]].concat();
    let printed = lpc.ok(&arguments);
    assert!(
        printed.starts_with("world: 50 training and 20 test pairs; a judge who knows the truth"),
        "{printed}"
    );
    let world = World {
        seed: 7,
        train: 50,
        test: 20,
        flip_rate: 0.5,
        flip_marked: true,
        taste: Taste::ByAnnotator,
        ..World::default()
    };
    let data = generate(&world).unwrap();
    assert_eq!(serde_json::from_str::<World>(&lpc.read("world/world.json")).unwrap(), world);
    for (name, expected) in [("train", &data.train), ("test", &data.test)] {
        let name = format!("world/{name}.jsonl");
        let read =
            PairReader::open(&[lpc.path(&name)], EmptyCompletion::Refuse).unwrap().read_all(None).unwrap();
        assert_eq!(read.pairs.len(), expected.len());
        let text = lpc.read(&name);
        for ((pair, line), expected) in read.pairs.iter().zip(text.lines()).zip(expected) {
            assert_eq!((&pair.id, &pair.source), (&expected.pair.id, &expected.pair.source));
            assert_eq!((&pair.prompt, &pair.chosen), (&expected.pair.prompt, &expected.pair.chosen));
            assert_eq!(pair.rejected, expected.pair.rejected);
            let row: Value = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::from_value::<Truth>(row["truth"].clone()).unwrap(), expected.truth);
        }
    }
    // The same bytes again, and other pairs for another seed.
    let before = lpc.read("world/train.jsonl");
    lpc.ok(&arguments);
    assert_eq!(lpc.read("world/train.jsonl"), before);
    let other: Vec<&str> = arguments.iter().map(|a| if *a == "7" { "8" } else { a }).collect();
    lpc.ok(&other);
    assert_ne!(lpc.read("world/train.jsonl"), before);
    for (option, value, message) in [
        ("--flip-rate", "1.5", "rate = 1.5, expected in [0, 1]"),
        ("--sharpness", "-1", "sharpness = -1"),
        ("--taste", "none", "by-annotator"),
    ] {
        let run = lpc.run(&["data", "world", "--out", "elsewhere", &format!("{option}={value}")]);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(!run.status.success() && said.contains(message), "{said}");
    }
}
