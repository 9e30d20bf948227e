//! `latent = "exact-elbo" | "marginal"`: trained, scored, read back, and the gap of every bound.

use crate::program::Lpc;
use crate::toy_runs::Settings;
use serde_json::Value;

const GUMBEL: &str = "mode = \"gumbel\"\ncodes = 4\ngumbel_tau = 1.0\nkl_weight = 0.05\ncodebook_std = 0.02\n\
                      prior_weight = { kind = \"linear\" }\n";

fn recipe(latent: &str) -> String {
    let recipe = Settings::default().recipe();
    let own = recipe.replace(GUMBEL, latent);
    assert!(own != recipe || latent == GUMBEL);
    own
}

#[test]
fn every_latent_trains_and_reports_its_gap() {
    for latent in [
        GUMBEL,
        "mode = \"exact-elbo\"\ncodes = 4\nkl_weight = 1.0\ncodebook_std = 0.02\n",
        "mode = \"marginal\"\ncodes = 4\ncodebook_std = 0.02\n",
    ] {
        let lpc = Lpc::with_base();
        lpc.write("recipe.toml", recipe(latent));
        let trained = lpc.ok(&["train", "recipe.toml"]);
        let run = trained.lines().find_map(|l| l.strip_prefix("run: ")).unwrap();
        let records: Vec<Value> = lpc
            .read(&format!("{run}/records.jsonl"))
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let manifest: Value = serde_json::from_str(&lpc.read(&format!("{run}/manifest.json"))).unwrap();
        for (field, metric) in [("marginal_loss", "test_marginal_loss"), ("bound_gap", "test_bound_gap")] {
            let values: Vec<f64> = records.iter().map(|r| r[field].as_f64().unwrap()).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            assert!((manifest["outcome"]["metrics"][metric].as_f64().unwrap() - mean).abs() < 1e-12);
            // A divergence in f32, and −log of a probability.
            assert!(values.iter().all(|&v| v > -1e-6), "{latent} {field}: {values:?}");
        }
        // The metrics of training have the latent's too, whatever its kind.
        let metrics = lpc.read(&format!("{run}/metrics.jsonl"));
        let last: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
        let perplexity = last["latent"]["code_perplexity"].as_f64().unwrap();
        assert!((1.0..=4.0 + 1e-6).contains(&perplexity), "{perplexity}");
        // Saved and read back, mean and sample.
        let evaluated = lpc.ok(&["eval", "preference", run, "--records", "again.jsonl"]);
        assert!(trained.contains(evaluated.trim()), "{evaluated}");
        assert_eq!(lpc.read("again.jsonl"), lpc.read(&format!("{run}/records.jsonl")));
        lpc.ok(&["eval", "preference", run, "--latent", "sample"]);
        lpc.ok(&["generate", run, "--prompt", "what is the capital of france ?", "--max-new-tokens", "3"]);
    }
}

#[test]
fn keys_that_a_mode_does_not_read_are_refused() {
    for (latent, key) in [
        ("mode = \"marginal\"\ncodes = 4\ncodebook_std = 0.02\nkl_weight = 0.1\n", "kl_weight"),
        (
            "mode = \"exact-elbo\"\ncodes = 4\nkl_weight = 0.1\ncodebook_std = 0.02\ngumbel_tau = 1.0\n",
            "gumbel_tau",
        ),
        ("mode = \"none\"\ncodes = 4\n", "codes"),
        (&GUMBEL.replace("\"linear\"", "\"linear\", value = 0.5"), "value"),
        ("mode = \"exact-elbo\"\ncodes = 4\nkl_weight = -0.1\ncodebook_std = 0.02\n", "latent.kl_weight"),
    ] {
        let lpc = Lpc::with_base();
        lpc.write("recipe.toml", recipe(latent));
        let line = lpc.refused(&["train", "recipe.toml"]);
        assert!(line.contains("recipe.toml") && line.contains(key), "{line}");
    }
}
