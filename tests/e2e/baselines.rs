//! `latent = "control" | "gaussian" | "factors"`: latents that LPC is compared with, trained, resumed, saved, read back, and refused where it has no answer.

use crate::program::Lpc;
use crate::toy_runs::Settings;
use lpc::config::Latent;
use lpc::latent::init_heads;
use lpc::model::parameters::Parameters;
use lpc::seed;
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, Instant};

const GUMBEL: &str = "mode = \"gumbel\"\ncodes = 4\ngumbel_tau = 1.0\nkl_weight = 0.05\ncodebook_std = 0.02\n\
                      prior_weight = { kind = \"linear\" }\n";
const CONTROL: &str = "mode = \"control\"\nmatch_codes = 4\noutput_std = 0.02\n";

const GAUSSIAN: &str = "mode = \"gaussian\"\ndimension = 3\nkl_weight = 0.05\noutput_std = 0.02\n\
                        prior_weight = { kind = \"linear\" }\n";

const FACTORS: &str = "mode = \"factors\"\noutput_std = 0.02\n";

/// Its network reads whitened states.
const WHITENED: &str = "mode = \"control\"\nmatch_codes = 4\noutput_std = 0.02\nheads_input = \"whitened\"\n";

const LATENTS: [&str; 4] = [CONTROL, GAUSSIAN, FACTORS, WHITENED];

fn recipe(settings: &Settings, latent: &str) -> String {
    let recipe = settings.recipe();
    let own = recipe.replace(GUMBEL, latent);
    assert_ne!(own, recipe);
    own
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_latent_trains_and_is_read_back() {
    for latent in LATENTS {
        let lpc = Lpc::with_base();
        lpc.write("recipe.toml", recipe(&Settings::default(), latent));
        let trained = lpc.ok(&["train", "recipe.toml"]);
        let run = trained.lines().find_map(|l| l.strip_prefix("run: ")).unwrap();
        // No codes: no likelihood over them, no gap, no use of them.
        for record in lines(&lpc.read(&format!("{run}/records.jsonl"))) {
            assert!(record["marginal_loss"].is_null() && record["bound_gap"].is_null(), "{record}");
        }
        let manifest: Value = serde_json::from_str(&lpc.read(&format!("{run}/manifest.json"))).unwrap();
        let metrics = manifest["outcome"]["metrics"].as_object().unwrap();
        for absent in ["code_perplexity", "prior_entropy", "test_marginal_loss", "test_bound_gap"] {
            assert!(!metrics.contains_key(absent), "{metrics:?}");
        }
        let steps = lines(&lpc.read(&format!("{run}/metrics.jsonl")));
        let gaussian = latent.contains("gaussian");
        assert!(steps.iter().all(|step| step["latent"]["kl"].is_number() == gaussian), "{:?}", steps[0]);

        let evaluated = lpc.ok(&["eval", "preference", run, "--records", "again.jsonl"]);
        assert!(trained.contains(evaluated.trim()), "{evaluated}");
        assert_eq!(lpc.read("again.jsonl"), lpc.read(&format!("{run}/records.jsonl")));
        lpc.ok(&["eval", "preference", run, "--latent", "sample"]);
        let line = lpc.refused(&["eval", "preference", run, "--latent", "exact"]);
        let expected = "evaluation.latent = exact, expected mean or sample where latent.mode has no codes";
        assert!(line.contains(expected), "{line}");

        let prompt =
            ["generate", run, "--prompt", "what is the capital of france ?", "--max-new-tokens", "3"];
        if latent == FACTORS {
            // Only the world's own pairs say what their prompts' factors weigh.
            let line = lpc.refused(&prompt);
            assert!(line.contains("latent.mode = factors, expected a mode whose h_z follows"), "{line}");
            lpc.write(
                "own.jsonl",
                "{\"prompt\": \"is it ?\", \"chosen\": \"it is\", \"rejected\": \"no\"}\n",
            );
            let line = lpc.refused(&["eval", "preference", run, "--data", "own.jsonl"]);
            assert!(line.contains("factor weights = none, expected pairs of the built-in world"), "{line}");
            continue;
        }
        let line = lpc.refused(&[&prompt[..], &["--code", "0"]].concat());
        assert!(line.contains("code = 0, expected a model with codes"), "{line}");
        assert_eq!(lpc.ok(&prompt), lpc.ok(&prompt));
    }
}

#[test]
#[cfg(unix)]
fn a_killed_run_goes_on_to_the_same_bytes() {
    for latent in LATENTS {
        let settings = Settings { train: 640, checkpoint_every: 7, ..Settings::default() };
        let train = |lpc: &Lpc| {
            let trained = lpc.ok(&["train", "recipe.toml"]);
            let run = trained.lines().find_map(|l| l.strip_prefix("run: ")).unwrap().to_string();
            (lpc.read(&format!("{run}/records.jsonl")), run)
        };
        let lpc = Lpc::with_base();
        lpc.write("recipe.toml", recipe(&settings, latent));
        let (undisturbed, _) = train(&lpc);

        let lpc = Lpc::with_base();
        lpc.write("recipe.toml", recipe(&settings, latent));
        let mut child = lpc
            .command(&["train", "recipe.toml"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let metrics = |lpc: &Lpc| {
            let run = lpc.runs().into_iter().next();
            run.and_then(|run| std::fs::read_to_string(run.join("metrics.jsonl")).ok()).unwrap_or_default()
        };
        let begun = Instant::now();
        while metrics(&lpc).lines().count() < 10 {
            assert!(child.try_wait().unwrap().is_none(), "finished before it could be killed");
            assert!(begun.elapsed() < Duration::from_secs(300), "no progress");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(lpc.runs()[0].join("checkpoint/state.safetensors").is_file());
        let before: Vec<String> = metrics(&lpc).lines().take(7).map(String::from).collect();
        let (resumed, run) = train(&lpc);
        assert_eq!(resumed, undisturbed, "{latent}");
        // The timings in the old lines prove that those steps were not run again.
        assert!(lpc.read(&format!("{run}/metrics.jsonl")).starts_with(&before.join("\n")));
    }
}

#[test]
fn keys_out_of_range_or_unread_are_refused() {
    for (latent, key) in [
        (CONTROL.replace("match_codes = 4", "match_codes = 0"), "latent.match_codes"),
        (CONTROL.replace("output_std = 0.02", "output_std = -1.0"), "latent.output_std"),
        (FACTORS.replace("0.02", "-0.02"), "latent.output_std"),
        (format!("{FACTORS}factors = 6\n"), "factors"),
        (GAUSSIAN.replace("dimension = 3", "dimension = 0"), "latent.dimension"),
        (GAUSSIAN.replace("kl_weight = 0.05", "kl_weight = -1.0"), "latent.kl_weight"),
        (
            GAUSSIAN.replace("{ kind = \"linear\" }", "{ kind = \"fixed\", value = 1.5 }"),
            "latent.prior_weight.value",
        ),
        (format!("{GAUSSIAN}gumbel_tau = 1.0\n"), "gumbel_tau"),
        (format!("{CONTROL}kl_weight = 0.1\n"), "kl_weight"),
        (format!("{FACTORS}heads_input = \"raw\"\n"), "heads_input"),
        (WHITENED.replace("whitened", "white"), "white"),
        (format!("{CONTROL}heads_learning_rate = -1.0\n"), "latent.heads_learning_rate"),
    ] {
        let lpc = Lpc::with_base();
        lpc.write("recipe.toml", recipe(&Settings::default(), &latent));
        let line = lpc.refused(&["train", "recipe.toml"]);
        assert!(line.contains("recipe.toml") && line.contains(key), "{line}");
    }
    for latent in LATENTS {
        let lpc = Lpc::with_base();
        let exact = recipe(&Settings::default(), latent).replace("latent = \"mean\"", "latent = \"exact\"");
        lpc.write("recipe.toml", exact);
        let line = lpc.refused(&["train", "recipe.toml"]);
        assert!(line.contains("field `evaluation.latent`") && line.contains("got exact"), "{line}");
    }
}

/// Elements of every parameter of the latent's, as they are.
fn elements(latent: Latent, hidden_size: usize) -> usize {
    let mut parameters = Parameters::default();
    init_heads(&mut parameters, hidden_size, &latent, &mut seed::stream(1, "heads")).unwrap();
    parameters.iter().map(|(_, var)| var.elem_count()).sum()
}

#[test]
fn the_control_has_as_many_parameters_as_lpc() {
    let control = |match_codes| Latent::Control {
        match_codes,
        output_std: 0.02,
        heads_learning_rate: None,
        heads_input: Default::default(),
    };
    let lpc = |codes| Latent::Marginal {
        codes,
        codebook_std: 0.02,
        heads_learning_rate: None,
        heads_input: Default::default(),
    };
    // By hand, d = 64 and K = 32: 2,048 of the codebook, 64·64 + 64 + 32·64 + 32 = 6,240 of the prior,
    // 128·64 + 64 + 2,080 = 10,336 of the posterior. (18,624 − 64)/129 = 143.9, and 144·129 + 64.
    assert_eq!((elements(lpc(32), 64), elements(control(32), 64)), (18_624, 18_640));
    // The toy models' width and SmolLM2's.
    for hidden_size in [64, 576] {
        for codes in [1, 8, 16, 32, 64, 128, 256] {
            let (lpc, control) = (elements(lpc(codes), hidden_size), elements(control(codes), hidden_size));
            let off = (control as f64 / lpc as f64 - 1.0).abs();
            assert!(off < 0.01, "{hidden_size} wide, {codes} codes: {lpc} and {control}");
        }
    }
}

/// Pairs of other data have no true weights: a recipe that asks for them is refused before any is read.
#[test]
fn true_factors_are_the_worlds_alone() {
    let lpc = Lpc::with_base();
    let world = recipe(&Settings::default(), FACTORS);
    let (head, tail) = world.split_once("[data]\n").unwrap();
    let (_, tail) = tail.split_once("[latent]").unwrap();
    let jsonl = "[data]\nkind = \"jsonl\"\nfolder = \"none\"\nempty_completion = \"refuse\"\n";
    lpc.write("recipe.toml", format!("{head}{jsonl}[latent]{tail}"));
    let line = lpc.refused(&["train", "recipe.toml"]);
    assert!(line.contains("field `latent.mode`") && line.contains("got factors"), "{line}");
}
