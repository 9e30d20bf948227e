//! The findings as Markdown for readers and as tidy CSV for programs.

use super::{Comparison, Findings, Needed, POWER, Percentage, Scores};
use crate::eval::stats::{mcnemar_exact, wilson_interval};
use crate::report::paper::{self, Table1Row};
use crate::report::table::{csv_number, markdown as table, p_value};
use crate::report::table2::SIGNIFICANCE;

const NOT_IN_THE_SOURCE: &str = "not in the source";

/// `reports/paper-audit.md`.
pub fn markdown(findings: &Findings) -> String {
    let sections = [
        "# The paper's tables, examined\n\nGong et al., ICML 2025: what the published numbers themselves allow one to \
         say. Percentages and points; nothing here was measured by us. `lpc audit paper` writes this page."
            .to_string(),
        summary(findings),
        table1(),
        averages(findings),
        percentages(findings),
        comparisons(findings),
    ];
    sections.map(|s| s.trim_end().to_string()).join("\n\n") + "\n"
}

/// What survives, in a few lines: the page's first section.
pub fn summary(findings: &Findings) -> String {
    let all = &findings.comparisons;
    let count = |holds: &dyn Fn(&Comparison) -> bool| all.iter().filter(|c| holds(c)).count();
    let up = count(&|c| c.difference() > 0.0);
    let mut text = format!(
        "## What survives\n\nOf {} comparisons with and without LPC, {up} are published as higher with LPC. Against the noise \
         of the test examples alone, p < 0.05 holds for {} of them one by one, for {} after Holm's correction within each \
         table, for {} after Holm's correction over all {}.\n",
        all.len(),
        count(&|c| c.p < SIGNIFICANCE),
        count(&|c| c.holm_table < SIGNIFICANCE),
        count(&|c| c.holm_all < SIGNIFICANCE),
        all.len(),
    );
    for of_table in all.chunk_by(|a, b| a.table == b.table) {
        let (up, n) = (of_table.iter().filter(|c| c.difference() > 0.0).count(), of_table.len());
        text += &format!(
            "\n- {}: {up} of {n} higher (sign test, as if independent: p = {}); {} alone, {} after Holm within the table.",
            of_table[0].table,
            p_value(mcnemar_exact(n - up, up)),
            of_table.iter().filter(|c| c.p < SIGNIFICANCE).count(),
            of_table.iter().filter(|c| c.holm_table < SIGNIFICANCE).count(),
        );
    }
    text + "\n\nRead with care. The p-values treat both sides as tested on examples of their own. Both were tested on the same \
            examples, and a paired test, which needs the answers themselves, can find smaller differences. Against that, \
            the paper reports one training run a cell: how much another seed would move a number is in none of these \
            intervals. Rows share models and test sets, so they are no independent confirmations of each other."
}

fn table1() -> String {
    let table1 = paper::table1();
    let rows = table1.rows.iter().flat_map(|row| {
        let name = |suffix: &str| match &row.objective {
            None => "base model".to_string(),
            Some(objective) => format!("{objective}{suffix}"),
        };
        let number = |x: f64| format!("{x:.*}", table1.decimals);
        let cells = row.without.iter().map(|x| number(*x)).chain([number(row.average)]);
        let without: Vec<String> = [row.base.clone(), name("")].into_iter().chain(cells).collect();
        let with = |average: f64| {
            let missing = row.without.iter().map(|_| NOT_IN_THE_SOURCE.to_string());
            [row.base.clone(), name(" w. LPC")].into_iter().chain(missing).chain([number(average)]).collect()
        };
        [Some(without), row.with_average.map(with)].into_iter().flatten()
    });
    let names = table1.benchmarks.iter().map(|b| format!("{} ({})", b.name, b.examples));
    let header: Vec<String> = ["Base model", "Objective"]
        .map(String::from)
        .into_iter()
        .chain(names)
        .chain(["Average".into()])
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    format!(
        "## Table 1 as we have it\n\nOf the rows with LPC the text at hand has the average alone. In brackets: size of the \
         test set.\n\n{}",
        table("llrrrrr", &header, &rows.collect::<Vec<_>>())
    )
}

fn averages(findings: &Findings) -> String {
    let rows = findings.averages.iter().map(|a| {
        let mean = |x: f64| format!("{x:.4}");
        let counts = a.of_counts.map_or("–".into(), mean);
        vec![
            a.cell.clone(),
            format!("{:.*}", a.decimals, a.published),
            mean(a.of_printed),
            counts,
            a.verdict().into(),
        ]
    });
    let header = ["Row", "Published average", "Of the printed cells", "Of the counts behind them", "Verdict"];
    let not = findings.averages.iter().filter(|a| a.verdict() != "adds up").count();
    format!(
        "## Do the averages of Table 1 add up?\n\nThe mean of the four printed cells, and of the fractions that they were \
         rounded from (see below); {} of {} rows add up both ways. The averages with LPC cannot be checked: their cells are \
         {NOT_IN_THE_SOURCE}.\n\n{}",
        findings.averages.len() - not,
        findings.averages.len(),
        table("lrrrl", &header, &rows.collect::<Vec<_>>())
    )
}

/// How many of the percentages that can be printed a test set can produce.
fn printable(p: &Percentage) -> f64 {
    let parts = if p.scores == Scores::Preferences { 2 * p.examples } else { p.examples };
    let values = 100.0 * 10f64.powi(p.decimals as i32) + 1.0;
    ((parts + 1) as f64 / values).min(1.0)
}

fn percentages(findings: &Findings) -> String {
    let mut columns: Vec<(&str, &str, Vec<&Percentage>)> = vec![];
    for p in &findings.percentages {
        let (table, column) = match p.cell.split('/').next() {
            Some("table1") => ("Table 1", p.column.as_str()),
            Some("table2") => ("Table 2", "preference accuracy"),
            _ => ("Table 3", "win rate (WR)"),
        };
        match columns.iter_mut().find(|(t, c, _)| (*t, *c) == (table, column)) {
            Some((.., of)) => of.push(p),
            None => columns.push((table, column, vec![p])),
        }
    }
    let rows = columns.into_iter().map(|(table, column, of)| {
        let attained = of.iter().filter(|p| p.counts.is_some()).count();
        let chance = printable(of[0]);
        let parts = if of[0].scores == Scores::Preferences { "halves" } else { "whole" };
        vec![
            table.into(),
            column.into(),
            of[0].examples.to_string(),
            parts.into(),
            format!("{attained} of {}", of.len()),
            format!("{:.1}", 100.0 * chance * of.len() as f64 / 100.0),
        ]
    });
    let header = ["Table", "Column", "Examples", "Counts", "Attainable", "Expected of random digits"];
    let summary = table("llrlrr", &header, &rows.collect::<Vec<_>>());
    let rows = findings.percentages.iter().map(|p| {
        let published = format!("{:.*}", p.decimals, p.published);
        let (count, interval) = match (&p.counts, p.scores) {
            (None, _) => ("none".into(), "–".into()),
            (Some(counts), Scores::Preferences) => (halves(counts), "–".into()),
            (Some(counts), Scores::RightOrWrong) => {
                let interval = wilson_interval(*counts.start(), p.examples);
                let text = |i: crate::eval::stats::Interval| {
                    format!("[{:.1}, {:.1}]", 100.0 * i.low, 100.0 * i.high)
                };
                (span(counts), interval.map_or("–".into(), text))
            }
        };
        vec![p.cell.clone(), p.column.clone(), published, count, p.examples.to_string(), interval]
    });
    let header = ["Cell", "Column", "Published", "Count", "Of", "95 % interval"];
    format!(
        "## Can the percentages come from these test sets?\n\nA share of n right answers takes n + 1 values only (the GRIM \
         test). A number that no count gives was not measured on this test set, or is no share. AlpacaEval 2 weighs each \
         win by the judge's probabilities, and a length-controlled rate comes from a model: such numbers need no count, and \
         the test says only whether they could be one. All twelve numbers of TruthfulQA are counts of its 817 questions, \
         which chance would do about once in 10^13: that column is an accuracy (of single answers, or of generated ones) and \
         not the harness's mc2, a mean of probabilities.\n\n{summary}\nIntervals are Wilson's, for the test examples \
         alone.\n\n{}",
        table("llrrrr", &header, &rows.collect::<Vec<_>>())
    )
}

fn span(counts: &std::ops::RangeInclusive<usize>) -> String {
    if counts.start() == counts.end() {
        counts.start().to_string()
    } else {
        format!("{}–{}", counts.start(), counts.end())
    }
}

fn halves(counts: &std::ops::RangeInclusive<usize>) -> String {
    format!("{:.1}", *counts.start() as f64 / 2.0)
}

fn comparisons(findings: &Findings) -> String {
    let rows = findings.comparisons.iter().map(|c| {
        let digits = if c.table == "Table 2" { 1 } else { 2 };
        let number = |x: f64| format!("{x:.digits$}");
        vec![
            format!("{} {}", c.cell, c.column),
            number(c.published.without),
            number(c.published.with),
            format!("{:+.digits$} [{:+.1}, {:+.1}]", c.difference(), c.low, c.high),
            p_value(c.p),
            p_value(c.holm_table),
            p_value(c.holm_all),
            needed(c.needed),
            match c.most_changed {
                None => "–".into(),
                Some(0) => "never".into(),
                Some(n) => n.to_string(),
            },
        ]
    });
    let header = [
        "Cell",
        "Without",
        "With",
        "Difference",
        "p",
        "Holm, table",
        "Holm, all",
        "Examples needed",
        "Decided if at most",
    ];
    format!(
        "## With and without LPC\n\nTwo-sided p-values of two independent proportions (pooled z); of Table 1's averages by \
         the sum of the four sets' variances, the unknown cells with LPC taken to vary as those without. Win rates vary at \
         most as right and wrong answers do. Examples needed: on each side, for a chance of {:.0} % to find this very \
         difference at p < 0.05; for averages, times the present test sets. Decided if at most: a paired exact test \
         (McNemar) of the same difference gives p < 0.05 only if no more than so many of the 1,000 pairs changed verdict.\n\n{}",
        100.0 * POWER,
        table("lrrrrrrrr", &header, &rows.collect::<Vec<_>>())
    )
}

fn needed(needed: Needed) -> String {
    match needed {
        Needed::Examples(n) => format!("{:.0}", n.ceil()),
        Needed::Times(times) if times < 10.0 => format!("× {times:.1}"),
        Needed::Times(times) => format!("× {times:.0}"),
    }
}

/// `reports/paper-audit.csv`: a row a cell and statistic.
pub fn csv(findings: &Findings) -> String {
    let mut rows = vec![["check", "cell", "column", "statistic", "value"].map(String::from)];
    let mut put = |check: &str, cell: &str, column: &str, statistic: &str, value: String| {
        rows.push([check.into(), cell.into(), column.into(), statistic.into(), value]);
    };
    for a in &findings.averages {
        put("average", &a.cell, "average", "published", csv_number(a.published));
        put("average", &a.cell, "average", "mean_of_printed", csv_number(a.of_printed));
        if let Some(mean) = a.of_counts {
            put("average", &a.cell, "average", "mean_of_counts", csv_number(mean));
        }
        put("average", &a.cell, "average", "verdict", a.verdict().into());
    }
    for Table1Row { cell, with_average, .. } in &paper::table1().rows {
        let Some(with) = with_average else { continue };
        for benchmark in &paper::table1().benchmarks {
            put(
                "attainable",
                cell,
                &format!("{} with LPC", benchmark.name),
                "published",
                NOT_IN_THE_SOURCE.into(),
            );
        }
        put("average", cell, "average with LPC", "published", csv_number(*with));
    }
    for p in &findings.percentages {
        put("attainable", &p.cell, &p.column, "published", csv_number(p.published));
        put("attainable", &p.cell, &p.column, "examples", p.examples.to_string());
        let count = match (&p.counts, p.scores) {
            (None, _) => "none".into(),
            (Some(counts), Scores::RightOrWrong) => span(counts),
            (Some(counts), Scores::Preferences) => halves(counts),
        };
        put("attainable", &p.cell, &p.column, "count", count);
        if let (Some(counts), Scores::RightOrWrong) = (&p.counts, p.scores)
            && let Ok(interval) = wilson_interval(*counts.start(), p.examples)
        {
            put("attainable", &p.cell, &p.column, "low", csv_number(100.0 * interval.low));
            put("attainable", &p.cell, &p.column, "high", csv_number(100.0 * interval.high));
        }
    }
    for c in &findings.comparisons {
        let mut put = |statistic: &str, value: f64| {
            put("comparison", &c.cell, c.column, statistic, csv_number(value));
        };
        put("difference", c.difference());
        put("low", c.low);
        put("high", c.high);
        put("p_value", c.p);
        put("p_holm_table", c.holm_table);
        put("p_holm_all", c.holm_all);
        match c.needed {
            Needed::Examples(n) => put("examples_needed", n),
            Needed::Times(times) => put("test_sets_needed", times),
        }
        if let Some(n) = c.most_changed {
            put("most_changed", n as f64);
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in &rows {
        writer.write_record(row).expect("rows are of one length, memory does not fail");
    }
    String::from_utf8(writer.into_inner().expect("memory does not fail")).expect("written from strings")
}
