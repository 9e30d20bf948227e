//! The leaderboard's own annotations of 28 models, when `LPC_ALPACA_EVAL` names a folder with
//! annotations.csv, instruction_difficulty.csv, published.csv and peer_fit.csv.

use crate::program::Lpc;
use crate::winrate::table;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("LPC_ALPACA_EVAL").map(|folder| std::path::absolute(folder).unwrap());
    if folder.is_none() {
        println!("skipped: LPC_ALPACA_EVAL names no folder with annotations.csv, published.csv, ...");
    }
    folder
}

fn read(path: &Path) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

fn ours(folder: &Path, arguments: &[&str]) -> HashMap<String, HashMap<String, f64>> {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    let (annotations, difficulty) = (path("annotations.csv"), path("instruction_difficulty.csv"));
    table(
        &Lpc::new(),
        &[&["--annotations", annotations.as_str(), "--difficulty", &difficulty], arguments].concat(),
    )
}

/// The leaderboard's numbers, to the last digits it prints.
#[test]
fn the_leaderboard() {
    let Some(folder) = folder() else { return };
    let published = folder.join("published.csv");
    let ours = ours(&folder, &["--weights", published.to_str().unwrap()]);
    let published = read(&published);
    assert_eq!((ours.len(), published.len()), (28, 28));
    let mut largest: HashMap<&str, f64> = HashMap::new();
    for row in &published {
        let ours = &ours[&row["generator"]];
        assert_eq!(ours["n_total"].to_string(), row["n_total"]);
        // Published for two models only: lc_standard_error.
        for (column, tolerance) in [
            ("win_rate", 1e-9),
            ("standard_error", 1e-9),
            ("length_controlled_winrate", 1e-6),
            ("lc_standard_error", 1e-6),
        ] {
            let Ok(expected) = row[column].parse::<f64>() else { continue };
            let error = (ours[column] - expected).abs();
            assert!(error < tolerance, "{}, {column}: off by {error}", row["generator"]);
            let most = largest.entry(column).or_default();
            *most = most.max(error);
        }
    }
    println!("largest differences from the leaderboard, in points: {largest:?}");
}

/// Our own fits against AlpacaEval's code on the same rows (scikit-learn 1.9.1).
#[test]
fn fits_without_anchors() {
    let Some(folder) = folder() else { return };
    let peer = read(&folder.join("peer_fit.csv"));
    for glm in ["noreg", "minimal"] {
        let started = Instant::now();
        let ours = ours(&folder, &["--glm", glm]);
        let seconds = started.elapsed().as_secs_f64();
        let errors = peer.iter().map(|row| {
            let expected: f64 = row[&format!("length_controlled_{glm}")].parse().unwrap();
            let error = (ours[&row["generator"]]["length_controlled_winrate"] - expected).abs();
            assert!(error < 0.1, "{}: off by {error}", row["generator"]);
            error
        });
        let errors: Vec<f64> = errors.collect();
        assert_eq!(errors.len(), 28);
        let (mean, most) = (errors.iter().sum::<f64>() / 28.0, errors.iter().copied().fold(0.0, f64::max));
        println!(
            "{glm}: mean absolute error {mean:.4}, largest {most:.4} points; {seconds:.2} s for 28 models"
        );
        assert!(seconds < 10.0);
    }
}
