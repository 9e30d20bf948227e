//! The paper's tables, examined: numbers first, then the committed page.

use lpc::audit::paper::*;
use lpc::report::paper::{table1, table3};
use std::path::Path;

/// Every count there is, printed as the paper prints: no arithmetic shared with the function.
#[test]
fn attainable_is_what_printing_every_count_gives() {
    for (of, decimals) in [(1172, 2), (2376, 2), (1319, 2), (817, 2), (1000, 1), (1610, 2), (3, 0)] {
        let printed: Vec<String> =
            (0..=of).map(|k| format!("{:.decimals$}", 100.0 * k as f64 / of as f64)).collect();
        for step in 0..=(100 * 10usize.pow(decimals as u32)) {
            let value = step as f64 / 10f64.powi(decimals as i32);
            let text = format!("{value:.decimals$}");
            let first = printed.iter().position(|p| *p == text);
            let found = attainable(value, decimals, of);
            // Ties print one way only, and may have been rounded the other.
            let tie = |k: usize| {
                let scaled = 100.0 * k as f64 / of as f64 * 10f64.powi(decimals as i32);
                ((scaled - scaled.floor()) - 0.5).abs() < 1e-6
            };
            match (first, found) {
                (Some(k), Some(range)) => {
                    let last = printed.iter().rposition(|p| *p == text).unwrap();
                    let start = (k..=last).contains(range.start()) || tie(*range.start());
                    let end = (k..=last).contains(range.end()) || tie(*range.end());
                    assert!(
                        start && end && range.contains(&k) && range.contains(&last),
                        "{value} of {of}: {range:?}"
                    );
                }
                (None, Some(range)) => assert!(range.into_iter().all(tie), "{value} of {of}"),
                (None, None) => {}
                (Some(k), None) => panic!("{value} of {of}: {k} prints so"),
            }
        }
    }
}

/// Typed again from the paper's own layout; `-` is what the text at hand does not have.
#[test]
fn the_claims_are_the_papers() {
    let text = "\
        Mistral-7B Base 49.74 80.72 37.30 41.13 52.22 -
        Mistral-7B DPO 55.38 83.33 40.11 48.10 56.73 57.81
        Mistral-7B IPO 58.19 84.76 30.48 48.96 55.60 58.61
        Mistral-7B SimPO 58.11 84.68 31.01 49.33 55.78 55.97
        Llama3-8B Base 50.43 80.05 49.51 43.82 55.95 -
        Llama3-8B DPO 54.01 81.27 54.36 43.70 58.33 58.92
        Llama3-8B IPO 51.37 80.89 50.42 44.19 56.72 57.18
        Llama3-8B SimPO 54.95 81.90 46.02 39.53 55.60 58.54
        Llama3-8B-Instruct Base 52.90 81.52 75.66 46.88 64.24 -
        Llama3-8B-Instruct DPO 54.35 82.24 77.03 47.00 65.16 65.90
        Llama3-8B-Instruct IPO 53.84 81.57 73.69 47.25 64.09 65.06
        Llama3-8B-Instruct SimPO 55.97 83.50 66.79 56.79 65.77 67.48";
    let rows = &table1().rows;
    assert_eq!(rows.len(), 12);
    for (line, row) in text.lines().zip(rows) {
        let mut words = line.split_whitespace();
        let mut word = || words.next().unwrap();
        assert_eq!((word(), word()), (row.base.as_str(), row.objective.as_deref().unwrap_or("Base")));
        let cells: Vec<f64> = (0..4).map(|_| word().parse().unwrap()).collect();
        assert_eq!((cells, word().parse()), (row.without.clone(), Ok(row.average)));
        assert_eq!(word().parse().ok(), row.with_average, "{line}");
        let objective = row.objective.as_deref().unwrap_or("base");
        assert_eq!(row.cell, format!("table1/{}/{objective}", row.base).to_lowercase());
    }
    let pairs: Vec<_> = table3().rows.iter().map(|r| (r.lc, r.wr)).collect();
    let text = [("15.03/13.55", "15.31/13.57"), ("14.44/12.96", "15.04/13.50"), ("12.77/8.12", "15.56/9.63")];
    for ((lc, wr), (without, with)) in pairs.iter().zip(text) {
        let both = |text: &str| {
            let (lc, wr) = text.split_once('/').unwrap();
            (lc.parse::<f64>().unwrap(), wr.parse::<f64>().unwrap())
        };
        assert_eq!(((lc.without, wr.without), (lc.with, wr.with)), (both(without), both(with)));
    }
}

/// From Python: decimal sums of the printed cells, fractions of the counts, scipy and statsmodels.
#[test]
fn findings_equal_pythons() {
    let findings = examine().unwrap();
    assert_eq!(findings.averages.len(), 12);
    for (cell, printed, counts, verdict) in [
        ("table1/mistral-7b/base", 52.2225, 52.223_747_404, "adds up"),
        ("table1/llama3-8b/dpo", 58.335, 58.334_274_065, "adds up"),
        ("table1/llama3-8b-instruct/dpo", 65.155, 65.154_967_155, "adds up from the printed cells only"),
        ("table1/llama3-8b-instruct/simpo", 65.7625, 65.765_137_605, "adds up from the unrounded cells only"),
    ] {
        let a = findings.averages.iter().find(|a| a.cell == cell).unwrap();
        assert!((a.of_printed - printed).abs() < 1e-9, "{cell}: {}", a.of_printed);
        assert!((a.of_counts.unwrap() - counts).abs() < 1e-7, "{cell}: {}", a.of_counts.unwrap());
        assert_eq!(a.verdict(), verdict, "{cell}");
    }
    let attained = |column: &str| {
        let of: Vec<_> = findings.percentages.iter().filter(|p| p.column == column).collect();
        (of.iter().filter(|p| p.counts.is_some()).count(), of.len())
    };
    for column in ["ARC-Challenge", "ARC-Easy", "GSM8K", "TruthfulQA"] {
        assert_eq!(attained(column), (12, 12), "{column}");
    }
    assert_eq!((attained("without LPC"), attained("WR without LPC")), ((9, 9), (0, 3)));
    assert_eq!(attained("WR with LPC"), (1, 3));

    let find = |cell: &str, column: &str| {
        findings.comparisons.iter().find(|c| c.cell == cell && c.column == column).unwrap()
    };
    let close = |got: f64, expected: f64| {
        assert!((got - expected).abs() <= 1e-8 * expected.abs(), "got {got}, expected {expected}");
    };
    let python = [
        (
            "table1/mistral-7b/dpo",
            "average",
            [2.668858446111e-01, 1.000000000000e+00, 1.000000000000e+00],
            6.367312739184e+00,
            -8.265407836204e-01,
            None,
        ),
        (
            "table1/mistral-7b/ipo",
            "average",
            [1.608711724495e-03, 1.447840552046e-02, 3.860908138788e-02],
            7.888518908121e-01,
            1.139712011387e+00,
            None,
        ),
        (
            "table1/mistral-7b/simpo",
            "average",
            [8.423868170856e-01, 1.000000000000e+00, 1.000000000000e+00],
            1.985153480072e+02,
            -1.682815087440e+00,
            None,
        ),
        (
            "table1/llama3-8b/dpo",
            "average",
            [5.463414855952e-01, 1.000000000000e+00, 1.000000000000e+00],
            2.156805865989e+01,
            -1.326910310717e+00,
            None,
        ),
        (
            "table1/llama3-8b/ipo",
            "average",
            [6.390715331240e-01, 1.000000000000e+00, 1.000000000000e+00],
            3.568345556365e+01,
            -1.462363614088e+00,
            None,
        ),
        (
            "table1/llama3-8b/simpo",
            "average",
            [2.467514996748e-03, 1.974011997398e-02, 5.675284492521e-02],
            8.564414010033e-01,
            1.036554656580e+00,
            None,
        ),
        (
            "table1/llama3-8b-instruct/dpo",
            "average",
            [4.328741409737e-01, 1.000000000000e+00, 1.000000000000e+00],
            1.276033867891e+01,
            -1.109298741627e+00,
            None,
        ),
        (
            "table1/llama3-8b-instruct/ipo",
            "average",
            [3.090268536111e-01, 1.000000000000e+00, 1.000000000000e+00],
            7.584701985015e+00,
            -8.988964912317e-01,
            None,
        ),
        (
            "table1/llama3-8b-instruct/simpo",
            "average",
            [7.477202405311e-02, 5.234041683717e-01, 1.000000000000e+00],
            2.472067899085e+00,
            -1.709210278208e-01,
            None,
        ),
        (
            "table2/llama3-8b/dpo",
            "accuracy",
            [4.640011770447e-01, 1.000000000000e+00, 1.000000000000e+00],
            1.463609217276e+04,
            -2.514277066069e+00,
            Some(51),
        ),
        (
            "table2/llama3-8b-instruct/dpo",
            "accuracy",
            [9.222578596521e-01, 1.000000000000e+00, 1.000000000000e+00],
            8.241311931690e+05,
            -4.216721326871e+00,
            Some(0),
        ),
        (
            "table2/mistral-7b/dpo",
            "accuracy",
            [4.517782586570e-01, 1.000000000000e+00, 1.000000000000e+00],
            1.386152983358e+04,
            -2.406592229376e+00,
            Some(51),
        ),
        (
            "table2/llama3-8b/ipo",
            "accuracy",
            [2.075102944801e-01, 1.000000000000e+00, 1.000000000000e+00],
            4.939226261360e+03,
            -1.441348782327e+00,
            Some(162),
        ),
        (
            "table2/llama3-8b-instruct/ipo",
            "accuracy",
            [3.322608464429e-01, 1.000000000000e+00, 1.000000000000e+00],
            8.348106028068e+03,
            -2.042004600887e+00,
            Some(94),
        ),
        (
            "table2/mistral-7b/ipo",
            "accuracy",
            [7.976833807711e-01, 1.000000000000e+00, 1.000000000000e+00],
            1.194397763243e+05,
            -3.322819188479e+00,
            Some(0),
        ),
        (
            "table2/llama3-8b/simpo",
            "accuracy",
            [2.023688911383e-01, 1.000000000000e+00, 1.000000000000e+00],
            4.828320193657e+03,
            -1.395693160625e+00,
            Some(162),
        ),
        (
            "table2/llama3-8b-instruct/simpo",
            "accuracy",
            [6.477961066249e-01, 1.000000000000e+00, 1.000000000000e+00],
            3.760905388281e+04,
            -4.761153922103e+00,
            Some(17),
        ),
        (
            "table2/mistral-7b/simpo",
            "accuracy",
            [2.810140178823e-01, 1.000000000000e+00, 1.000000000000e+00],
            6.752408198574e+03,
            -1.716845558444e+00,
            Some(103),
        ),
        (
            "table3/dpo",
            "LC",
            [8.755653055276e-01, 1.000000000000e+00, 1.000000000000e+00],
            2.576645480373e+05,
            -3.224526636450e+00,
            None,
        ),
        (
            "table3/dpo",
            "WR",
            [9.906490478756e-01, 1.000000000000e+00, 1.000000000000e+00],
            4.599939455634e+07,
            -3.324662908714e+00,
            None,
        ),
        (
            "table3/ipo",
            "LC",
            [7.341901067264e-01, 1.000000000000e+00, 1.000000000000e+00],
            5.479849585876e+04,
            -2.863147612173e+00,
            None,
        ),
        (
            "table3/ipo",
            "WR",
            [7.491570562156e-01, 1.000000000000e+00, 1.000000000000e+00],
            6.179755703700e+04,
            -2.769909195359e+00,
            None,
        ),
        (
            "table3/simpo",
            "LC",
            [1.084355683628e-01, 6.506134101770e-01, 1.000000000000e+00],
            2.450763078371e+03,
            -6.137512343458e-01,
            None,
        ),
        (
            "table3/simpo",
            "WR",
            [2.867568256195e-01, 1.000000000000e+00, 1.000000000000e+00],
            5.566698507751e+03,
            -1.267250112704e+00,
            None,
        ),
    ];
    assert_eq!(findings.comparisons.len(), python.len());
    for (cell, column, p, needed, low, most_changed) in python {
        let c = find(cell, column);
        for (got, expected) in [c.p, c.holm_table, c.holm_all].into_iter().zip(p) {
            close(got, expected);
        }
        let (Needed::Examples(n) | Needed::Times(n)) = c.needed;
        close(n, needed);
        close(c.low, low);
        assert_eq!(c.most_changed, most_changed, "{cell}");
    }
}

/// The page as committed; after the numbers, so that it is never the only witness.
#[test]
fn the_committed_report_is_what_the_audit_writes() {
    let findings = examine().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, text) in
        [("paper-audit.md", markdown(&findings).into_bytes()), ("paper-audit.csv", csv(&findings).unwrap())]
    {
        let committed = std::fs::read(root.join("reports").join(name)).unwrap();
        assert!(committed == text, "reports/{name} is not what `lpc audit paper` writes");
    }
}
