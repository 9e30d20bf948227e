//! The paper's published numbers, from `paper/claims.toml`.

use crate::eval::stats::{Interval, wilson_interval};
use crate::plan::Table;
use serde::Deserialize;
use std::sync::LazyLock;

/// The part of the claims that this module reads.
#[derive(Deserialize)]
struct Claims {
    table1: Table1,
    table2: Table2,
    table3: Table3,
    #[serde(rename = "claim")]
    claims: Vec<Claim>,
}

/// Something the paper says in words, and what decides it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    pub id: String,
    pub says: String,
    /// Where in the paper.
    pub source: String,
    pub test: ClaimTest,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClaimTest {
    /// With LPC higher than without: in the mean over the table's base models for one objective, where named,
    /// otherwise in every comparison of the table.
    Improves { table: Table, objective: Option<String> },
    /// LPC's mean difference in some columns is smaller than in others.
    Less { table: Table, columns: Vec<String>, than: Vec<String> },
    /// As the study's own rule says; at the toy scale another test may be the one that can tell.
    Study { table: Table, test: String, at_toy_scale: Option<String> },
}

/// The paper's Table 1, as far as the text at hand has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table1 {
    pub source: String,
    /// Digits after the point.
    pub decimals: usize,
    #[serde(rename = "benchmark")]
    pub benchmarks: Vec<Benchmark>,
    #[serde(rename = "row")]
    pub rows: Vec<Table1Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    pub name: String,
    /// Size of the test set behind every percentage.
    pub examples: usize,
}

/// One objective on one base model. Units: percent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table1Row {
    pub cell: String,
    pub base: String,
    /// None: the base model itself.
    pub objective: Option<String>,
    /// In the order of [`Table1::benchmarks`]. The cells with LPC are not in the source.
    pub without: Vec<f64>,
    pub average: f64,
    pub with_average: Option<f64>,
}

/// The paper's Table 3.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table3 {
    pub source: String,
    pub base: String,
    pub instructions: usize,
    pub decimals: usize,
    #[serde(rename = "row")]
    pub rows: Vec<Table3Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table3Row {
    pub cell: String,
    pub objective: String,
    /// Length-controlled, and plain win rate.
    pub lc: Both,
    pub wr: Both,
}

/// Percent without and with LPC.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Both {
    pub without: f64,
    pub with: f64,
}

/// The paper's Table 2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table2 {
    /// Where in the paper.
    pub source: String,
    /// Pairs behind every accuracy.
    pub test_pairs: usize,
    pub decimals: usize,
    #[serde(rename = "cell")]
    pub cells: Vec<Published>,
}

/// One objective on one base model. Units: percent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The claim's name, `table2/<base>/<objective>`.
    pub cell: String,
    pub base: String,
    pub objective: String,
    pub without: f64,
    pub with: f64,
}

static CLAIMS: LazyLock<Claims> = LazyLock::new(|| {
    toml::from_str(include_str!("../../paper/claims.toml")).expect("a test parses the embedded claims")
});

/// The paper's Table 1, parsed once.
pub fn table1() -> &'static Table1 {
    &CLAIMS.table1
}

/// The paper's Table 2, parsed once.
///
/// ```
/// let table = lpc::report::paper::table2();
/// assert_eq!(table.find("Mistral-7B", "DPO").unwrap().with, 73.4);
/// ```
pub fn table2() -> &'static Table2 {
    &CLAIMS.table2
}

/// The paper's claims in words, parsed once.
pub fn claims() -> &'static [Claim] {
    &CLAIMS.claims
}

/// The paper's Table 3, parsed once.
pub fn table3() -> &'static Table3 {
    &CLAIMS.table3
}

impl Table2 {
    pub fn has_base(&self, base: &str) -> bool {
        self.cells.iter().any(|c| c.base == base)
    }

    pub fn find(&self, base: &str, objective: &str) -> Option<&Published> {
        self.cells.iter().find(|c| c.base == base && c.objective == objective)
    }

    /// Wilson's interval around a published accuracy for the paper's number of pairs. The paper
    /// gives none; this is the noise of the test pairs alone, without that of training.
    ///
    /// Units: percent in, percent out.
    pub fn interval(&self, accuracy: f64) -> Interval {
        let correct = (accuracy / 100.0 * self.test_pairs as f64).round() as usize;
        let Interval { low, high } =
            wilson_interval(correct, self.test_pairs).expect("a published accuracy is at most 100 %");
        Interval { low: 100.0 * low, high: 100.0 * high }
    }
}
