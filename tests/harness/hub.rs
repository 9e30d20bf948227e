//! The tasks' own data sets of the hub, from its cache: Parquet as pyarrow writes it.

use crate::command::prepared;
use crate::formats::{expected, write_files};
use std::fs;
use std::path::Path;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Puts a folder of data sets, organisation/name, where the hub's tools would have put them.
fn cache(data_sets: &Path, home: &Path) {
    for id in ["allenai/ai2_arc", "openai/gsm8k", "truthfulqa/truthful_qa"] {
        let folder = home.join("hub").join(format!("datasets--{}", id.replace('/', "--")));
        fs::create_dir_all(folder.join("refs")).unwrap();
        fs::write(folder.join("refs/main"), COMMIT).unwrap();
        for config in fs::read_dir(data_sets.join(id)).unwrap().map(Result::unwrap) {
            let to = folder.join("snapshots").join(COMMIT).join(config.file_name());
            fs::create_dir_all(&to).unwrap();
            for file in fs::read_dir(config.path()).unwrap().map(Result::unwrap) {
                fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        }
    }
}

#[test]
fn the_tasks_own_data_sets_are_read_as_their_lines() {
    let lpc = prepared();
    write_files(&expected(), &lpc.path("lines"));
    let home = lpc.path("home");
    cache(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden/lm_eval_parquet"), &home);
    let records = |tasks: &[&str], data: &str| {
        let mut command = lpc.command(&["eval"]);
        command.args(tasks).args(["--model", "model", "--limit", "20"]);
        command.args(["--data", data, "--records", "out.jsonl"]);
        // Nobody listens there: what the cache has not is an error.
        command.env("HF_HOME", &home).env("HF_ENDPOINT", "http://127.0.0.1:9");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        lpc.read("out.jsonl")
    };
    for (tasks, id) in [
        (&["arc_easy", "arc_challenge"][..], "allenai/ai2_arc"),
        (&["gsm8k"], "openai/gsm8k"),
        (&["truthfulqa_mc1", "truthfulqa_mc2"], "truthfulqa/truthful_qa"),
    ] {
        let from_rows = records(tasks, id);
        assert!(from_rows.lines().count() >= 6, "{id}");
        assert_eq!(from_rows, records(tasks, "lines"), "{id}");
    }
    // A file of its own, its examples beside it.
    let main = "home/hub/datasets--openai--gsm8k/snapshots/0123456789abcdef0123456789abcdef01234567/main";
    let file = format!("{main}/test-00000-of-00001.parquet");
    assert_eq!(records(&["gsm8k"], &file), records(&["gsm8k"], "lines"));
    lpc.write("broken.parquet", "no Parquet");
    let output = lpc.run(&["eval", "arc_easy", "--model", "model", "--data", "broken.parquet"]);
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.starts_with("lpc: broken.parquet: expected a whole Parquet file, got "), "{line}");
}
