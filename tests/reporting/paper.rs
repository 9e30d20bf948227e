//! The embedded claims against the paper's table, set the way the paper sets it.

use lpc::report::paper::table2;

#[test]
fn the_claims_are_the_papers() {
    let columns = ["Llama3-8B", "Llama3-8B-Instruct", "Mistral-7B"];
    let table = [
        ("DPO", [(69.3, 70.8), (70.1, 69.9), (71.9, 73.4)]),
        ("IPO", [(68.0, 70.6), (68.3, 70.3), (74.2, 74.7)]),
        ("SimPO", [(69.2, 71.8), (74.1, 73.2), (73.5, 75.6)]),
    ];
    assert_eq!(table2().cells.len(), 9);
    for (objective, row) in table {
        for (base, (without, with)) in columns.into_iter().zip(row) {
            let cell = table2().find(base, objective).unwrap();
            assert_eq!((cell.without, cell.with), (without, with), "{}", cell.cell);
            let name = format!("table2/{base}/{objective}").to_lowercase();
            assert_eq!(cell.cell, name);
        }
    }
}

#[test]
fn their_intervals_are_wilsons() {
    // statsmodels: proportion_confint(693, 1000, method="wilson").
    let interval = table2().interval(69.3);
    assert!((interval.low - 66.371_862_3).abs() < 1e-6, "{interval:?}");
    assert!((interval.high - 72.080_424_9).abs() < 1e-6, "{interval:?}");
}
