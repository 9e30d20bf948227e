//! `lpc train`, `lpc eval preference` and `lpc generate` on one run.

use crate::program::Lpc;
use crate::toy_runs::Settings;

#[test]
fn train_evaluate_generate() {
    let lpc = Lpc::with_base();
    lpc.write("recipe.toml", Settings::default().recipe());
    let trained = lpc.ok(&["train", "recipe.toml"]);
    let accuracy = trained.lines().find(|l| l.starts_with("preference accuracy: ")).unwrap();
    let run = trained.lines().find_map(|l| l.strip_prefix("run: ")).unwrap();

    // The saved model gives the very margins that were recorded when it was trained.
    let evaluated = lpc.ok(&["eval", "preference", run, "--records", "again.jsonl"]);
    assert_eq!(evaluated.trim(), accuracy);
    assert_eq!(lpc.read("again.jsonl"), lpc.read(&format!("{run}/records.jsonl")));

    let pair = r#"{"prompt": "what is the capital of france ?", "chosen": "it is paris .", "rejected": "it is rome ."}"#;
    lpc.write("own.jsonl", pair);
    let own = lpc.ok(&["eval", "preference", run, "--data", "own.jsonl", "--latent", "sample"]);
    assert!(own.contains("of 1)"), "{own}");

    lpc.write("none.jsonl", "");
    let line = lpc.refused(&["eval", "preference", run, "--data", "none.jsonl"]);
    assert_eq!(line, "lpc: none.jsonl: expected at least one pair, got none");

    // A run is scored against the base model it began from, or not at all.
    let manifest = lpc.read(&format!("{run}/manifest.json"));
    let (_, model) = manifest.split_once("\"model\": \"").unwrap();
    let others = manifest.replace(&model[..64], &"0".repeat(64));
    assert_ne!(others, manifest);
    lpc.write(&format!("{run}/manifest.json"), others);
    let line = lpc.refused(&["eval", "preference", run]);
    assert!(line.contains("manifest.json: field `model`"), "{line}");
    lpc.write(&format!("{run}/manifest.json"), manifest);

    let prompt = ["generate", run, "--prompt", "what is the capital of france ?", "--max-new-tokens", "12"];
    let generated = lpc.ok(&prompt);
    assert!(generated.starts_with("> what is the capital of france ?\n"), "{generated}");
    assert!(generated.lines().nth(1).is_some_and(|l| l.split(' ').count() > 3), "{generated}");
    assert_eq!(lpc.ok(&prompt), generated);

    // Every command tells a run from a base model in the same way; the run's model without its latent is one.
    let model = format!("{run}/model");
    let shown = lpc.ok(&["data", "show", "own.jsonl", "--model", run]);
    assert_eq!(lpc.ok(&["data", "show", "own.jsonl", "--model", &model]), shown);
    let line = lpc.refused(&["generate", &model, "--prompt", "what", "--latent", "mean"]);
    assert_eq!(line, "lpc: model: --latent = a model without LPC, expected a run with LPC");
    for command in [["codes"].as_slice(), &["eval", "preference"]] {
        let line = lpc.refused(&[command, &[&model]].concat());
        assert!(line.contains("model: expected a run that holds its model"), "{line}");
        assert!(line.ends_with("got another folder"), "{line}");
    }
}

/// z has draws of its own for every seed and every prompt; a codebook this wide shows them.
#[test]
fn sampled_codes_follow_seed_and_prompt() {
    let lpc = Lpc::with_base();
    let recipe = Settings::default().recipe().replace("codebook_std = 0.02", "codebook_std = 5.0");
    lpc.write("recipe.toml", recipe.replace("latent = \"mean\"", "latent = \"sample\""));
    let trained = lpc.ok(&["train", "recipe.toml"]);
    let run = trained.lines().find_map(|l| l.strip_prefix("run: ")).unwrap();
    let prompt = ["--prompt", "what is the capital of france ?"];
    let generate = |prompts: usize, seed: &str| -> Vec<String> {
        let command = ["generate", run, "--max-new-tokens", "12", "--seed", seed];
        let arguments = [command.as_slice(), &prompt.repeat(prompts)].concat();
        lpc.ok(&arguments)
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('>'))
            .map(String::from)
            .collect()
    };
    let in_one_call = generate(6, "1");
    assert_eq!(in_one_call.len(), 6);
    assert!(in_one_call.iter().any(|text| *text != in_one_call[0]), "{in_one_call:?}");
    let other_seeds: Vec<_> = ["1", "2", "3", "4", "5", "6"].map(|seed| generate(1, seed)).concat();
    assert_eq!(other_seeds[0], in_one_call[0]);
    assert!(other_seeds.iter().any(|text| *text != other_seeds[0]), "{other_seeds:?}");
}

/// `lpc ... | head`: what cannot be written any more ends the program without a complaint.
#[test]
fn a_closed_pipe_is_the_end() {
    let lpc = Lpc::with_base();
    lpc.write("recipe.toml", Settings::default().recipe());
    let mut child = lpc
        .command(&["train", "recipe.toml"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("panicked"), "{errors}");
}
