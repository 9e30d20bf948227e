//! The findings as Markdown for readers and as tidy CSV for programs.

use super::{Comparison, Findings, Needed, POWER, Percentage, Reach, Scores};
use crate::Result;
use crate::eval::stats::SIGNIFICANCE;
use crate::eval::stats::{mcnemar_exact, wilson_interval};
use crate::report::document::{
    Block, Cell, Column, Document, Grid, Section, columns, csv as sheet, markdown as text,
};
use crate::report::paper::{self, Table1Row};
use crate::report::text::p_value;

const NOT_IN_THE_SOURCE: &str = "not in the source";

/// `reports/paper-audit.md`.
pub fn markdown(findings: &Findings) -> String {
    let intro = "Gong et al., ICML 2025: what the published numbers themselves allow one to say. Percentages and points; \
                 nothing here was measured by us. `lpc audit paper` writes this page.";
    text::render(&Document {
        title: "The paper's tables, examined".into(),
        lead: Section::new("", vec![Block::paragraph(intro)]),
        sections: vec![
            survivors(findings),
            table1(),
            averages(findings),
            percentages(findings),
            comparisons(findings),
            learning_rate(&findings.reach),
        ],
    })
}

/// What survives, in a few lines: the page's first section.
pub fn summary(findings: &Findings) -> String {
    text::section(&survivors(findings))
}

fn survivors(findings: &Findings) -> Section {
    let all = &findings.comparisons;
    let count = |holds: &dyn Fn(&Comparison) -> bool| all.iter().filter(|c| holds(c)).count();
    let up = count(&|c| c.difference() > 0.0);
    let counted = format!(
        "Of {} comparisons with and without LPC, {up} are published as higher with LPC. Against the noise \
         of the test examples alone, p < 0.05 holds for {} of them one by one, for {} after Holm's correction within each \
         table, for {} after Holm's correction over all {}.",
        all.len(),
        count(&|c| c.p < SIGNIFICANCE),
        count(&|c| c.holm_table < SIGNIFICANCE),
        count(&|c| c.holm_all < SIGNIFICANCE),
        all.len(),
    );
    let of_table = |all: &[Comparison]| {
        let (up, n) = (all.iter().filter(|c| c.difference() > 0.0).count(), all.len());
        format!(
            "{}: {up} of {n} higher (sign test, as if independent: p = {}); {} alone, {} after Holm within the table.",
            all[0].table,
            p_value(mcnemar_exact(n - up, up)),
            all.iter().filter(|c| c.p < SIGNIFICANCE).count(),
            all.iter().filter(|c| c.holm_table < SIGNIFICANCE).count(),
        )
    };
    let care = "Read with care. The p-values treat both sides as tested on examples of their own. Both were tested on the \
                same examples, and a paired test, which needs the answers themselves, can find smaller differences. Against \
                that, the paper reports one training run a cell: how much another seed would move a number is in none of \
                these intervals. Rows share models and test sets, so they are no independent confirmations of each other.";
    let tables = all.chunk_by(|a, b| a.table == b.table).map(of_table).collect();
    Section::new(
        "What survives",
        vec![Block::Paragraph(counted), Block::List(tables), Block::paragraph(care)],
    )
}

/// A grid below a text.
fn section(title: &str, text: String, grid: Grid) -> Section {
    Section::new(title, vec![Block::Paragraph(text), Block::Grid(grid)])
}

fn table1() -> Section {
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
    let sizes: Vec<String> =
        table1.benchmarks.iter().map(|b| format!("{} ({})", b.name, b.examples)).collect();
    let numbers: Vec<&str> = sizes.iter().map(String::as_str).chain(["Average"]).collect();
    let text =
        "Of the rows with LPC the text at hand has the average alone. In brackets: size of the test set.";
    let grid = Grid::of_text(columns(&["Base model", "Objective"], &numbers), rows);
    section("Table 1 as we have it", text.into(), grid)
}

fn learning_rate(reach: &Reach) -> Section {
    let Reach { rate, steps, rates, weight, parts } = reach;
    let text = format!(
        "Section 4.1 names one peak rate, {rate:e}, for {steps} steps with a linear schedule. The rates add up to {rates:.2e}, and \
         AdamW without decay can move no weight by more than {weight:.2e}, whatever the gradients \
         (`paper/derivations.md`, section 9; its moments decay by 0.9 and 0.95, OpenRLHF's defaults: a choice, as the sizes \
         at the start are). Whether the paper's heads had a rate of their own is not said; if they had none, \
         their weights stayed within some percent of where they began. What that allows in function space is larger: a \
         bias W e_k moves at a token by at most this times the sum of |W|, a network's inner unit by at most this \
         times the sum of |h|, and such sums grow with the width. They are not measured here, so nothing is said of \
         what a prior or posterior of a 7–8B model could have learnt; codes that begin as ours do stay nearly those that \
         were drawn."
    );
    let columns = columns(&["Part"], &["Typical weight at the start", "Most it moves", "Share"]);
    let rows = parts.iter().map(|(part, size)| {
        let share = format!("{:.1} %", 100.0 * weight / size);
        vec![part.to_string(), format!("{size:.4}"), format!("{weight:.2e}"), share]
    });
    section("What one learning rate leaves the heads", text, Grid::of_text(columns, rows))
}

fn averages(findings: &Findings) -> Section {
    let rows = findings.averages.iter().map(|a| {
        let mean = |x: f64| format!("{x:.4}");
        let counts = a.of_counts.map_or("–".into(), mean);
        let published = format!("{:.*}", a.decimals, a.published);
        vec![a.cell.clone(), published, mean(a.of_printed), counts, a.verdict().into()]
    });
    let numbers = ["Published average", "Of the printed cells", "Of the counts behind them"];
    let mut columns = columns(&["Row"], &numbers);
    columns.push(Column::words("Verdict"));
    let not = findings.averages.iter().filter(|a| a.verdict() != "adds up").count();
    let text = format!(
        "The mean of the four printed cells, and of the fractions that they were \
         rounded from (see below); {} of {} rows add up both ways. The averages with LPC cannot be checked: their cells are \
         {NOT_IN_THE_SOURCE}.",
        findings.averages.len() - not,
        findings.averages.len(),
    );
    section("Do the averages of Table 1 add up?", text, Grid::of_text(columns, rows))
}

/// How many of the percentages that can be printed a test set can produce.
fn printable(p: &Percentage) -> f64 {
    let parts = if p.scores == Scores::Preferences { 2 * p.examples } else { p.examples };
    let values = 100.0 * 10f64.powi(p.decimals as i32) + 1.0;
    ((parts + 1) as f64 / values).min(1.0)
}

fn percentages(findings: &Findings) -> Section {
    let mut by_column: Vec<(&str, &str, Vec<&Percentage>)> = vec![];
    for p in &findings.percentages {
        let (table, column) = match p.cell.split('/').next() {
            Some("table1") => ("Table 1", p.column.as_str()),
            Some("table2") => ("Table 2", "preference accuracy"),
            _ => ("Table 3", "win rate (WR)"),
        };
        match by_column.iter_mut().find(|(t, c, _)| (*t, *c) == (table, column)) {
            Some((.., of)) => of.push(p),
            None => by_column.push((table, column, vec![p])),
        }
    }
    let rows = by_column.into_iter().map(|(table, column, of)| {
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
    let mut counted = columns(&["Table", "Column"], &["Examples"]);
    counted.extend(columns(&["Counts"], &["Attainable", "Expected of random digits"]));
    let summary = Grid::of_text(counted, rows);
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
    let columns = columns(&["Cell", "Column"], &["Published", "Count", "Of", "95 % interval"]);
    let text = "A share of n right answers takes n + 1 values only (the GRIM \
                test). A number that no count gives was not measured on this test set, or is no share. AlpacaEval 2 weighs \
                each win by the judge's probabilities, and a length-controlled rate comes from a model: such numbers need no \
                count, and the test says only whether they could be one. All twelve numbers of TruthfulQA are counts of its \
                817 questions, which chance would do about once in 10^13: that column is an accuracy (of single answers, or \
                of generated ones) and not the harness's mc2, a mean of probabilities.";
    let blocks = vec![
        Block::paragraph(text),
        Block::Grid(summary),
        Block::paragraph("Intervals are Wilson's, for the test examples alone."),
        Block::Grid(Grid::of_text(columns, rows)),
    ];
    Section::new("Can the percentages come from these test sets?", blocks)
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

fn comparisons(findings: &Findings) -> Section {
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
    let numbers = [
        "Without",
        "With",
        "Difference",
        "p",
        "Holm, table",
        "Holm, all",
        "Examples needed",
        "Decided if at most",
    ];
    let text = format!(
        "Two-sided p-values of two independent proportions (pooled z); of Table 1's averages by \
         the sum of the four sets' variances, the unknown cells with LPC taken to vary as those without. Win rates vary at \
         most as right and wrong answers do. Examples needed: on each side, for a chance of {:.0} % to find this very \
         difference at p < 0.05; for averages, times the present test sets. Decided if at most: a paired exact test \
         (McNemar) of the same difference gives p < 0.05 only if no more than so many of the 1,000 pairs changed verdict.",
        100.0 * POWER,
    );
    section("With and without LPC", text, Grid::of_text(columns(&["Cell"], &numbers), rows))
}

fn needed(needed: Needed) -> String {
    match needed {
        Needed::Examples(n) => format!("{:.0}", n.ceil()),
        Needed::Times(times) if times < 10.0 => format!("× {times:.1}"),
        Needed::Times(times) => format!("× {times:.0}"),
    }
}

/// `reports/paper-audit.csv`: a row a cell and statistic.
pub fn csv(findings: &Findings) -> Result<Vec<u8>> {
    let columns = columns(&["check", "cell", "column", "statistic"], &["value"]);
    let mut grid = Grid::new(columns, vec![]);
    let mut put = |check: &str, cell: &str, column: &str, statistic: &str, value: Cell| {
        grid.rows.push([check, cell, column, statistic].map(Cell::text).into_iter().chain([value]).collect());
    };
    for a in &findings.averages {
        put("average", &a.cell, "average", "published", Cell::number(a.published));
        put("average", &a.cell, "average", "mean_of_printed", Cell::number(a.of_printed));
        if let Some(mean) = a.of_counts {
            put("average", &a.cell, "average", "mean_of_counts", Cell::number(mean));
        }
        put("average", &a.cell, "average", "verdict", Cell::text(a.verdict()));
    }
    for Table1Row { cell, with_average, .. } in &paper::table1().rows {
        let Some(with) = with_average else { continue };
        for benchmark in &paper::table1().benchmarks {
            put(
                "attainable",
                cell,
                &format!("{} with LPC", benchmark.name),
                "published",
                Cell::text(NOT_IN_THE_SOURCE),
            );
        }
        put("average", cell, "average with LPC", "published", Cell::number(*with));
    }
    for p in &findings.percentages {
        put("attainable", &p.cell, &p.column, "published", Cell::number(p.published));
        put("attainable", &p.cell, &p.column, "examples", Cell::count(p.examples));
        let count = match (&p.counts, p.scores) {
            (None, _) => "none".to_string(),
            (Some(counts), Scores::RightOrWrong) => span(counts),
            (Some(counts), Scores::Preferences) => halves(counts),
        };
        put("attainable", &p.cell, &p.column, "count", Cell::text(count));
        if let (Some(counts), Scores::RightOrWrong) = (&p.counts, p.scores)
            && let Ok(interval) = wilson_interval(*counts.start(), p.examples)
        {
            put("attainable", &p.cell, &p.column, "low", Cell::number(100.0 * interval.low));
            put("attainable", &p.cell, &p.column, "high", Cell::number(100.0 * interval.high));
        }
    }
    for c in &findings.comparisons {
        let mut put = |statistic: &str, value: f64| {
            put("comparison", &c.cell, c.column, statistic, Cell::number(value));
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
    sheet::render(&grid)
}
