//! The published tables, examined as a statistician would: do averages add up, can a percentage come
//! from its test set at all, which differences are larger than the noise of the test examples, and how
//! many examples would each need?

mod rate;
mod render;

pub use rate::{Reach, TRAINING_PAIRS, reach};
pub use render::{csv, markdown, summary};

use crate::Result;
use crate::eval::stats::{
    LEVEL, POWER, examples_needed, holm, mcnemar_exact, normal_p, sizes_needed, two_proportion_p,
};
use crate::report::paper::{self, Both, Table1, Table1Row};
use std::ops::RangeInclusive;

/// Everything found.
pub struct Findings {
    pub averages: Vec<Average>,
    pub percentages: Vec<Percentage>,
    pub comparisons: Vec<Comparison>,
    pub reach: Reach,
}

/// A row's published mean against its cells. Units: percent.
pub struct Average {
    pub cell: String,
    pub published: f64,
    /// Of the cells as printed, and of the fractions they were rounded from.
    pub of_printed: f64,
    pub of_counts: Option<f64>,
    pub decimals: usize,
}

/// A percentage against the size of its test set.
pub struct Percentage {
    pub cell: String,
    pub column: String,
    pub published: f64,
    pub decimals: usize,
    pub examples: usize,
    pub scores: Scores,
    /// Halves where [`Scores::Preferences`]: the counts that round to what was published.
    pub counts: Option<RangeInclusive<usize>>,
}

/// What a percentage is the mean of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    /// Right or wrong: a whole count.
    RightOrWrong,
    /// AlpacaEval 2 weighs by the judge's probabilities: any number. As counts with draws it would be
    /// a count of halves.
    Preferences,
}

/// With LPC against without. Units: percent and points.
pub struct Comparison {
    pub table: &'static str,
    pub cell: String,
    pub column: &'static str,
    pub published: Both,
    /// None for a mean over test sets of different sizes.
    pub examples: Option<usize>,
    /// Of the difference, by test examples drawn independently for both sides.
    pub low: f64,
    pub high: f64,
    pub p: f64,
    /// Over the comparisons of its table, and over all.
    pub holm_table: f64,
    pub holm_all: f64,
    pub needed: Needed,
    /// Right-or-wrong answers on the same examples: the most examples that may have changed verdict for
    /// the difference to be significant by McNemar's exact test.
    pub most_changed: Option<usize>,
}

/// What finds the difference with a chance of [`POWER`].
#[derive(Debug, Clone, Copy)]
pub enum Needed {
    /// Examples on each side.
    Examples(f64),
    /// Times as many as the four test sets have.
    Times(f64),
}

impl Average {
    /// What the published number is, as far as it can be told.
    pub fn verdict(&self) -> &'static str {
        let printed = rounds_to(self.of_printed, self.published, self.decimals);
        let counts = self.of_counts.is_some_and(|mean| rounds_to(mean, self.published, self.decimals));
        match (printed, counts) {
            (true, true) => "adds up",
            (true, false) => "adds up from the printed cells only",
            (false, true) => "adds up from the unrounded cells only",
            (false, false) => "does not add up",
        }
    }
}

impl Comparison {
    pub fn difference(&self) -> f64 {
        self.published.with - self.published.without
    }
}

/// The counts k of `of` equal parts for which 100 k / of rounds to `published`; ties either way.
///
/// ```
/// use lpc::audit::paper::attainable;
/// assert_eq!(attainable(49.74, 2, 1172), Some(583..=583)); // 583 / 1172 = 49.744 %
/// assert_eq!(attainable(49.80, 2, 1172), None);
/// ```
pub fn attainable(published: f64, decimals: usize, of: usize) -> Option<RangeInclusive<usize>> {
    let exact = published / 100.0 * of as f64;
    let slack = 0.5 * 10f64.powi(-(decimals as i32)) / 100.0 * of as f64;
    // Decimal numbers are not exact in binary; no two candidates lie that close.
    let (low, high) = ((exact - slack - 1e-7).ceil().max(0.0), (exact + slack + 1e-7).floor());
    (low <= high).then_some(low as usize..=high as usize)
}

fn rounds_to(mean: f64, published: f64, decimals: usize) -> bool {
    (mean - published).abs() <= 0.5 * 10f64.powi(-(decimals as i32)) + 1e-9
}

/// The published tables, examined.
///
/// Errors: a published number that is no percentage.
pub fn examine() -> Result<Findings> {
    let (table1, table2, table3) = (paper::table1(), paper::table2(), paper::table3());
    let mut percentages = vec![];
    for row in &table1.rows {
        for (benchmark, &published) in table1.benchmarks.iter().zip(&row.without) {
            percentages.push(Percentage {
                cell: row.cell.clone(),
                column: benchmark.name.clone(),
                published,
                decimals: table1.decimals,
                examples: benchmark.examples,
                scores: Scores::RightOrWrong,
                counts: attainable(published, table1.decimals, benchmark.examples),
            });
        }
    }
    for cell in &table2.cells {
        for (column, published) in [("without LPC", cell.without), ("with LPC", cell.with)] {
            percentages.push(Percentage {
                cell: cell.cell.clone(),
                column: column.into(),
                published,
                decimals: table2.decimals,
                examples: table2.test_pairs,
                scores: Scores::RightOrWrong,
                counts: attainable(published, table2.decimals, table2.test_pairs),
            });
        }
    }
    for row in &table3.rows {
        for (column, published) in [("without LPC", row.wr.without), ("with LPC", row.wr.with)] {
            percentages.push(Percentage {
                cell: row.cell.clone(),
                column: format!("WR {column}"),
                published,
                decimals: table3.decimals,
                examples: table3.instructions,
                scores: Scores::Preferences,
                counts: attainable(published, table3.decimals, 2 * table3.instructions),
            });
        }
    }

    let mut comparisons = vec![];
    for row in &table1.rows {
        comparisons.extend(of_averages(table1, row)?);
    }
    for cell in &table2.cells {
        let both = Both { without: cell.without, with: cell.with };
        let n = table2.test_pairs;
        let changed = most_changed((both.with - both.without).abs(), n);
        let compared = of_shares("Table 2", &cell.cell, "accuracy", both, n)?;
        comparisons.push(Comparison { most_changed: Some(changed), ..compared });
    }
    for row in &table3.rows {
        for (column, both) in [("LC", row.lc), ("WR", row.wr)] {
            comparisons.push(of_shares("Table 3", &row.cell, column, both, table3.instructions)?);
        }
    }
    adjust(&mut comparisons);
    let averages = table1.rows.iter().map(|row| average(table1, row)).collect();
    Ok(Findings { averages, percentages, comparisons, reach: reach()? })
}

fn average(table: &Table1, row: &Table1Row) -> Average {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    // A percentage with two decimals leaves one count at most on these test sets.
    let counted = table.benchmarks.iter().zip(&row.without).map(|(benchmark, &published)| {
        let counts = attainable(published, table.decimals, benchmark.examples)?;
        (counts.start() == counts.end()).then(|| 100.0 * *counts.start() as f64 / benchmark.examples as f64)
    });
    let counted: Option<Vec<f64>> = counted.collect();
    Average {
        cell: row.cell.clone(),
        published: row.average,
        of_printed: mean(&row.without),
        of_counts: counted.as_deref().map(mean),
        decimals: table.decimals,
    }
}

/// The mean of four test sets varies by the sum of their variances; with LPC only the mean is known, so
/// its cells are taken to vary as those without.
fn of_averages(table: &Table1, row: &Table1Row) -> Result<Option<Comparison>> {
    let Some(with) = row.with_average else { return Ok(None) };
    let variances = table.benchmarks.iter().zip(&row.without).map(|(benchmark, &percent)| {
        let share = percent / 100.0;
        share * (1.0 - share) / benchmark.examples as f64
    });
    let sets = table.benchmarks.len() as f64;
    let error = 100.0 * (2.0 * variances.sum::<f64>()).sqrt() / sets;
    let published = Both { without: row.average, with };
    let difference = with - row.average;
    let half = crate::eval::stats::normal_quantile(0.5 + LEVEL / 2.0) * error;
    Ok(Some(Comparison {
        table: "Table 1",
        cell: row.cell.clone(),
        column: "average",
        published,
        examples: None,
        low: difference - half,
        high: difference + half,
        p: normal_p(difference / error),
        holm_table: 1.0,
        holm_all: 1.0,
        needed: Needed::Times(sizes_needed(difference, error, POWER)),
        most_changed: None,
    }))
}

fn of_shares(
    table: &'static str,
    cell: &str,
    column: &'static str,
    published: Both,
    n: usize,
) -> Result<Comparison> {
    let (without, with) = (published.without / 100.0, published.with / 100.0);
    let error = ((without * (1.0 - without) + with * (1.0 - with)) / n as f64).sqrt();
    let half = 100.0 * crate::eval::stats::normal_quantile(0.5 + LEVEL / 2.0) * error;
    let difference = published.with - published.without;
    Ok(Comparison {
        table,
        cell: cell.into(),
        column,
        published,
        examples: Some(n),
        low: difference - half,
        high: difference + half,
        p: two_proportion_p((without, n), (with, n))?,
        holm_table: 1.0,
        holm_all: 1.0,
        needed: Needed::Examples(examples_needed(without, with, POWER)?),
        most_changed: None,
    })
}

/// `difference` in percent of `n` examples; 0 where no number of changed verdicts would do.
fn most_changed(difference: f64, n: usize) -> usize {
    let net = (difference / 100.0 * n as f64).round() as usize;
    // `lost` examples one way, `lost + net` the other; the p-value rises with `lost`.
    let significant = |lost: &usize| mcnemar_exact(*lost, lost + net) < 1.0 - LEVEL;
    let lost = (0..=n.saturating_sub(net) / 2).take_while(significant).last();
    lost.map_or(0, |lost| 2 * lost + net)
}

fn adjust(comparisons: &mut [Comparison]) {
    let p: Vec<f64> = comparisons.iter().map(|c| c.p).collect();
    for (comparison, adjusted) in comparisons.iter_mut().zip(holm(&p)) {
        comparison.holm_all = adjusted;
    }
    for of_table in comparisons.chunk_by_mut(|a, b| a.table == b.table) {
        let p: Vec<f64> = of_table.iter().map(|c| c.p).collect();
        for (comparison, adjusted) in of_table.iter_mut().zip(holm(&p)) {
            comparison.holm_table = adjusted;
        }
    }
}
