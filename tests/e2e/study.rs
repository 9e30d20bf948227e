//! Studies: figure 2, the reviewers' questions, and what `lpc codes` reads of a run.

use crate::program::Lpc;
use crate::toy_runs::Settings;
use lpc::run::evidence::{CodesOfRun, Evidence};
use lpc::run::records::Record;
use std::collections::HashMap;
use std::path::PathBuf;

const STUDY: &str = r#"
title = "A small study"
seeds = [1, 2]
objective = "DPO"
map = "LPC"
codes = "LPC"
[[arms]]
name = "DPO"
set.latent = { mode = "none" }
[[arms]]
name = "LPC"
[[arms]]
name = "LPC, flipped"
set.data = { flip_rate = 0.5, flip_marked = true }
[[arms]]
name = "elsewhere"
scales = ["small"]
[[questions]]
id = "q"
asks = "Which?"
[[questions.tests]]
id = "higher"
claim = "LPC scores higher"
rule = { kind = "positive", contrast = { LPC = 1, DPO = -0.25, "LPC, flipped" = -0.75 } }
[[questions.tests]]
id = "same"
claim = "LPC is LPC within a point of DPO"
rule = { kind = "within", points = 100.0, contrast = { LPC = 1, DPO = -1 } }
[[questions.tests]]
id = "never"
claim = "What does not run here"
rule = { kind = "positive", contrast = { LPC = 1, elsewhere = -1 } }
[[questions.tests]]
id = "clusters"
claim = "Latents know their source"
rule = { kind = "clusters" }
"#;

type Row = HashMap<String, String>;

fn number(row: &Row, key: &str) -> f64 {
    row[key].parse().unwrap()
}

#[test]
fn a_study_shares_its_runs_and_every_number_follows_from_them() {
    let lpc = Lpc::with_base();
    lpc.write("matrix.toml", Settings::default().matrix().replace("test = 40", "test = 100"));
    lpc.write("study.toml", STUDY);
    lpc.ok(&["reproduce", "table2", "--recipe", "matrix.toml"]);
    assert_eq!(lpc.runs().len(), 8);
    let printed = lpc.ok(&["reproduce", "figure2", "--recipe", "matrix.toml", "--study", "study.toml"]);
    assert!(printed.contains("| LPC scores higher |"), "{printed}");
    // Two arms of two seeds are table 2's; only the flipped ones are new.
    assert_eq!(lpc.runs().len(), 10);

    let rows: Vec<Row> = csv::Reader::from_path(lpc.path("reports/toy-own/figure2.csv"))
        .unwrap()
        .deserialize()
        .map(Result::unwrap)
        .collect();
    let find = |kind: &str, name: &str, seed: &str| {
        rows.iter().find(|r| r["kind"] == kind && r["name"] == name && r["seed"] == seed).unwrap()
    };
    let mean =
        |arm: &str| (number(find("run", arm, "1"), "mean") + number(find("run", arm, "2"), "mean")) / 2.0;
    for arm in ["DPO", "LPC", "LPC, flipped"] {
        assert!((number(find("arm", arm, ""), "mean") - mean(arm)).abs() < 1e-7);
    }
    // Accuracies count labels as drawn; verdicts are about the labels' true probabilities.
    let evidence = Evidence::read(&lpc.path("reports/toy-own/figure2.evidence.jsonl.gz")).unwrap();
    let probable = |arm: &str| {
        let runs = evidence.runs.iter().filter(|run| run.objective == arm);
        let records: Vec<_> = runs.flat_map(|run| evidence.records(run).unwrap()).collect();
        assert_eq!(records.len(), 200);
        let of = |r: &Record| if r.margin > 0.0 { r.bayes.unwrap() } else { 1.0 - r.bayes.unwrap() };
        records.iter().map(of).sum::<f64>() / 200.0
    };
    type Mean<'a> = &'a dyn Fn(&str) -> f64;
    for (kind, mean) in [("test", &probable as Mean), ("test, labels as drawn", &mean as Mean)] {
        let higher = find(kind, "higher", "");
        let contrast = mean("LPC") - 0.25 * mean("DPO") - 0.75 * mean("LPC, flipped");
        assert!((number(higher, "mean") - contrast).abs() < 1e-7, "{higher:?}");
        assert!(number(higher, "low") < contrast && contrast < number(higher, "high"));
    }
    // Both seeds' latents against those before the first step, point by point.
    let clusters = find("test", "clusters", "");
    let votes = |name: &str| {
        let runs = evidence.runs.iter().filter(|run| run.objective == "LPC");
        let all: Vec<f64> = runs.flat_map(|run| evidence.measured(run, name).unwrap()).collect();
        assert_eq!(all.len(), 200);
        all.iter().sum::<f64>() / 200.0
    };
    let learnt = votes("vote_right") - votes("vote_right/untrained");
    assert!((number(clusters, "mean") - learnt).abs() < 1e-7, "{clusters:?}");
    assert_eq!(find("test", "never", "")["verdict"], "not run");
    // Nothing was stated as a margin, so equivalence is tested by the one claim that has its own.
    assert!(find("test", "higher", "")["p_equivalence_holm"].is_empty());
    assert!(number(find("test", "same", ""), "p_equivalence_holm") < 0.05);
    for (test, verdict) in [("same", "supported"), ("higher", "undecided")] {
        assert_eq!(find("test", test, "")["verdict"], verdict, "{test}");
    }
    let map = lpc.read("reports/toy-own/figure2-map.csv");
    assert_eq!(map.lines().count(), 101);

    // Again: nothing is trained, and the files are the same.
    let folder = |name: &str| std::fs::read(lpc.path("reports/toy-own").join(name)).unwrap();
    let files = [
        "figure2.md",
        "figure2.svg",
        "figure2.html",
        "figure2.evidence.jsonl.gz",
        "figure2-codes.csv",
        "figure2-codes.svg",
    ];
    let before = files.map(folder);
    lpc.ok(&["reproduce", "figure2", "--recipe", "matrix.toml", "--study", "study.toml"]);
    assert_eq!(files.map(folder), before);
    assert!(lpc.ok(&["audit", "reports/toy-own"]).contains("figure2: 6 of 6 runs"));
    // A digit of the map moved: found.
    lpc.write("reports/toy-own/figure2-map.csv", map.replacen('1', "2", 1));
    assert!(!lpc.run(&["audit", "reports/toy-own"]).status.success());

    codes(&lpc);
    drawn_codes(&lpc);
}

/// The study's page says of its run what `lpc codes` says, from the evidence alone.
fn drawn_codes(lpc: &Lpc) {
    let report = lpc.read("reports/toy-own/figure2.md");
    let id = report.split("LPC, seed 1, run ").nth(1).unwrap().split(':').next().unwrap();
    let run = lpc.path("runs").join(id);
    let printed = lpc.ok(&["codes", run.to_str().unwrap()]);
    let said = printed.lines().find(|l| l.starts_with("4 codes on 100 test pairs.")).unwrap();
    assert!(report.contains(said), "{said}\n{report}");
    assert!(lpc.read("reports/toy-own/figure2.html").contains(said));
    let rows: Vec<Row> = csv::Reader::from_path(lpc.path("reports/toy-own/figure2-codes.csv"))
        .unwrap()
        .deserialize()
        .map(Result::unwrap)
        .collect();
    for share in ["prior", "posterior", "likeliest"] {
        let sum: f64 = rows.iter().map(|row| number(row, share)).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{share}: {sum}");
    }
    let prior: Vec<f64> = rows.iter().map(|row| number(row, "prior")).collect();
    assert!(prior.is_sorted_by(|a, b| a >= b), "{prior:?}");
    // exp of the entropy of these shares.
    for side in ["prior", "posterior"] {
        let entropy: f64 = rows.iter().map(|row| number(row, side)).map(|p| -p * p.ln()).sum();
        assert!(said.contains(&format!("{:.1} by the {side}", entropy.exp())), "{entropy}: {said}");
    }

    // The gap is the mean of what both seeds' runs measured at their last step.
    let last_gap = |run: &PathBuf| -> Option<f64> {
        let recipe = std::fs::read_to_string(run.join("recipe.toml")).unwrap();
        let of_arm =
            recipe.contains("gumbel") && recipe.contains("dpo") && recipe.contains("flip_rate = 0.0");
        let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).ok().filter(|_| of_arm)?;
        let last: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
        last["latent"]["bound_gap"].as_f64()
    };
    let gaps: Vec<f64> = lpc.runs().iter().filter_map(last_gap).collect();
    assert_eq!(gaps.len(), 2);
    let gap = gaps.iter().sum::<f64>() / 2.0;
    assert!(report.contains(&format!("{gap:.1e} at the end")), "{gap}: {report}");

    // Without the runs: the same bytes. Codes of a run that is not there, or shares that are none: refused.
    std::fs::rename(lpc.path("runs"), lpc.path("gone")).unwrap();
    lpc.ok(&["report", "reports/toy-own"]);
    assert_eq!(lpc.read("reports/toy-own/figure2.md"), report);
    let path = lpc.path("reports/toy-own/figure2.evidence.jsonl.gz");
    let evidence = Evidence::read(&path).unwrap();
    type Change = fn(&mut CodesOfRun);
    let changes: [(Change, &str); 3] = [
        (|of| of.run = "0000000000000000".into(), "expected a run of the evidence"),
        (|of| of.codes.usage[0].prior += 0.5, "expected shares of 1"),
        (|of| of.codes.pairs += 1, "expected as many as the run was tested on"),
    ];
    for (change, expected) in changes {
        let mut other = evidence.clone();
        change(other.header.codes.as_mut().unwrap());
        other.write(&path).unwrap();
        let refused = lpc.refused(&["report", "reports/toy-own"]);
        assert!(refused.contains(expected), "{refused}");
    }
    evidence.write(&path).unwrap();
}

/// What failed is in the report, with the reason, and the rest stands.
#[test]
fn a_run_that_diverges_is_reported_as_failed() {
    let lpc = Lpc::with_base();
    lpc.write("matrix.toml", Settings::default().matrix());
    let text = r#"
title = "Too fast"
seeds = [1, 2]
objective = "DPO"
[[arms]]
name = "LPC"
[[arms]]
name = "wild"
set.training.learning_rate = 1e30
[[questions]]
id = "q"
asks = "?"
[[questions.tests]]
id = "wild"
claim = "Speed helps"
rule = { kind = "positive", contrast = { wild = 1, LPC = -1 } }
"#;
    lpc.write("study.toml", text);
    let refused = lpc.refused(&["reproduce", "reviews", "--recipe", "matrix.toml", "--study", "study.toml"]);
    assert!(refused.contains("expected finite"), "{refused}");
    let report = lpc.read("reports/toy-own/reviews.md");
    assert!(report.contains("- Speed helps. Not run: wild seed 1: diverged at step "), "{report}");
    for seed in [1, 2] {
        assert!(
            report.contains(&format!("- Not run: toy Llama, wild, seed {seed}: diverged at step ")),
            "{report}"
        );
    }
    let row =
        |name: &str| report.lines().find(|l| l.starts_with(&format!("| {name} |"))).unwrap().to_string();
    assert!(row("wild").contains("not run") && !row("LPC").contains("not run"), "{report}");
    assert!(lpc.read("reports/toy-own/reviews.html").contains("wild, seed 2: diverged at step"));
    let audited = lpc.ok(&["audit", "reports/toy-own"]);
    assert!(audited.contains("seeds 1, 2 of the matrix are missing: diverged at step "), "{audited}");

    let wild = Settings { learning_rate: "1e30", ..Settings::default() };
    lpc.write("matrix.toml", wild.matrix());
    lpc.refused(&[
        "reproduce",
        "table2",
        "--recipe",
        "matrix.toml",
        "--objectives",
        "SimPO",
        "--reports",
        "other",
    ]);
    let report = lpc.read("other/toy-own/table2.md");
    assert!(report.contains("- Not run: toy Llama, SimPO w. LPC, seed 2: diverged at step "), "{report}");
}

/// A toy run keeps its model.
fn codes(lpc: &Lpc) {
    let with = |mode: &str| {
        let recipe = |run: &PathBuf| std::fs::read_to_string(run.join("recipe.toml")).unwrap();
        lpc.runs().into_iter().find(|run| recipe(run).contains(mode)).unwrap()
    };
    let run = with("mode = \"gumbel\"");
    let printed = lpc.ok(&[
        "codes",
        run.to_str().unwrap(),
        "--prompt",
        "what is the capital of france ?",
        "--codes",
        "2",
    ]);
    assert!(printed.contains("4 codes on 100 test pairs."), "{printed}");
    let shares: f64 = printed
        .lines()
        .filter_map(|l| l.strip_prefix("| ")?.split(" | ").nth(1)?.parse::<f64>().ok())
        .filter(|share| *share > 1.0)
        .sum();
    assert!((shares - 100.0).abs() < 0.3, "shares of the prior add up to {shares}: {printed}");
    assert_eq!(printed.matches("\n- ").count(), 3, "{printed}");
    let plain = with("mode = \"none\"");
    assert!(lpc.refused(&["codes", plain.to_str().unwrap()]).contains("a run with LPC"));
}

#[test]
fn a_faulty_study_is_refused_before_anything_runs() {
    let lpc = Lpc::with_base();
    lpc.write("matrix.toml", Settings::default().matrix());
    let refused = |study: &str| {
        lpc.write("study.toml", study);
        lpc.refused(&["reproduce", "reviews", "--recipe", "matrix.toml", "--study", "study.toml"])
    };
    assert!(refused(&STUDY.replace("DPO = -0.25", "DPO = -0.3")).contains("weights that add up to 0"));
    assert!(refused(&STUDY.replace("map = \"LPC\"", "")).contains("a study with a map"));
    assert!(refused(&STUDY.replace("objective = \"DPO\"", "objective = \"KTO\"")).contains("KTO"));
    assert!(refused(&STUDY.replace("flip_rate = 0.5", "flip_rate = 1.5")).contains("flip_rate"));
    assert_eq!(lpc.runs().len(), 0);
}

/// Latents know their prompts' sources, and codes their tastes, because prompts tell: where every pair has
/// another's prompt, both are what chance gives. And where all sources want the same, a mixture of
/// preferences has nothing to gain.
#[test]
fn the_world_can_tell_the_difference() {
    let lpc = Lpc::with_base();
    let settings = Settings { train: 2048, ..Settings::default() };
    lpc.write("matrix.toml", settings.matrix().replace("test = 40", "test = 400"));
    let study = |cues: &str, taste: &str| {
        format!(
            r#"
title = "A world"
seeds = [1, 2]
objective = "DPO"
map = "LPC"
[[arms]]
name = "DPO"
set = {{ latent = {{ mode = "none" }}, data = {{ cues = "{cues}", taste = "{taste}" }} }}
[[arms]]
name = "LPC"
set.data = {{ cues = "{cues}", taste = "{taste}" }}
[[questions]]
id = "q"
asks = "?"
[[questions.tests]]
id = "advantage"
claim = "LPC is no better"
rule = {{ kind = "within", points = 6.0, contrast = {{ LPC = 1, DPO = -1 }} }}
[[questions.tests]]
id = "clusters"
claim = "Latents know their source"
rule = {{ kind = "clusters" }}
"#
        )
    };
    // Of the map's votes against sources in random order.
    let p_of_votes = |name: &str| {
        let path = lpc.path(name).join("toy-own/reviews.evidence.jsonl.gz");
        Evidence::read(&path).unwrap().header.settings["votes/p_value"]
    };
    let run = |name: &str, cues: &str, taste: &str| -> (Vec<Row>, String) {
        lpc.write("study.toml", study(cues, taste));
        let arguments = ["reproduce", "reviews", "--recipe", "matrix.toml", "--study", "study.toml"];
        lpc.ok(&[&arguments[..], &["--runs", &format!("runs/{name}"), "--reports", name]].concat());
        let csv = lpc.path(name).join("toy-own/reviews.csv");
        let rows = csv::Reader::from_path(csv).unwrap().deserialize().map(Result::unwrap).collect();
        let runs = std::fs::read_dir(lpc.path("runs").join(name)).unwrap().map(|e| e.unwrap().path());
        let gumbel = |run: &PathBuf| {
            std::fs::read_to_string(run.join("recipe.toml")).is_ok_and(|text| text.contains("gumbel"))
        };
        let kept = runs.into_iter().find(gumbel).unwrap();
        (rows, lpc.ok(&["codes", kept.to_str().unwrap()]))
    };
    let test = |rows: &[Row], name: &str| {
        rows.iter().find(|r| r["kind"] == "test" && r["name"] == name).unwrap().clone()
    };
    // Of `lpc codes`: information about a label, and its p.
    let told = |printed: &str, label: &str| -> (f64, f64, f64) {
        let line = printed.lines().find(|l| l.starts_with(&format!("| {label} |"))).unwrap();
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (_, high) = cells[3].split_once(" to ").unwrap();
        let p = cells[4].trim_start_matches('<').parse().unwrap();
        (cells[2].parse().unwrap(), high.parse().unwrap(), p)
    };
    let taste = "taste: source and cue";

    let (_, codes) = run("shown", "shown", "by-source");
    assert!(p_of_votes("shown") <= 0.001);
    assert!(told(&codes, "source").2 <= 0.001 && told(&codes, taste).2 <= 0.001, "{codes}");

    let (exchanged, codes) = run("exchanged", "exchanged", "by-source");
    // Where rounding differs training is another draw: 1 in 500 orders, not 1 in 20, is out of the null.
    assert!(p_of_votes("exchanged") > 0.002);
    // Nothing is there to be learnt of sources, and nothing was.
    assert_ne!(test(&exchanged, "clusters")["verdict"], "supported");
    for label in ["source", taste] {
        let (found, high, p) = told(&codes, label);
        assert!(p > 0.002, "{label}: {found}, by chance up to {high}, p = {p}");
    }

    let (one, _) = run("one", "shown", "one");
    let advantage = test(&one, "advantage");
    assert_eq!(advantage["verdict"], "supported", "{advantage:?}");
    assert!(number(&advantage, "low") <= 0.0, "{advantage:?}");
    // The one taste is learnt: the ceiling is far, but not chance.
    let dpo = one.iter().find(|r| r["kind"] == "arm" && r["name"] == "DPO").unwrap();
    assert!(number(dpo, "low") > 0.5, "{dpo:?}");
}
