//! A study as a document, and its numbers.

use super::codes::{self, Reading};
use super::words::{PROTOCOL, formula, intro, map_text, measured, sentence, status};
use super::{Answer, Arm, Layout, Measured, Summary};
use crate::plan::study::Rule;
use crate::report::document::{Basis, Block, Cell, Column, Document, Figure, Grid, Medium, Section, columns};
use crate::report::text::{NONE, NOT_RUN, bracketed, p_value, percent};

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
        Block::Only(Medium::Page, vec![status(), Block::paragraph(PROTOCOL)]),
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
    let protocol = Block::Paragraph(format!("Protocol: {PROTOCOL}"));
    let closing = Block::Only(Medium::Text, vec![protocol, Block::List(header.remarks())]);
    sections.push(Section::new("Arms", vec![Block::Grid(arms(summary)), closing]));
    Document { title: title.clone(), lead: Section::new("Verdicts", lead), sections }
}

fn tests(summary: &Summary<'_>, answers: &[&Answer]) -> Grid {
    let mut columns = columns(&["Claim"], &["Measured", "p", "p (Holm)"]);
    columns.push(Column::words("Verdict"));
    let row = |answer: &&Answer| {
        let texts = match &answer.outcome {
            None => [NOT_RUN, NONE, NONE, NOT_RUN].map(String::from),
            Some(outcome) => {
                let p = match outcome.measured {
                    Measured::Contrast(e) if outcome.p_holm.is_some() => p_value(e.p_value),
                    Measured::Votes(v) => p_value(v.p_value),
                    _ => NONE.into(),
                };
                let holm = outcome.p_holm.map_or(NONE.into(), p_value);
                [measured(outcome), p, holm, outcome.verdict.name().into()]
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
        Rule::Cost { arm, of, at_most } => format!(
            "Seconds of a run of {arm} over those of {of} with the same seed, at most {at_most}; geometric mean over seeds. \
             Training and scoring together, other runs beside it on the machine: `just bench` measures steps alone."
        ),
        Rule::Clusters {} => "Neighbours' votes on the source of every test prompt's latent.".into(),
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
    let mut columns = columns(&["kind", "name", "seed"], &["mean", "low", "high", "pairs", "p_holm"]);
    columns.extend(["verdict", "run_ids"].map(Column::words));
    let (blank, number) = (|| Cell::text(""), |x: Option<f64>| x.map_or(Cell::text(""), Cell::number));
    let row = |words: [&str; 3], [mean, low, high]: [Option<f64>; 3], end: [Cell; 4]| {
        words.map(Cell::text).into_iter().chain([mean, low, high].map(number)).chain(end).collect()
    };
    let mut rows: Vec<Vec<Cell>> = vec![];
    for arm in &summary.arms {
        let pairs = || Cell::count(arm.runs.first().map_or(0, |r| r.correct.len()));
        let end = |ids: String| [pairs(), blank(), blank(), Cell::text(ids)];
        let estimate = arm.accuracy.map_or([None; 3], |e| [e.mean, e.low, e.high].map(Some));
        rows.push(row(["arm", arm.name, ""], estimate, end(arm.ids().collect::<Vec<_>>().join(" "))));
        for scored in &arm.runs {
            let mean = scored.correct.iter().sum::<f64>() / scored.correct.len() as f64;
            let names = ["run", arm.name, &scored.run.seed().to_string()];
            rows.push(row(names, [Some(mean), None, None], end(scored.run.manifest.run.clone())));
        }
    }
    for answer in &summary.answers {
        let measured = match answer.outcome.map(|o| o.measured) {
            None => [None; 3],
            Some(Measured::Contrast(e)) => [e.mean, e.low, e.high].map(Some),
            Some(Measured::Ratio { ratio, interval }) => {
                [Some(ratio), interval.map(|i| i.0), interval.map(|i| i.1)]
            }
            // The null's range.
            Some(Measured::Votes(v)) => [v.value, v.null_low, v.null_high].map(Some),
        };
        let p = number(answer.outcome.and_then(|o| o.p_holm));
        let verdict = answer.outcome.map_or(NOT_RUN, |o| o.verdict.name());
        let end = [blank(), p, Cell::text(verdict), blank()];
        rows.push(row(["test", &answer.test.id, ""], measured, end));
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
