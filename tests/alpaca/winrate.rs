//! `lpc winrate` on made-up annotations, against AlpacaEval's own code (fixtures/alpaca_eval).

use crate::http::{COMMIT, reply, serve};
use crate::program::Lpc;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/alpaca_eval").join(name)
}

pub fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap()
}

/// Runs `lpc winrate` and returns the numbers of each generator by column.
pub fn table(lpc: &Lpc, arguments: &[&str]) -> HashMap<String, HashMap<String, f64>> {
    let printed = lpc.ok(&[&["winrate"], arguments].concat());
    let mut reader = csv::Reader::from_reader(printed.as_bytes());
    let headers = reader.headers().unwrap().clone();
    let row = |record: csv::StringRecord| {
        let numbers = headers.iter().zip(&record).skip(1).map(|(h, v)| (h.to_string(), v.parse().unwrap()));
        (record[0].to_string(), numbers.collect())
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

const NAMES: [&str; 3] = ["v1", "noreg", "minimal"];

fn path(name: &str) -> String {
    fixture(name).to_str().unwrap().to_string()
}

fn columns(result: &Value) -> impl Iterator<Item = (&'static str, f64)> + '_ {
    ["win_rate", "standard_error", "length_controlled_winrate", "lc_standard_error"]
        .into_iter()
        .map(|column| (column, result[column].as_f64().unwrap()))
}

/// With liblinear's tolerance at 1e-14 AlpacaEval's code and ours solve one problem; with its own
/// tolerance (1e-4) AlpacaEval stops a little before.
#[test]
fn all_three_models_agree_with_alpaca_eval() {
    let (annotations, difficulty, anchors) =
        (path("annotations.csv"), path("difficulty.csv"), path("anchors.csv"));
    let files = ["--annotations", &annotations, "--difficulty", &difficulty, "--anchors", &anchors];
    let (lpc, expected) = (Lpc::new(), expected());
    for name in NAMES {
        let ours = table(&lpc, &[&files[..], &["--glm", name]].concat());
        for (model, results) in expected["models"].as_object().unwrap() {
            let result = &results[format!("length_controlled_{name}")];
            for (column, value) in columns(&result["converged"]) {
                let ours = ours[model][column];
                assert!((ours - value).abs() < 2e-5, "{model}, {name}, {column}: {ours}, expected {value}");
            }
            for (column, value) in columns(&result["as_published"]) {
                let ours = ours[model][column];
                assert!((ours - value).abs() < 0.1, "{model}, {name}, {column}: {ours}, published {value}");
            }
        }
    }
}

/// A weights file as AlpacaEval writes it gives AlpacaEval's numbers without a fit.
#[test]
fn published_weights() {
    let mut text =
        String::from(",np.tanh(std_delta_len),instruction_difficulty,not_gamed_baseline.astype(float)\n");
    let expected = expected();
    for (model, results) in expected["models"].as_object().unwrap() {
        let weights = results["length_controlled_v1"]["as_published"]["weights"].as_array().unwrap();
        let weights: Vec<String> = weights.iter().map(|w| w.to_string()).collect();
        text += &format!("\"{model}\",{}\n", weights.join(","));
    }
    let lpc = Lpc::new();
    lpc.write("weights.csv", text);
    let (annotations, difficulty) = (path("annotations.csv"), path("difficulty.csv"));
    let files = ["--annotations", &annotations, "--difficulty", &difficulty, "--weights", "weights.csv"];
    let ours = table(&lpc, &files);
    for (model, results) in expected["models"].as_object().unwrap() {
        for (column, value) in columns(&results["length_controlled_v1"]["as_published"]) {
            let ours = ours[model][column];
            assert!((ours - value).abs() < 1e-9, "{model}, {column}: {ours}, expected {value}");
        }
    }
}

/// The file without the `column` of the rows that `missing` picks, in every spelling there is in turn.
fn with_gaps(name: &str, column: usize, mut missing: impl FnMut(&csv::StringRecord) -> bool) -> String {
    let mut reader = csv::Reader::from_path(fixture(name)).unwrap();
    let mut writer = csv::Writer::from_writer(vec![]);
    writer.write_record(reader.headers().unwrap()).unwrap();
    let mut spellings = ["", "nan", "NaN", "NA", "null"].into_iter().cycle();
    for record in reader.records().map(Result::unwrap) {
        let gap = missing(&record).then(|| spellings.next().unwrap());
        writer
            .write_record(record.iter().enumerate().map(|(i, v)| gap.filter(|_| i == column).unwrap_or(v)))
            .unwrap();
    }
    String::from_utf8(writer.into_inner().unwrap()).unwrap()
}

/// Verdicts missing in seven patterns, for two models in all three forms: AlpacaEval's numbers.
#[test]
fn missing_verdicts_count_as_in_alpaca_eval() {
    let lpc = Lpc::new();
    let expected = expected();
    let gaps = expected["gaps"].as_object().unwrap();
    let numbers = |v: &Value| v.as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as usize).collect();
    let mut cells = 0;
    for (pattern, gap) in gaps {
        let without: Vec<usize> = numbers(&gap["anchors"]);
        let mut place = 0..;
        let anchors = with_gaps("anchors.csv", 2, |_| without.contains(&place.next().unwrap()));
        let models = gap["models"].as_object().unwrap();
        let missing: HashMap<&str, Vec<usize>> =
            models.iter().map(|(name, gap)| (name.as_str(), numbers(&gap["missing"]))).collect();
        let annotations = with_gaps("annotations.csv", 2, |record| {
            missing.get(&record[0]).is_some_and(|missing| missing.contains(&record[1].parse().unwrap()))
        });
        lpc.write("anchors.csv", anchors);
        lpc.write("annotations.csv", annotations);
        let difficulty = path("difficulty.csv");
        let files =
            ["--annotations", "annotations.csv", "--difficulty", &difficulty, "--anchors", "anchors.csv"];
        for name in NAMES {
            let ours = table(&lpc, &[&files[..], &["--glm", name]].concat());
            for (model, gap) in models {
                let result = &gap["results"][format!("length_controlled_{name}")];
                for (fit, tolerance) in [("converged", 2e-5), ("as_published", 0.1)] {
                    for (column, value) in columns(&result[fit]) {
                        let ours = ours[model][column];
                        assert!(
                            (ours - value).abs() < tolerance,
                            "{pattern}, {model}, {name}, {column}: {ours}, {fit} {value}"
                        );
                        cells += 1;
                    }
                }
                assert_eq!(ours[model]["n_total"], result["n_total"].as_f64().unwrap());
            }
        }
    }
    assert_eq!((gaps.len(), cells), (7, 7 * 2 * 3 * 8));
}

/// Rows of a table whose fields may be empty, the reasons, and the status.
fn with_reasons(lpc: &Lpc, arguments: &[&str]) -> (Vec<Vec<String>>, String, Option<i32>) {
    let output = lpc.run(&[&["winrate"], arguments].concat());
    let rows = csv::Reader::from_reader(output.stdout.as_slice())
        .records()
        .map(|record| record.unwrap().iter().map(String::from).collect())
        .collect();
    (rows, String::from_utf8(output.stderr).unwrap(), output.status.code())
}

/// Models that cannot be fitted, each in its own way, between two that can.
#[test]
fn a_model_without_a_fit_hides_no_other() {
    let lpc = Lpc::new();
    let mut text = String::from("generator,instruction_index,preference,len_output_1,len_output_2\n");
    let mut add = |name: &str, rows: usize, row: &dyn Fn(usize) -> String| {
        (0..rows).for_each(|i| text += &format!("{name},{i},{}\n", row(i)));
    };
    let usual = |i: usize| format!("1.{},{},100", i % 10, 90 + i * i % 37);
    add("first", 30, &usual);
    add("three rows", 3, &usual);
    add("one length", 30, &|i| format!("1.{},100,90", i % 10));
    add("one verdict", 30, &|i| if i == 4 { "1.75,100,90".into() } else { format!(",10{i},90") });
    add("no verdict", 30, &|i| format!(",{i},90"));
    text += "no difficulty,0,1.5,5,6\nno difficulty,90,1.25,5,7\n";
    let mut add = |name: &str| (0..30).for_each(|i| text += &format!("{name},{i},{}\n", usual(i)));
    add("last");
    lpc.write("a.csv", text);
    let difficulty = path("difficulty.csv");
    let both = ["--annotations", "a.csv", "--difficulty", &difficulty];
    let (rows, errors, status) = with_reasons(&lpc, &[&both[..], &["--glm", "noreg"]].concat());
    assert_eq!(status, Some(1), "{errors}");
    let names: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let expected =
        ["first", "three rows", "one length", "one verdict", "no verdict", "no difficulty", "last"];
    assert_eq!(names, expected);
    // By hand: the mean of the shares and, of three, s/√3.
    let share = |n: usize| (0..n).map(|i| 10.0 * (i % 10) as f64).sum::<f64>() / n as f64;
    let number = |row: usize, column: usize| rows[row][column].parse::<f64>().unwrap();
    for (row, rate) in [(0, share(30)), (1, share(3)), (2, share(30)), (3, 75.0), (5, 37.5), (6, share(30))] {
        assert!((number(row, 1) - rate).abs() < 1e-9, "{:?}", rows[row]);
    }
    assert!((number(1, 2) - 10.0 / 3f64.sqrt()).abs() < 1e-9);
    for row in &rows[1..6] {
        assert_eq!(row[3..5], ["", ""], "{row:?}");
    }
    assert_eq!((rows[3][2].as_str(), rows[4][1].as_str(), rows[4][5].as_str()), ("", "", "0"));
    assert_eq!(rows[0][1..], rows[6][1..]);
    assert!(number(0, 3) > 0.0);
    for (model, why) in [
        ("three rows", "rows with a verdict at least 5, got 3"),
        ("one length", "standard deviation of the length differences > 0, got 0"),
        ("one verdict", "rows with a verdict at least 5, got 1"),
        ("no verdict", "verdicts at least 1, got 0"),
        ("no difficulty", "a difficulty for instruction 90 in "),
    ] {
        let line = errors.lines().find(|line| line.contains(&format!("field `{model}`"))).unwrap_or_default();
        assert!(line.contains(why), "{model}: {errors}");
    }
    assert!(!errors.contains("field `first`") && !errors.contains("field `last`"), "{errors}");

    // A model that has no row in a weights file is one of them.
    lpc.write("w.csv", "generator,weight_length,weight_difficulty,weight_constant\nfirst,1,0,0\n");
    let (rows, errors, status) = with_reasons(&lpc, &[&both[..], &["--weights", "w.csv"]].concat());
    assert_eq!((status, rows.len(), rows[0][3].as_str(), rows[6][3].as_str()), (Some(1), 7, "50", ""));
    assert!(errors.contains("a row for `last` in "), "{errors}");
}

#[test]
fn the_baseline_wins_half_against_itself() {
    let lpc = Lpc::new();
    let rows: String = (0..6).map(|i| format!("b,{i},0,10{i},10{i}\n")).collect();
    lpc.write("a.csv", format!("generator,instruction_index,preference,len_output_1,len_output_2\n{rows}"));
    let difficulty = path("difficulty.csv");
    let ours = table(&lpc, &["--annotations", "a.csv", "--difficulty", &difficulty, "--glm", "noreg"]);
    assert_eq!((ours["b"]["win_rate"], ours["b"]["length_controlled_winrate"]), (50.0, 50.0));
    assert_eq!((ours["b"]["standard_error"], ours["b"]["lc_standard_error"]), (0.0, 0.0));
}

#[test]
fn bad_input() {
    const HEADER: &str = "generator,instruction_index,preference,len_output_1,len_output_2\n";
    let lpc = Lpc::new();
    let difficulty = path("difficulty.csv");
    let same_length: String = (0..6).map(|i| format!("m,{i},1.25,100,90\n")).collect();
    let cases = [
        (String::new(), "a.csv"),
        (HEADER.into(), "expected at least one annotation, got none"),
        ("generator,preference\nm,1\n".into(), "a.csv:2: expected a CSV row with the columns"),
        (format!("{HEADER}m,0,1,5\n"), "a.csv:2: expected a CSV row"),
        (format!("{HEADER}m,0,one,5,5\n"), "a.csv:2: expected a CSV row"),
        (format!("{HEADER}m,0,2.5,5,5\n"), "a.csv:2: field `preference`: expected 1 to 2"),
        (format!("{HEADER}m,0,1,5,5\nm,0,2,5,5\n"), "a.csv:3: field `instruction_index`: expected one row"),
        (format!("{HEADER}m,0,1,5,6\nm,1,1,5,7\n"), "rows with a verdict at least 5, got 2"),
        (format!("{HEADER}{same_length}"), "standard deviation of the length differences > 0, got 0"),
        (format!("{HEADER}m,0,1,5,6\nm,90,1,5,7\n"), "a difficulty for instruction 90 in "),
    ];
    for (text, message) in cases {
        lpc.write("a.csv", &text);
        let call = ["winrate", "--annotations", "a.csv", "--difficulty", &difficulty, "--glm", "noreg"];
        let refused = lpc.refused(&call);
        assert!(refused.contains(message), "{text}: {refused}");
    }
    let annotations = path("annotations.csv");
    let both = ["winrate", "--annotations", &annotations, "--difficulty", difficulty.as_str()];
    lpc.write("w.csv", "generator,weight_length,weight_difficulty,weight_constant\nclose,1,1,1\n");
    let refused = lpc.refused(&[&both[..], &["--weights", "w.csv"]].concat());
    assert!(refused.contains("expected for a length-controlled rate a row for `coin` in "), "{refused}");
}

/// A hub with one file of one data set, whole or in parts.
fn hub(path: &'static str, bytes: Vec<u8>) -> String {
    serve(move |request, stream| {
        if request.path != path {
            return reply(stream, 404, &[], b"nothing here");
        }
        let part = request.range(bytes.len());
        let range = format!("bytes {}-{}/{}", part.start, part.end - 1, bytes.len());
        let headers = [("ETag", "\"1\""), ("X-Repo-Commit", COMMIT), ("Content-Range", &range)];
        reply(stream, 206, &headers, &bytes[part]);
    })
}

/// Without --anchors, v1 takes AlpacaEval's own file from the hub, once.
#[test]
fn anchors_come_from_the_hub() {
    let (annotations, difficulty, anchors) =
        (path("annotations.csv"), path("difficulty.csv"), path("anchors.csv"));
    let arguments = ["winrate", "--annotations", &annotations, "--difficulty", &difficulty, "--glm", "v1"];
    let lpc = Lpc::new();
    let with = lpc.ok(&[&arguments[..], &["--anchors", &anchors]].concat());
    let endpoint =
        hub("/datasets/tatsu-lab/alpaca_eval/resolve/main/df_gamed.csv", std::fs::read(&anchors).unwrap());
    let home = tempfile::tempdir().unwrap();
    let run = |endpoint: &str, home: &Path| {
        lpc.command(&arguments).env("HF_ENDPOINT", endpoint).env("HF_HOME", home).output().unwrap()
    };
    // The second time nobody is asked.
    for endpoint in [endpoint.as_str(), "http://127.0.0.1:9"] {
        let output = run(endpoint, home.path());
        assert_eq!(output.stdout, with.as_bytes(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let output = run("http://127.0.0.1:9", elsewhere.path());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors.contains("tatsu-lab/alpaca_eval/df_gamed.csv: expected a file")
            && errors.contains("--anchors FILE"),
        "{errors}"
    );
}
