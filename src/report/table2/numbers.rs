//! `table2.csv`: every estimate of [`super::summary`] in a row of its own, for programs to read.

use super::summary::{Arm, BaseSummary, Difference, Pooled, Row, RunSummary, Summary};
use crate::eval::stats::Estimate;
use crate::report::document::{Cell, Column, Grid, columns};
use crate::report::paper;
use crate::report::text::NOT_RUN;
use crate::report::verdict::Decision;

pub(super) fn grid(summary: &Summary) -> Grid {
    let words = ["scale", "base_model", "objective", "quantity", "source", "statistic", "unit"];
    let mut columns = columns(&words, &["value"]);
    columns.push(Column::words("run_ids"));
    let mut numbers = Numbers { scale: summary.scale.name(), grid: Grid::new(columns, vec![]) };
    summary.bases.iter().for_each(|base| numbers.base(base));
    for row in &summary.rows {
        numbers.arm(row, "without", &row.without);
        numbers.arm(row, "with", &row.with);
        numbers.comparison(row);
        numbers.published(row);
    }
    summary.pooled.iter().for_each(|pooled| numbers.pooled(pooled));
    numbers.grid
}

struct Numbers {
    scale: &'static str,
    grid: Grid,
}

impl Numbers {
    /// `columns`: base model, objective, quantity, source, statistic, unit.
    fn put(&mut self, columns: [&str; 6], value: Cell, run_ids: &str) {
        let words = std::iter::once(self.scale).chain(columns).map(Cell::text);
        self.grid.rows.push(words.chain([value, Cell::text(run_ids)]).collect());
    }

    fn base(&mut self, base: &BaseSummary) {
        let mut put = |quantity, statistic, unit, value| {
            self.put([base.name, "", quantity, "", statistic, unit], Cell::number(value), "");
        };
        if let Some((share, interval)) = base.accuracy {
            put("base", "accuracy", "percent", 100.0 * share.share());
            put("base", "low", "percent", 100.0 * interval.low);
            put("base", "high", "percent", 100.0 * interval.high);
            put("base", "examples", "count", share.total as f64);
        }
        if let Some(ceiling) = base.ceiling {
            put("bayes_expected", "accuracy", "percent", 100.0 * ceiling.expected);
            put("bayes_realised", "accuracy", "percent", 100.0 * ceiling.realised);
        }
    }

    fn arm(&mut self, row: &Row, quantity: &str, arm: &Arm) {
        let ids = run_ids(arm.runs.iter().copied());
        let mut put = |source: &str, statistic: &str, unit: &str, value: Cell, ids: &str| {
            self.put([row.base, row.objective, quantity, source, statistic, unit], value, ids);
        };
        let Some(accuracy) = &arm.accuracy else {
            return put("", "accuracy", "percent", Cell::text(NOT_RUN), "");
        };
        for (statistic, unit, value) in statistics("accuracy", "percent", accuracy) {
            put("", statistic, unit, Cell::number(value), &ids);
        }
        let examples = arm.runs[0].records.len() as f64;
        put("", "examples", "count", Cell::number(examples), &ids);
        put("", "seeds", "count", Cell::number(arm.runs.len() as f64), &ids);
        for run in &arm.runs {
            let correct = run.records.iter().filter(|r| r.correct).count();
            let value = Cell::number(100.0 * correct as f64 / examples);
            put("", &format!("accuracy of seed {}", run.seed), "percent", value, &run.run_id);
        }
        for (source, share) in &arm.by_source {
            put(source, "accuracy", "percent", Cell::number(100.0 * share), &ids);
        }
    }

    fn comparison(&mut self, row: &Row) {
        let mut put = |statistic: &str, unit: &str, value: Cell, ids: &str| {
            self.put([row.base, row.objective, "difference", "", statistic, unit], value, ids);
        };
        let Some(c) = &row.comparison else {
            return put("difference", "points", Cell::text(NOT_RUN), "");
        };
        let ids = run_ids(c.runs.iter().flat_map(|(without, with)| [*without, *with]));
        difference(&c.difference, &c.decision, c.runs.len(), |statistic, unit, value| {
            put(statistic, unit, value, &ids);
        });
    }

    fn pooled(&mut self, p: &Pooled) {
        let put = |statistic: &str, unit: &str, value: Cell| {
            self.put(["all", &p.name(), "difference", "", statistic, unit], value, "");
        };
        difference(&p.difference, &p.decision, p.seeds, put);
    }

    fn published(&mut self, row: &Row) {
        let Some(published) = row.published else { return };
        for (quantity, accuracy) in [("paper_without", published.without), ("paper_with", published.with)] {
            let interval = paper::table2().interval(accuracy);
            for (statistic, value) in [("accuracy", accuracy), ("low", interval.low), ("high", interval.high)]
            {
                let columns = [row.base, row.objective, quantity, "", statistic, "percent"];
                self.put(columns, Cell::number(value), "");
            }
        }
    }
}

/// Everything that is said of a difference. The score that decides has the plain names.
fn difference(
    difference: &Difference,
    decision: &Decision,
    seeds: usize,
    mut put: impl FnMut(&str, &str, Cell),
) {
    for (statistic, unit, value) in statistics("difference", "points", &difference.decides()) {
        put(statistic, unit, Cell::number(value));
    }
    put("p_value", "probability", Cell::number(difference.decides().p_value));
    put("p_holm", "probability", Cell::number(decision.p_holm));
    let equivalence = decision.p_equivalence.map_or(Cell::text(""), Cell::number);
    put("p_equivalence_holm", "probability", equivalence);
    put("detectable", "points", Cell::number(100.0 * decision.detectable));
    put("seeds", "count", Cell::number(seeds as f64));
    put("verdict", "", Cell::text(decision.verdict.name()));
    if difference.by_probability.is_some() {
        for (statistic, unit, value) in statistics("difference", "points", &difference.by_label) {
            put(&format!("{statistic}, labels as drawn"), unit, Cell::number(value));
        }
    }
}

/// (statistic, unit, value) of an estimate of a share.
fn statistics<'a>(mean: &'a str, unit: &'a str, e: &Estimate) -> [(&'a str, &'a str, f64); 5] {
    [
        (mean, unit, 100.0 * e.mean),
        ("low", unit, 100.0 * e.low),
        ("high", unit, 100.0 * e.high),
        ("standard_error", unit, 100.0 * e.standard_error),
        ("degrees_of_freedom", "count", e.degrees_of_freedom),
    ]
}

fn run_ids<'a>(runs: impl Iterator<Item = &'a RunSummary>) -> String {
    runs.map(|r| r.run_id.as_str()).collect::<Vec<_>>().join(" ")
}
