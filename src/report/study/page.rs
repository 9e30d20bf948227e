//! A study on its page: every number with the runs behind it.

use super::text::{
    ARMS, ARMS_ALIGNMENT, PROTOCOL, TESTS, TESTS_ALIGNMENT, arm_row, formula, intro, map_text, sentence,
    status, test_row,
};
use super::{Answer, Arm, Summary};
use crate::plan::study::Rule;
use crate::report::exhibit::{Cell, Grid, Panel, Section};

pub(super) fn sections(summary: &Summary<'_>, figure: String) -> Vec<Section> {
    let strings = |header: &[&str]| header.iter().map(|h| h.to_string()).collect::<Vec<_>>();
    let grid = |alignment: &str, header: &[&str], rows| Grid {
        caption: String::new(),
        alignment: alignment.into(),
        header: strings(header),
        rows,
    };
    let mut sections = vec![Section {
        title: "Verdicts".into(),
        paragraphs: vec![intro(summary), status(summary), PROTOCOL.into()],
        grids: vec![],
        figure: Some(figure),
    }];
    for question in &summary.study.questions {
        let answers: Vec<&Answer> = summary.answers.iter().filter(|a| a.question.id == question.id).collect();
        sections.push(Section {
            title: question.asks.clone(),
            paragraphs: answers.iter().map(|a| format!("{}. {}", a.test.claim, sentence(a))).collect(),
            grids: vec![grid(TESTS_ALIGNMENT, &TESTS, answers.iter().map(|a| tested(summary, a)).collect())],
            figure: None,
        });
    }
    if let Some(map) = &summary.map {
        let paragraphs = vec![map_text(map)];
        sections.push(Section {
            title: "The map of latents".into(),
            paragraphs,
            grids: vec![],
            figure: None,
        });
    }
    let arms = summary.arms.iter().map(of_arm).collect();
    sections.push(Section {
        title: "Arms".into(),
        paragraphs: vec![],
        grids: vec![grid(ARMS_ALIGNMENT, &ARMS, arms)],
        figure: None,
    });
    sections
}

fn of_arm(arm: &Arm<'_>) -> Vec<Cell> {
    let panel = Panel {
        title: arm.name.into(),
        how: "Mean over seeds and test pairs of: is the chosen completion's implicit reward (4) the higher one?".into(),
        facts: vec![],
        runs: arm.runs.iter().map(|r| r.position).collect(),
        filter: String::new(),
    };
    let leads = |(i, text): (usize, String)| match i {
        0 => Cell::plain(text),
        _ => Cell::leading_to(text, panel.clone()),
    };
    arm_row(arm).into_iter().enumerate().map(leads).collect()
}

fn tested(summary: &Summary<'_>, answer: &Answer) -> Vec<Cell> {
    let of_map = |arm: &&Arm<'_>| {
        answer.test.rule == (Rule::Clusters {}) && summary.study.map.as_deref() == Some(arm.name)
    };
    let names = answer.test.rule.arms();
    let arms: Vec<&Arm<'_>> =
        summary.arms.iter().filter(|arm| names.contains(&arm.name) || of_map(arm)).collect();
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
    let panel = Panel {
        title: answer.test.claim.clone(),
        how,
        facts: vec![("Verdict".into(), sentence(answer))],
        runs: arms.iter().flat_map(|a| &a.runs).map(|r| r.position).collect(),
        filter: String::new(),
    };
    let leads = |(i, text): (usize, String)| match i {
        0 => Cell::plain(text),
        _ => Cell::leading_to(text, panel.clone()),
    };
    test_row(answer).into_iter().enumerate().map(leads).collect()
}
