//! Table 2 as tidy CSV.

use super::{Arm, Row, RunSummary, Summary};
use crate::eval::stats::Estimate;
use crate::report::{paper, table::csv_number};

const HEADER: [&str; 9] =
    ["scale", "base_model", "objective", "quantity", "source", "statistic", "unit", "value", "run_ids"];

pub(super) fn render(summary: &Summary) -> String {
    let mut sheet = Sheet { scale: summary.scale.name(), rows: vec![HEADER.map(String::from)] };
    for base in &summary.bases {
        let mut put = |quantity, statistic, unit, value| {
            sheet.put([base.name, "", quantity, "", statistic, unit], csv_number(value), "");
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
    for row in &summary.rows {
        sheet.arm(row, "without", &row.without);
        sheet.arm(row, "with", &row.with);
        sheet.comparison(row);
        sheet.published(row);
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in &sheet.rows {
        writer.write_record(row).expect("rows are of one length, memory does not fail");
    }
    String::from_utf8(writer.into_inner().expect("memory does not fail")).expect("written from strings")
}

struct Sheet {
    scale: &'static str,
    rows: Vec<[String; 9]>,
}

impl Sheet {
    /// `columns`: base model, objective, quantity, source, statistic, unit.
    fn put(&mut self, columns: [&str; 6], value: String, run_ids: &str) {
        let [base, objective, quantity, source, statistic, unit] = columns.map(String::from);
        let scale = self.scale.into();
        self.rows.push([scale, base, objective, quantity, source, statistic, unit, value, run_ids.into()]);
    }

    fn arm(&mut self, row: &Row, quantity: &str, arm: &Arm) {
        let ids = run_ids(arm.runs.iter().copied());
        let mut put = |source: &str, statistic: &str, unit: &str, value: String, ids: &str| {
            self.put([row.base, row.objective, quantity, source, statistic, unit], value, ids);
        };
        let Some(accuracy) = &arm.accuracy else {
            return put("", "accuracy", "percent", "not run".into(), "");
        };
        for (statistic, unit, value) in statistics("accuracy", "percent", accuracy) {
            put("", statistic, unit, value, &ids);
        }
        let examples = arm.runs[0].records.len();
        put("", "examples", "count", csv_number(examples as f64), &ids);
        put("", "seeds", "count", csv_number(arm.runs.len() as f64), &ids);
        for run in &arm.runs {
            let correct = run.records.iter().filter(|r| r.correct).count();
            let value = csv_number(100.0 * correct as f64 / examples as f64);
            put("", &format!("accuracy of seed {}", run.seed), "percent", value, &run.run_id);
        }
        for (source, share) in &arm.by_source {
            put(source, "accuracy", "percent", csv_number(100.0 * share), &ids);
        }
    }

    fn comparison(&mut self, row: &Row) {
        let mut put = |statistic: &str, unit: &str, value: String, ids: &str| {
            self.put([row.base, row.objective, "difference", "", statistic, unit], value, ids);
        };
        let Some(c) = &row.comparison else {
            return put("difference", "points", "not run".into(), "");
        };
        let ids = run_ids(c.runs.iter().flat_map(|(without, with)| [*without, *with]));
        for (statistic, unit, value) in statistics("difference", "points", &c.difference) {
            put(statistic, unit, value, &ids);
        }
        put("p_value", "probability", csv_number(c.difference.p_value), &ids);
        put("p_holm", "probability", csv_number(c.p_holm), &ids);
        put("seeds", "count", csv_number(c.runs.len() as f64), &ids);
        put("verdict", "", c.verdict.name().into(), &ids);
    }

    fn published(&mut self, row: &Row) {
        let Some(published) = row.published else { return };
        for (quantity, accuracy) in [("paper_without", published.without), ("paper_with", published.with)] {
            let interval = paper::table2().interval(accuracy);
            for (statistic, value) in [("accuracy", accuracy), ("low", interval.low), ("high", interval.high)]
            {
                let columns = [row.base, row.objective, quantity, "", statistic, "percent"];
                self.put(columns, csv_number(value), "");
            }
        }
    }
}

/// (statistic, unit, value) of an estimate of a share.
fn statistics(
    mean: &'static str,
    unit: &'static str,
    estimate: &Estimate,
) -> [(&'static str, &'static str, String); 5] {
    let scaled = |share: f64| csv_number(100.0 * share);
    [
        (mean, unit, scaled(estimate.mean)),
        ("low", unit, scaled(estimate.low)),
        ("high", unit, scaled(estimate.high)),
        ("standard_error", unit, scaled(estimate.standard_error)),
        ("degrees_of_freedom", "count", csv_number(estimate.degrees_of_freedom)),
    ]
}

fn run_ids<'a>(runs: impl Iterator<Item = &'a RunSummary>) -> String {
    runs.map(|r| r.run_id.as_str()).collect::<Vec<_>>().join(" ")
}
