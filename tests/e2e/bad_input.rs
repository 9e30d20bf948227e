//! Bad input: one clear line that names file, line and field; a status that is not 0.

use crate::program::Lpc;
use crate::toy_runs::Settings;

const GOOD: &str =
    r#"{"prompt": "what is the capital of france ?", "chosen": "it is paris .", "rejected": "it is rome ."}"#;

fn refusal(lpc: &Lpc, train: &str) -> String {
    lpc.write("pairs/train.jsonl", train);
    lpc.write("pairs/test.jsonl", GOOD);
    let recipe = Settings::default().recipe();
    let data = recipe.find("[data]").unwrap()..recipe.find("[latent]").unwrap();
    let jsonl = "[data]\nkind = \"jsonl\"\nfolder = \"pairs\"\nempty_completion = \"refuse\"\n";
    lpc.write("recipe.toml", [&recipe[..data.start], jsonl, &recipe[data.end..]].concat());
    lpc.refused(&["train", "recipe.toml"])
}

fn assert_names(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{line:?} does not name {part:?}");
    }
}

#[test]
fn pairs() {
    let lpc = Lpc::with_base();
    let with = |line: &str| format!("{GOOD}\n{line}\n");
    let line = refusal(&lpc, &with(r#"{"prompt": "a", "chosen": "b"}"#));
    assert_names(&line, &["pairs/train.jsonl:2", "`rejected`"]);
    let line = refusal(&lpc, &with(r#"{"prompt": "a", "chosen": "", "rejected": "b"}"#));
    assert_names(&line, &["pairs/train.jsonl:2", "`chosen`", "empty"]);
    let line = refusal(&lpc, &with(r#"{"prompt": "a", "chosen": 3, "rejected": "b"}"#));
    assert_names(&line, &["pairs/train.jsonl:2", "`chosen`"]);
    let line = refusal(&lpc, &with("{"));
    assert_names(&line, &["pairs/train.jsonl:2"]);
    let line = refusal(&lpc, "");
    assert_names(&line, &["pairs/train.jsonl", "at least one pair"]);
    lpc.write("pairs/train.jsonl", GOOD);
    std::fs::remove_file(lpc.path("pairs/test.jsonl")).unwrap();
    let line = lpc.refused(&["train", "recipe.toml"]);
    assert_names(&line, &["pairs: expected test.jsonl", "got no such file"]);
}

#[test]
fn over_long_examples_are_truncated_and_counted() {
    let lpc = Lpc::with_base();
    let long = "what is the capital of france ? ".repeat(40);
    let pair =
        format!(r#"{{"prompt": "{long}", "chosen": "it is paris . {long}", "rejected": "it is rome ."}}"#);
    lpc.write("pairs/train.jsonl", format!("{}{pair}\n", format!("{GOOD}\n").repeat(23)));
    lpc.write("pairs/test.jsonl", format!("{GOOD}\n{GOOD}\n"));
    lpc.write("matrix.toml", Settings::default().matrix());
    lpc.ok(&["reproduce", "table2", "--recipe", "matrix.toml", "--data", "pairs", "--seeds", "1"]);
    let report = lpc.read("reports/toy-own/table2.md");
    assert!(report.contains("1 prompts and 1 pairs' completions of 24 in training"), "{report}");
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_device_that_this_build_does_not_know() {
    let lpc = Lpc::new();
    lpc.write("recipe.toml", Settings::default().recipe());
    let asked: [&[&str]; 4] = [
        &["train", "recipe.toml"],
        &["reproduce", "table2"],
        &["eval", "arc_easy", "--model", "none", "--data", "none"],
        &["generate", "none", "--prompt", "a"],
    ];
    for command in asked {
        let line = lpc.refused(&[command, &["--device", "cuda:1"]].concat());
        assert_eq!(
            line,
            "lpc: --device: cuda:1 = a program without CUDA, expected a build with `--features cuda`"
        );
    }
    assert!(lpc.runs().is_empty());
}

#[test]
fn one_test_pair_has_no_interval() {
    let line = Lpc::with_base().refused(&["reproduce", "table2", "--limit", "1"]);
    assert_names(&line, &["test pairs = 1", "at least 2"]);
}

#[test]
fn a_prompt_longer_than_the_context() {
    let lpc = Lpc::with_base();
    lpc.write("recipe.toml", Settings::default().recipe().replace("max_length = 60", "max_length = 600"));
    let line = lpc.refused(&["train", "recipe.toml"]);
    assert_names(&line, &["max_length", "600", "64"]);
    let lpc = Lpc::with_base();
    lpc.write("recipe.toml", Settings::default().recipe());
    let trained = lpc.ok(&["train", "recipe.toml"]);
    let run = trained.lines().find_map(|l| l.strip_prefix("run: ")).unwrap();
    let line = lpc.refused(&["generate", run, "--prompt", &"what ".repeat(100)]);
    assert_names(&line, &["prompt", "100 tokens", "63"]);
}

#[test]
fn recipes() {
    let lpc = Lpc::with_base();
    let good = Settings::default().recipe();
    for (bad, named) in [
        (good.replace("kl_weight = 0.05", "kl_weight = 0.05\nlearning_rat = 1"), "learning_rat"),
        (
            good.replace("beta = 0.1", "beta = -0.1"),
            "recipe.toml: field `objective.beta`: expected finite and > 0, got -0.1",
        ),
        (good.replace("beta = 0.1", "beta = 0.1, gamma = 1.0"), "gamma"),
        (good.replace("\"dpo\"", "\"hing\""), "`truncated-squared`"),
        (good.replace("\"dpo\", beta = 0.1", "\"hinge\", beta = 0"), "objective.beta"),
        (good.replace("codes = 4", "codes = 0"), "latent.codes"),
        (
            good.replace("codes = 4", "codes = 65537"),
            "field `latent.codes`: expected at least 1 and at most 65536",
        ),
        (good.replace("epochs = 1", "epochs = 9223372036854775807"), "training.epochs"),
        (good.replace("\nbatch_size = 8", "\nbatch_size = 1000000000000"), "training.batch_size"),
        (good.replace("train = 96", "train = 10000001"), "data.train"),
        (
            good.replace("epsilon = 1e-8", "epsilon = 1e-50"),
            "`training.adam_epsilon`: expected finite and > 0 as",
        ),
        (good.replace("beta2 = 0.95", "beta2 = 0.999999999"), "training.adam_beta2"),
        (good.replace("max_prompt_length = 30", "max_prompt_length = 60"), "truncation.max_prompt_length"),
        (good.replace("seed = 1\n", ""), "seed"),
        (good.replace("batch_size = 8", "batch_size = \"eight\""), "usize"),
    ] {
        lpc.write("recipe.toml", bad);
        assert_names(&lpc.refused(&["train", "recipe.toml"]), &[named]);
    }
    assert_names(&lpc.refused(&["train", "none.toml"]), &["none.toml", "No such file"]);
    lpc.write("matrix.toml", "seeds = []");
    assert_names(&lpc.refused(&["reproduce", "table2", "--recipe", "matrix.toml"]), &["matrix.toml"]);
}

#[test]
fn models() {
    let lpc = Lpc::with_base();
    lpc.write("broken.gguf", [b"GGUF".as_slice(), &[3, 0, 0, 0], &[0xff; 20]].concat());
    let line = lpc.refused(&["generate", "broken.gguf", "--prompt", "x"]);
    assert_names(&line, &["broken.gguf"]);
    assert_names(&lpc.refused(&["generate", "none.gguf", "--prompt", "x"]), &["none.gguf", "No such file"]);
    std::fs::create_dir(lpc.path("empty")).unwrap();
    assert_names(&lpc.refused(&["generate", "empty", "--prompt", "x"]), &["empty", "config.json"]);
}

/// Refused while the command line is read: a status of its own, no work.
#[test]
fn arguments() {
    let lpc = Lpc::with_base();
    let generate = ["generate", "none.gguf", "--prompt", "x"];
    let reproduce = ["reproduce", "table2"];
    for (command, option, bad) in [
        (reproduce.as_slice(), "--limit", "0"),
        (&reproduce, "--seeds", "0"),
        (&reproduce, "--seeds", "1001"),
        (&reproduce, "--threads", "0"),
        (&reproduce, "--threads", "4097"),
        (&["eval", "preference", "run"], "--limit", "0"),
        (&generate, "--temperature", "-1"),
        (&generate, "--temperature", "NaN"),
        (&generate, "--temperature", "inf"),
        (&generate, "--top-p", "0"),
        (&generate, "--top-p", "1.01"),
        (&generate, "--max-new-tokens", "0"),
    ] {
        let output = lpc.run(&[command, &[option, bad]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{option} {bad}: {errors}");
        assert_names(&errors, &["invalid value", bad, option]);
    }
    // What an override makes of the matrix is checked as the matrix was.
    let line = lpc.refused(&["reproduce", "table2", "--limit", "10000001"]);
    assert_names(&line, &["data.train", "10000001"]);
}

/// A target has its own options only. An option of another one is refused, and the message says whose it is.
#[test]
fn options_of_other_targets() {
    let lpc = Lpc::new();
    for (line, named) in [
        ("table2 --second-data b.jsonl", "--second-data is an option of figure2, reviews;"),
        ("table2 --prompts a.json", "--prompts is an option of table3;"),
        ("table3 --tasks tasks", "--tasks is an option of table1;"),
        ("figure2 --documents=3", "--documents is an option of table1;"),
        ("claims --keep-models", "--keep-models is an option of table1, table2, table3, figure2, reviews;"),
        (
            "--limit 3 table2",
            "--limit is an option of table1, table2, table3, figure2, reviews; write it after",
        ),
        ("table2 --limt 3", "a similar argument exists: '--limit'"),
    ] {
        let output = lpc.run(&[&["reproduce"], &line.split(' ').collect::<Vec<_>>()[..]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {errors}");
        assert!(errors.starts_with("error: unexpected argument '--"), "{line}: {errors}");
        assert!(errors.lines().any(|l| l.contains("tip: ") && l.contains(named)), "{line}: {errors}");
        assert!(errors.matches("tip: ").count() == 1, "{line}: {errors}");
    }
    // `--tasks` is an option of other commands, too.
    let output = lpc.run(&["check", "--tasks", "a"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("table1"));
}

/// A rate no model survives: the run stops with the step and keeps what was written.
#[test]
fn a_loss_that_is_not_a_number() {
    let lpc = Lpc::with_base();
    lpc.write("recipe.toml", Settings { learning_rate: "1e38", ..Settings::default() }.recipe());
    let line = lpc.refused(&["train", "recipe.toml"]);
    assert_names(&line, &["step ", "expected finite", "checkpoint"]);
    let run = &lpc.runs()[0];
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert!(metrics.lines().count() > 0 && !metrics.contains("null"), "{metrics}");
    assert!(!run.join("manifest.json").exists());
}
