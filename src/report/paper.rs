//! The paper's published numbers, from `paper/claims.toml`.

use crate::eval::stats::{Interval, wilson_interval};
use serde::Deserialize;
use std::sync::LazyLock;

/// The part of the claims that this module reads.
#[derive(Deserialize)]
struct Claims {
    table2: Table2,
}

/// The paper's Table 2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table2 {
    /// Where in the paper.
    pub source: String,
    /// Pairs behind every accuracy.
    pub test_pairs: usize,
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

/// The paper's Table 2, parsed once.
///
/// ```
/// let table = lpc::report::paper::table2();
/// assert_eq!(table.find("Mistral-7B", "DPO").unwrap().with, 73.4);
/// ```
pub fn table2() -> &'static Table2 {
    static CLAIMS: LazyLock<Claims> = LazyLock::new(|| {
        toml::from_str(include_str!("../../paper/claims.toml")).expect("a test parses the embedded claims")
    });
    &CLAIMS.table2
}

impl Table2 {
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
