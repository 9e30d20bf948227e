//! `lpc train`, `lpc eval preference` and `lpc generate` on one run.

use crate::support::{Lpc, Settings};

#[test]
fn train_evaluate_generate() {
    let lpc = Lpc::new();
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

    let prompt = ["generate", run, "--prompt", "what is the capital of france ?", "--max-new-tokens", "12"];
    let generated = lpc.ok(&prompt);
    assert!(generated.starts_with("> what is the capital of france ?\n"), "{generated}");
    assert!(generated.lines().nth(1).is_some_and(|l| l.split(' ').count() > 3), "{generated}");
    assert_eq!(lpc.ok(&prompt), generated);
}
