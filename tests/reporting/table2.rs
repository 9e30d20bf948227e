//! Table 2 from synthetic records: every number in the CSV recomputed here, another way.

use crate::synthetic;
use lpc::plan::Scale;
use lpc::report::document::markdown::marked;
use lpc::report::table2::*;
use lpc::run::records::Record;
use statrs::distribution::{ContinuousCDF, StudentsT};
use std::collections::HashMap;

fn run(base: u64, seed: u64, n: usize, accuracy: f64) -> RunSummary {
    RunSummary {
        run_id: format!("{base:08x}{seed:08x}"),
        seed,
        records: synthetic(1000 * base + seed, n, accuracy),
        latent: None,
    }
}

fn cell(base: &str, objective: &str, latent: bool, runs: Vec<RunSummary>) -> Cell {
    Cell { base: base.into(), objective: objective.into(), latent, runs }
}

/// Two base models, three objectives: a clear gain, a clear loss, noise, one seed, a missing side.
fn input() -> Input {
    let runs =
        |tag: u64, seeds: &[u64], accuracy: f64| seeds.iter().map(|s| run(tag, *s, 240, accuracy)).collect();
    let (a, b) = ("Mistral-shaped", "Other");
    let base = |name: &str, paper: Option<&str>, accuracy| BaseModel {
        name: name.into(),
        paper: paper.map(Into::into),
        accuracy,
    };
    Input {
        scale: Scale::Toy,
        notes: vec!["Synthetic.".into()],
        bases: vec![
            base(a, Some("Mistral-7B"), Some(Proportion { correct: 121, total: 240 })),
            base(b, None, None),
        ],
        cells: vec![
            cell(a, "DPO", false, runs(1, &[1, 2, 3], 0.55)),
            cell(a, "DPO", true, runs(2, &[1, 2, 3], 0.85)),
            cell(a, "IPO", false, runs(3, &[3, 1, 2], 0.8)),
            cell(a, "IPO", true, runs(4, &[0, 1, 2], 0.5)),
            cell(a, "SimPO", false, runs(5, &[1, 2, 3], 0.7)),
            cell(a, "SimPO", true, runs(6, &[1, 2, 3], 0.8)),
            cell(b, "DPO", false, runs(7, &[1], 0.7)),
            cell(b, "DPO", true, runs(8, &[1], 0.71)),
            cell(b, "IPO", true, runs(9, &[1, 2], 0.6)),
        ],
        margin: Some(0.03),
    }
}

/// (base model, objective, quantity, source, statistic) -> (value, run ids).
type Sheet = HashMap<[String; 5], (String, String)>;

fn sheet(csv_text: &[u8]) -> Sheet {
    let mut reader = csv::Reader::from_reader(csv_text);
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        let key = [1, 2, 3, 4, 5].map(|i| row[i].to_string());
        (key, (row[7].to_string(), row[8].to_string()))
    });
    let rows: Vec<_> = rows.collect();
    let count = rows.len();
    let sheet: Sheet = rows.into_iter().collect();
    assert_eq!(sheet.len(), count, "a row a cell and statistic");
    sheet
}

fn text<'a>(sheet: &'a Sheet, key: [&str; 5]) -> &'a str {
    &sheet.get(&key.map(String::from)).unwrap_or_else(|| panic!("no row {key:?}")).0
}

fn value(sheet: &Sheet, key: [&str; 5]) -> f64 {
    text(sheet, key).parse().unwrap()
}

/// The CSV's own precision: eight decimals, or eight digits after the first.
fn close(got: f64, expected: f64, what: &str) {
    let tolerance = 6e-9f64.max(6e-9 * expected.abs());
    assert!((got - expected).abs() <= tolerance, "{what}: CSV says {got}, recomputed {expected}");
}

/// Mean, standard error and degrees of freedom from sums of squares by the textbook shortcut
/// (Σ of squared totals), not by deviations as the library does.
fn crossed(x: &[Vec<f64>]) -> (f64, f64, f64) {
    let (s, n) = (x.len() as f64, x[0].len() as f64);
    let all = x.iter().flatten().sum::<f64>();
    let correction = all * all / (s * n);
    let total = x.iter().flatten().map(|v| v * v).sum::<f64>() - correction;
    if x.len() == 1 {
        return (all / n, (total / (n - 1.0) / n).sqrt(), n - 1.0);
    }
    let seeds = x.iter().map(|r| r.iter().sum::<f64>().powi(2)).sum::<f64>() / n - correction;
    let columns = (0..x[0].len()).map(|e| x.iter().map(|r| r[e]).sum::<f64>().powi(2)).sum::<f64>();
    let examples = columns / s - correction;
    let rest = total - seeds - examples;
    let df = [s - 1.0, n - 1.0, (s - 1.0) * (n - 1.0)];
    let [a, b, r] = [seeds / df[0], examples / df[1], rest / df[2]];
    let sum = r + (a - r).max(0.0) + (b - r).max(0.0);
    let freedom = sum * sum / (a * a / df[0] + b * b / df[1] + r * r / df[2]);
    (all / (s * n), (sum / (s * n)).sqrt(), freedom.max(df[0].min(df[1])))
}

fn check_estimate(sheet: &Sheet, cell: [&str; 3], statistic: &str, x: &[Vec<f64>]) {
    let get = |statistic| value(sheet, [cell[0], cell[1], cell[2], "", statistic]);
    let (mean, error, freedom) = crossed(x);
    close(get(statistic), 100.0 * mean, "mean");
    close(get("standard_error"), 100.0 * error, "standard error");
    close(get("degrees_of_freedom"), freedom, "degrees of freedom");
    let t = StudentsT::new(0.0, 1.0, freedom).unwrap();
    let (low, high) = (get("low"), get("high"));
    close((low + high) / 2.0, 100.0 * mean, "the middle of the interval");
    let covered = 1.0 - 2.0 * t.sf((high - low) / 2.0 / (100.0 * error));
    assert!((covered - 0.95).abs() < 1e-7, "{covered}");
}

/// Of one seed's verdicts: the roots of (p − share)² = z² p (1 − p) / n.
fn check_wilson(sheet: &Sheet, cell: [&str; 3], x: &[f64]) {
    let (n, z) = (x.len() as f64, 1.959_963_984_540_054_f64);
    let share = x.iter().sum::<f64>() / n;
    let get = |statistic| value(sheet, [cell[0], cell[1], cell[2], "", statistic]) / 100.0;
    close(get("accuracy"), share, "share");
    for end in ["low", "high"] {
        let p = get(end);
        assert!(((p - share).powi(2) - z * z * p * (1.0 - p) / n).abs() < 1e-9, "{end}: {p}");
    }
}

fn answers(run: &RunSummary) -> Vec<f64> {
    run.records.iter().map(|r| if r.margin > 0.0 { 1.0 } else { 0.0 }).collect()
}

/// The true probability of the label that the policy prefers.
fn probabilities(run: &RunSummary) -> Vec<f64> {
    run.records
        .iter()
        .map(|r| if r.margin > 0.0 { r.bayes.unwrap() } else { 1.0 - r.bayes.unwrap() })
        .collect()
}

/// With minus without, a row a seed that both ran.
fn differences(
    without: &[RunSummary],
    with: &[RunSummary],
    score: fn(&RunSummary) -> Vec<f64>,
) -> Vec<Vec<f64>> {
    let both = with.iter().filter_map(|b| Some((without.iter().find(|a| a.seed == b.seed)?, b)));
    both.map(|(a, b)| score(b).iter().zip(score(a)).map(|(b, a)| b - a).collect()).collect()
}

/// A file of the exhibit, as `lpc report` writes it.
fn file(name: &str, input: &Input) -> Vec<u8> {
    let files = exhibit(input).unwrap().files;
    files.into_iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn markdown_of(input: &Input) -> String {
    String::from_utf8(file("table2.md", input)).unwrap()
}

#[test]
fn every_number_in_the_csv_follows_from_the_records() {
    let input = input();
    let sheet = sheet(&file("table2.csv", &input));
    let find = |base: &str, objective: &str, latent| {
        let mut runs = input
            .cells
            .iter()
            .find(|c| c.base == base && c.objective == objective && c.latent == latent)
            .map_or(vec![], |c| c.runs.clone());
        runs.sort_by_key(|r| r.seed);
        runs
    };
    let (mut tests, mut measured) = (vec![], vec![]);
    for base in ["Mistral-shaped", "Other"] {
        for objective in ["DPO", "IPO", "SimPO"] {
            let arms = [find(base, objective, false), find(base, objective, true)];
            for (quantity, runs) in ["without", "with"].into_iter().zip(&arms) {
                let key = [base, objective, quantity, "", "accuracy"];
                if runs.is_empty() {
                    assert_eq!(text(&sheet, key), "not run");
                    continue;
                }
                let x: Vec<_> = runs.iter().map(answers).collect();
                match x.as_slice() {
                    [one] => check_wilson(&sheet, [base, objective, quantity], one),
                    _ => check_estimate(&sheet, [base, objective, quantity], "accuracy", &x),
                }
                let ids: Vec<_> = runs.iter().map(|r| r.run_id.as_str()).collect();
                assert_eq!(sheet[&key.map(String::from)].1, ids.join(" "));
                for (run, x) in runs.iter().zip(&x) {
                    let key = [base, objective, quantity, "", &format!("accuracy of seed {}", run.seed)];
                    close(value(&sheet, key), x.iter().sum::<f64>() / 2.4, "one seed");
                    assert_eq!(sheet[&key.map(String::from)].1, run.run_id);
                }
                for source in ["flan", "sharegpt", "truthful | qa"] {
                    let of: Vec<&Record> =
                        runs.iter().flat_map(|r| &r.records).filter(|r| r.source == source).collect();
                    let right = of.iter().filter(|r| r.margin > 0.0).count() as f64;
                    let got = value(&sheet, [base, objective, quantity, source, "accuracy"]);
                    close(got, 100.0 * right / of.len() as f64, source);
                }
            }
            let pairs: Vec<_> = arms[0]
                .iter()
                .filter_map(|a| Some((a, arms[1].iter().find(|b| b.seed == a.seed)?)))
                .collect();
            let key = |statistic| [base, objective, "difference", "", statistic];
            if pairs.is_empty() {
                assert_eq!(text(&sheet, key("difference")), "not run");
                continue;
            }
            let x = differences(&arms[0], &arms[1], probabilities);
            let cell = [base, objective, "difference"];
            check_estimate(&sheet, cell, "difference", &x);
            let labels = differences(&arms[0], &arms[1], answers);
            close(value(&sheet, key("difference, labels as drawn")), 100.0 * crossed(&labels).0, "labels");
            if labels.len() > 1 {
                close(
                    value(&sheet, key("standard_error, labels as drawn")),
                    100.0 * crossed(&labels).1,
                    "labels",
                );
            }
            let ids: Vec<_> = pairs.iter().flat_map(|(a, b)| [a.run_id.as_str(), &b.run_id]).collect();
            assert_eq!(sheet[&key("difference").map(String::from)].1, ids.join(" "));
            close(value(&sheet, key("seeds")), pairs.len() as f64, "seeds");
            tests.push(tested(&sheet, cell, &x));
            measured.push((objective, pairs.iter().map(|(a, _)| a.seed).collect::<Vec<_>>(), x));
        }
    }
    // DPO has two cells, all objectives four; their only common seed is 1. Nothing else is a mean of several.
    for (name, cells) in [("DPO", 2), ("all", 4)] {
        let of = measured.iter().filter(|(objective, ..)| name == "all" || *objective == name);
        let of: Vec<&Vec<f64>> =
            of.map(|(_, seeds, x)| &x[seeds.iter().position(|s| *s == 1).unwrap()]).collect();
        assert_eq!(of.len(), cells);
        let mean = (0..240).map(|e| of.iter().map(|x| x[e]).sum::<f64>() / cells as f64).collect();
        let cell = ["all", name, "difference"];
        check_estimate(&sheet, cell, "difference", &[mean]);
        tests.push(tested(
            &sheet,
            cell,
            &[(0..240).map(|e| of.iter().map(|x| x[e]).sum::<f64>() / cells as f64).collect()],
        ));
    }
    assert!(!sheet.contains_key(&["all", "IPO", "difference", "", "difference"].map(String::from)));
    // Holm by its definition: the largest of (m − rank) · p over everything at most as large.
    let m = tests.len();
    assert_eq!(m, 6);
    for test in &tests {
        for kind in 0..2 {
            let rank = |q: f64| tests.iter().filter(|other| other.p[kind] < q).count();
            let below = tests.iter().filter(|other| other.p[kind] <= test.p[kind]);
            let of = |other: &Tested| other.p[kind] * (m - rank(other.p[kind])) as f64;
            let expected = below.map(of).fold(0.0, f64::max).min(1.0);
            close(test.holm[kind], expected, "Holm");
        }
        let right = match (test.holm[0] < 0.05, test.mean > 0.0, test.holm[1] < 0.05) {
            (true, true, _) => "supported",
            (true, false, _) => "refuted",
            (false, _, true) => "no difference",
            (false, _, false) => "undecided",
        };
        assert_eq!(test.verdict, right);
    }
    assert!(
        tests.iter().any(|t| t.p[0] < 0.05 && t.holm[0] >= 0.05),
        "a case that Holm's correction decides"
    );
    let verdicts: Vec<_> = tests.iter().map(|t| t.verdict.as_str()).collect();
    assert!(verdicts.contains(&"supported") && verdicts.contains(&"undecided"), "{verdicts:?}");
}

/// Two p-values, of a difference and of none beyond the margin, and what became of them in the CSV.
struct Tested {
    p: [f64; 2],
    holm: [f64; 2],
    mean: f64,
    verdict: String,
}

fn tested(sheet: &Sheet, cell: [&str; 3], x: &[Vec<f64>]) -> Tested {
    let get = |statistic| [cell[0], cell[1], cell[2], "", statistic];
    let (mean, error, freedom) = crossed(x);
    let t = StudentsT::new(0.0, 1.0, freedom).unwrap();
    let difference = 2.0 * t.sf((mean / error).abs());
    close(value(sheet, get("p_value")), difference, "p");
    let margin = 0.03;
    let equivalence = t.sf((mean + margin) / error).max(t.cdf((mean - margin) / error));
    // Two-sided at 0.05 over six comparisons, with 80 % power.
    let reach = t.inverse_cdf(1.0 - 0.05 / 6.0 / 2.0) + t.inverse_cdf(0.8);
    close(value(sheet, get("detectable")), 100.0 * reach * error, "detectable");
    Tested {
        p: [difference, equivalence],
        holm: [value(sheet, get("p_holm")), value(sheet, get("p_equivalence_holm"))],
        mean,
        verdict: text(sheet, get("verdict")).into(),
    }
}

/// Three base models and three seeds: the seeds' mean square is that of the three cells, the mean of the cells is
/// taken seed by seed and pair by pair.
#[test]
fn cells_share_the_variance_of_seeds_and_are_pooled() {
    let names = ["A", "B", "C"];
    let mut cells = vec![];
    for (i, base) in names.iter().enumerate() {
        for latent in [false, true] {
            let tag = 2 * i as u64 + u64::from(latent);
            let runs = [1, 2, 3].map(|seed| run(tag, seed, 120, 0.6 + 0.05 * seed as f64));
            cells.push(cell(base, "DPO", latent, runs.to_vec()));
        }
    }
    let base = |name: &&str| BaseModel { name: name.to_string(), paper: None, accuracy: None };
    let bases = names.iter().map(base).collect();
    let input = Input { scale: Scale::Toy, notes: vec![], bases, cells, margin: None };
    let sheet = sheet(&file("table2.csv", &input));
    let runs = |base: &str, latent| {
        input.cells.iter().find(|c| c.base == base && c.latent == latent).map(|c| c.runs.clone()).unwrap()
    };
    let x = names.map(|base| differences(&runs(base, false), &runs(base, true), probabilities));
    let (s, n) = (3.0, 120.0);
    // Mean squares of seeds, pairs and the rest.
    let squares = |x: &[Vec<f64>]| {
        let mean = x.iter().flatten().sum::<f64>() / (s * n);
        let seeds = x.iter().map(|r| (r.iter().sum::<f64>() / n - mean).powi(2)).sum::<f64>() * n;
        let column = |e: usize| x.iter().map(|r| r[e]).sum::<f64>() / s;
        let pairs = (0..120).map(|e| (column(e) - mean).powi(2)).sum::<f64>() * s;
        let all = x.iter().flatten().map(|v| (v - mean).powi(2)).sum::<f64>();
        [seeds / (s - 1.0), pairs / (n - 1.0), (all - seeds - pairs) / ((s - 1.0) * (n - 1.0))]
    };
    let of_seeds = x.iter().map(|x| squares(x)[0]).sum::<f64>() / 3.0;
    for (base, x) in names.iter().zip(&x) {
        let [_, pairs, rest] = squares(x);
        let sum = rest + (of_seeds - rest).max(0.0) + (pairs - rest).max(0.0);
        let of = |statistic| value(&sheet, [base, "DPO", "difference", "", statistic]);
        close(of("standard_error"), 100.0 * (sum / (s * n)).sqrt(), "standard error");
        let df = [3.0 * (s - 1.0), n - 1.0, (s - 1.0) * (n - 1.0)];
        let spread = of_seeds * of_seeds / df[0] + pairs * pairs / df[1] + rest * rest / df[2];
        close(of("degrees_of_freedom"), (sum * sum / spread).max(6.0), "degrees of freedom");
    }
    let mean: Vec<Vec<f64>> =
        (0..3).map(|i| (0..120).map(|e| x.iter().map(|x| x[i][e]).sum::<f64>() / 3.0).collect()).collect();
    check_estimate(&sheet, ["all", "DPO", "difference"], "difference", &mean);
    assert!(!sheet.contains_key(&["all", "all", "difference", "", "difference"].map(String::from)));
}

#[test]
fn floor_ceiling_and_paper_in_the_csv() {
    let input = input();
    let sheet = sheet(&file("table2.csv", &input));
    let base = |quantity, statistic| value(&sheet, ["Mistral-shaped", "", quantity, "", statistic]);
    close(base("base", "accuracy"), 100.0 * 121.0 / 240.0, "base");
    let bayes: Vec<f64> = input.cells[0].runs[0].records.iter().map(|r| r.bayes.unwrap()).collect();
    let likelier: f64 = bayes.iter().map(|p| 0.5 + (p - 0.5).abs()).sum();
    close(base("bayes_expected", "accuracy"), likelier / 2.4, "expected");
    let right = bayes.iter().filter(|p| **p > 0.5).count();
    close(base("bayes_realised", "accuracy"), right as f64 / 2.4, "realised");
    close(value(&sheet, ["Mistral-shaped", "IPO", "paper_with", "", "accuracy"]), 74.7, "paper");
    assert!(!sheet.contains_key(&["Other", "DPO", "paper_with", "", "accuracy"].map(String::from)));
}

/// Four pairs, one seed: right, wrong, right, wrong against right, right, right, wrong.
fn four() -> Input {
    let records = |correct: [bool; 4]| {
        let mut records = synthetic(1, 4, 0.5);
        for (record, right) in records.iter_mut().zip(correct) {
            (record.correct, record.margin) = (right, if right { 1.0 } else { -1.0 });
            record.bayes = None;
        }
        records
    };
    let run = |id: &str, correct| RunSummary {
        run_id: id.into(),
        seed: 9,
        records: records(correct),
        latent: None,
    };
    Input {
        scale: Scale::Toy,
        notes: vec![],
        bases: vec![BaseModel { name: "Tiny".into(), paper: Some("Mistral-7B".into()), accuracy: None }],
        cells: vec![
            cell("Tiny", "DPO", false, vec![run("aaaa", [true, false, true, false])]),
            cell("Tiny", "DPO", true, vec![run("bbbb", [true, true, true, false])]),
            cell("Tiny", "IPO", true, vec![]),
        ],
        margin: None,
    }
}

#[test]
fn the_markdown_reads_as_promised() {
    let markdown = markdown_of(&four());
    // Wilson's intervals of 2 and 3 of 4, Tango's of one gained of 4, by scipy; McNemar's exact p.
    let main = marked("table2", &markdown).unwrap();
    let row = "| Tiny | DPO | 50.0 [15.0, 85.0] | 75.0 [30.1, 95.4] | +25.00 [-36.24, +69.94] | 1.000 | – | 112.70 | undecided | 71.9 → 73.4 |\n";
    assert!(main.contains(row), "{main}");
    assert!(
        main.contains("| Tiny | IPO | not run | not run | not run | – | – | – | not run | 74.2 → 74.7 |\n"),
        "{main}"
    );
    assert!(main.starts_with(
        "The toy scale, not the paper's: preference accuracy in % on 4 held-out pairs, 1 training seed per cell"
    ));
    for text in [
        "# Table 2 at the toy scale\n",
        "The one comparison: undecided; 1 not run.",
        "- Tiny, DPO: **undecided**: the difference may lie on either side of 0; no margin was stated. After correction \
         p = 1.000; detectable with 80 % power: 112.70 points.",
        "- Tiny, IPO: not run.",
        "| Tiny | not run | unknown | unknown |",
        "| table2/mistral-7b/dpo | Mistral-7B | DPO | 71.9 [69.0, 74.6] | 73.4 [70.6, 76.0] | +1.5 |",
        "| Tiny | DPO | without | 9 | `aaaa` |\n| Tiny | DPO | with | 9 | `bbbb` |\n",
    ] {
        assert!(markdown.contains(text), "expected {text:?} in\n{markdown}");
    }
    // Every table row has as many cells as its header; a bar in a source's name is escaped.
    let full = markdown_of(&input());
    assert!(full.contains("By probability: a pair counts the true probability"), "{full}");
    assert!(full.contains("truthful \\| qa ("));
    let mut width = None;
    for line in full.lines() {
        let cells = line.starts_with('|').then(|| line.replace("\\|", "").matches('|').count());
        assert!(width.is_none() || cells.is_none() || width == cells, "{line}");
        width = cells;
    }
}

#[test]
fn the_same_records_give_the_same_bytes() {
    let files = |input: &Input| exhibit(input).unwrap().files;
    let first = files(&input());
    assert_eq!(files(&input()), first);
    // The order in which runs come back does not matter, that of cells only orders the rows.
    let mut shuffled = input();
    shuffled.cells.iter_mut().for_each(|c| c.runs.reverse());
    assert_eq!(files(&shuffled), first);
}

#[test]
fn input_that_cannot_be_compared_is_refused() {
    let refused = |change: fn(&mut Input), text: &str| {
        let mut input = input();
        change(&mut input);
        let message = exhibit(&input).err().unwrap().to_string();
        assert!(message.contains(text), "{message}");
    };
    refused(|i| i.cells[0].base = "Elsewhere".into(), "cell.base = Elsewhere");
    refused(|i| i.cells[1].latent = false, "cell = Mistral-shaped, DPO, latent = false, expected given once");
    refused(|i| i.cells[0].runs[1].seed = 1, "seed = 1, expected given once");
    refused(|i| i.cells[1].runs[0].records[5].id = "another".into(), "run = 0000000200000001, expected");
    refused(|i| drop(i.cells[1].runs[0].records.pop()), "tested on the pairs of run 0000000100000001");
    refused(|i| i.cells[1].runs[0].records[5].bayes = Some(0.9), "tested on the pairs of run");
    refused(
        |i| i.bases[0].paper = Some("GPT".into()),
        "base.paper = GPT, expected a model of the paper's table",
    );
    refused(|i| i.bases[0].accuracy = Some(Proportion { correct: 3, total: 2 }), "3 of 2");
}

/// An own objective has a row, with no published numbers.
#[test]
fn an_objective_that_the_paper_lacks() {
    let mut input = input();
    let base = input.bases.iter().find(|base| base.paper.is_some()).unwrap().name.clone();
    for cell in &mut input.cells {
        if cell.base == base && cell.objective == "DPO" {
            cell.objective = "RSO".into();
        }
    }
    let summary = summarise(&input).unwrap();
    let published = |objective: &str| {
        let row = summary.rows.iter().find(|row| row.base == base && row.objective == objective);
        row.unwrap().published.is_some()
    };
    assert!(!published("RSO") && published("DPO"));
}

#[test]
fn the_figure_shows_every_cell() {
    let input = input();
    let summary = summarise(&input).unwrap();
    let svg = figure(&summary).unwrap();
    // Circles without LPC are drawn twice (fill and rim), and once more in the legend; differences have one each:
    // four cells, two means, and the legend's.
    let count = |what: &str| svg.matches(what).count();
    assert_eq!(count("<circle"), 2 * (4 + 1) + 4 + 2 + 1);
    assert_eq!(count("<polygon"), 5 + 1);
    assert_eq!(count("not run"), 3);
    assert!(svg.contains("toy scale (not the paper"));
}

/// Means over seeds; a cell without LPC, or whose runs do not say, has no row.
#[test]
fn the_latents_of_a_cell_are_averaged() {
    let with = |run: RunSummary, kl: f64| RunSummary {
        latent: Some(LatentSummary { kl, prior_entropy: 3.0, code_perplexity: 20.0 }),
        ..run
    };
    let runs = vec![with(run(1, 1, 30, 0.6), 0.25), with(run(1, 2, 30, 0.6), 0.75)];
    let base = BaseModel { name: "tiny".into(), paper: None, accuracy: None };
    let cells = vec![cell("tiny", "DPO", true, runs), cell("tiny", "DPO", false, vec![run(2, 1, 30, 0.6)])];
    let input = Input { scale: Scale::Toy, notes: vec![], bases: vec![base], cells, margin: None };
    let markdown = markdown_of(&input);
    let (_, section) = markdown.split_once("## The latent after training").unwrap();
    assert_eq!(section.matches("| tiny | DPO | 0.50 | 3.00 | 20.00 |").count(), 1, "{section}");
}
