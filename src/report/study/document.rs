//! A study as a document, and its numbers.

use super::codes::{self, Reading};
use super::words::{formula, intro, map_text, measured, protocol, sentence, status};
use super::{Answer, Arm, Layout, Measured, Summary};
use crate::plan::study::Rule;
use crate::report::document::{Basis, Block, Cell, Column, Document, Figure, Grid, Medium, Section, columns};
use crate::report::text::{NONE, NOT_RUN, bracketed, p_value, percent, points as difference};
use crate::report::verdict::Decision;

/// `codes`: with their picture.
pub(super) fn document(
    summary: &Summary<'_>,
    picture: String,
    codes: Option<(&Reading<'_>, Figure)>,
) -> Document {
    let header = &summary.evidence.header;
    let (name, title) = (header.table.name(), &summary.study.title);
    let own = header.own.then(|| {
        Block::paragraph(
            "Not the matrix and study that ship with this scale: the notes and the runs' recipes say what was run.",
        )
    });
    let all: Vec<&Answer> = summary.answers.iter().collect();
    let grid = Block::Only(Medium::Text, vec![Block::Grid(tests(summary, &all))]);
    let status = || Block::Paragraph(status(summary));
    let lead = vec![
        Block::Excerpt(name, vec![Block::Paragraph(intro(summary)), grid]),
        Block::Only(Medium::Text, own.into_iter().collect()),
        Block::Only(Medium::Page, vec![status(), Block::Paragraph(protocol(summary))]),
        Block::Figure(Figure { file: format!("{name}.svg"), description: title.clone(), svg: picture }),
        Block::Only(Medium::Text, vec![status()]),
    ];
    let mut sections = vec![];
    for question in &summary.study.questions {
        let answers: Vec<&Answer> = summary.answers.iter().filter(|a| a.question.id == question.id).collect();
        let told = answers.iter().map(|a| format!("{}. {}", a.test.claim, sentence(a))).collect();
        let grid = Block::Only(Medium::Page, vec![Block::Grid(tests(summary, &answers))]);
        sections.push(Section::new(&question.asks, vec![Block::List(told), grid]));
    }
    if let Some(map) = &summary.map {
        let text = Block::Paragraph(map_text(map));
        // In text the last question is about the map.
        if let Some(last) = sections.last_mut() {
            last.blocks.push(Block::Only(Medium::Text, vec![text]));
        }
        let text = Block::Paragraph(map_text(map));
        sections.push(Section::new("The map of latents", vec![Block::Only(Medium::Page, vec![text])]));
    }
    sections.extend(codes.map(|(reading, figure)| codes::section(reading, figure)));
    let protocol = Block::Paragraph(format!("Protocol: {}", protocol(summary)));
    let closing = Block::Only(Medium::Text, vec![protocol, Block::List(header.remarks())]);
    sections.push(Section::new("Arms", vec![Block::Grid(arms(summary)), closing]));
    Document { title: title.clone(), lead: Section::new("Verdicts", lead), sections }
}

fn tests(summary: &Summary<'_>, answers: &[&Answer]) -> Grid {
    let mut columns = columns(&["Claim"], &["Measured", "p (Holm)", "p (equivalence)", "Detectable"]);
    columns.push(Column::words("Verdict"));
    let row = |answer: &&Answer| {
        let texts = match &answer.outcome {
            None => [NOT_RUN, NONE, NONE, NONE, NOT_RUN].map(String::from),
            Some(outcome) => {
                let Decision { p_holm, p_equivalence, detectable, verdict, .. } = outcome.decision;
                [
                    measured(outcome),
                    p_value(p_holm),
                    p_equivalence.map_or(NONE.into(), p_value),
                    difference(detectable).trim_start_matches('+').into(),
                    verdict.name().into(),
                ]
            }
        };
        let basis = basis(summary, answer);
        let cells = texts.map(|text| Cell::text(text).resting_on(basis.clone()));
        std::iter::once(Cell::text(&answer.test.claim)).chain(cells).collect()
    };
    Grid::new(columns, answers.iter().map(row).collect())
}

fn basis(summary: &Summary<'_>, answer: &Answer) -> Basis {
    let of_map = |arm: &Arm<'_>| {
        answer.test.rule == (Rule::Clusters {}) && summary.study.map.as_deref() == Some(arm.name)
    };
    let names = answer.test.rule.arms();
    let arms = summary.arms.iter().filter(|arm| names.contains(&arm.name) || of_map(arm));
    let how = match &answer.test.rule {
        Rule::Positive { contrast } => format!("{} above 0, by accuracy.", formula(contrast)),
        Rule::Within { contrast, points } => {
            format!("{} within ± {points} points, by accuracy.", formula(contrast))
        }
        Rule::Clusters {} => {
            "Neighbours' votes on the source of test prompts' latents, trained minus untrained, over seeds and prompts."
                .into()
        }
    };
    Basis {
        title: answer.test.claim.clone(),
        how,
        facts: vec![("Verdict".into(), sentence(answer))],
        runs: arms.flat_map(Arm::ids).collect(),
        source: String::new(),
    }
}

fn arms(summary: &Summary<'_>) -> Grid {
    let columns = columns(&["Arm"], &["Accuracy, %", "Seeds", "Seconds a run, median"]);
    let row = |arm: &Arm<'_>| {
        let mut seconds: Vec<f64> = arm.runs.iter().map(|r| r.run.manifest.outcome.wall_seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let basis = Basis {
            title: arm.name.into(),
            how: "Mean over seeds and test pairs of: is the chosen completion's implicit reward (4) the higher one?"
                .into(),
            runs: arm.ids().collect(),
            ..Basis::default()
        };
        let measured = [
            arm.accuracy.as_ref().map_or(NOT_RUN.into(), |e| bracketed(e, percent)),
            arm.runs.len().to_string(),
            seconds.get(seconds.len() / 2).map_or(NONE.into(), |s| format!("{s:.1}")),
        ];
        let measured = measured.map(|text| Cell::text(text).resting_on(basis.clone()));
        std::iter::once(Cell::text(arm.name)).chain(measured).collect()
    };
    Grid::new(columns, summary.arms.iter().map(row).collect())
}

/// A row an arm, a seed of an arm, and a test.
pub(super) fn numbers(summary: &Summary<'_>) -> Grid {
    let numbers = ["mean", "low", "high", "pairs", "p_holm", "p_equivalence_holm", "detectable"];
    let mut columns = columns(&["kind", "name", "seed"], &numbers);
    columns.extend(["verdict", "run_ids"].map(Column::words));
    let (blank, number) = (|| Cell::text(""), |x: Option<f64>| x.map_or(Cell::text(""), Cell::number));
    let row = |words: [&str; 3], [mean, low, high]: [Option<f64>; 3], end: Vec<Cell>| {
        words.map(Cell::text).into_iter().chain([mean, low, high].map(number)).chain(end).collect()
    };
    let mut rows: Vec<Vec<Cell>> = vec![];
    for arm in &summary.arms {
        let pairs = || Cell::count(arm.runs.first().map_or(0, |r| r.correct.len()));
        let end = |ids: String| vec![pairs(), blank(), blank(), blank(), blank(), Cell::text(ids)];
        let estimate = arm.accuracy.map_or([None; 3], |e| [e.mean, e.low, e.high].map(Some));
        rows.push(row(["arm", arm.name, ""], estimate, end(arm.ids().collect::<Vec<_>>().join(" "))));
        for scored in &arm.runs {
            let mean = scored.correct.iter().sum::<f64>() / scored.correct.len() as f64;
            let names = ["run", arm.name, &scored.run.seed().to_string()];
            rows.push(row(names, [Some(mean), None, None], end(scored.run.manifest.run.clone())));
        }
    }
    for answer in &summary.answers {
        let decision = answer.outcome.map(|o| o.decision);
        let estimate = decision.map(|d| d.compared.estimate);
        let measured = estimate.map_or([None; 3], |e| [e.mean, e.low, e.high].map(Some));
        let numbers = [
            blank(),
            number(decision.map(|d| d.p_holm)),
            number(decision.and_then(|d| d.p_equivalence)),
            number(decision.map(|d| d.detectable)),
        ];
        let verdict = decision.map_or(NOT_RUN, |d| d.verdict.name());
        let end = numbers.into_iter().chain([Cell::text(verdict), blank()]).collect();
        rows.push(row(["test", &answer.test.id, ""], measured, end));
        if let Some(Measured::Contrast { by_label: Some(e) }) = answer.outcome.map(|o| o.measured) {
            let measured = [e.mean, e.low, e.high].map(Some);
            rows.push(row(["test, labels as drawn", &answer.test.id, ""], measured, vec![blank(); 6]));
        }
    }
    Grid::new(columns, rows)
}

/// Every point of the map.
pub(super) fn points(map: &Layout) -> Grid {
    let mut columns = columns(&[], &["x", "y"]);
    columns.push(Column::words("source"));
    let points = map.points.iter().zip(&map.sources);
    let row = |((x, y), source): (&(f64, f64), &String)| {
        vec![Cell::number(*x), Cell::number(*y), Cell::text(source)]
    };
    Grid::new(columns, points.map(row).collect())
}
