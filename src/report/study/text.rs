//! A study as Markdown, CSV and LaTeX.

use super::codes::{Reading, markdown_section};
use super::{Answer, Arm, Layout, Measured, Outcome, Summary};
use crate::error::{Error, Result};
use crate::eval::stats::Estimate;
use crate::plan::Scale;
use crate::plan::study::Rule;
use crate::report::latex::booktabs;
use crate::report::table::{self, csv_number, mark, p_value, percent, points};
use crate::report::table2::Verdict;
use std::collections::BTreeMap;

pub(super) const NOT_RUN: &str = "not run";

pub(super) const ARMS: [&str; 4] = ["Arm", "Accuracy, %", "Seeds", "Seconds a run, median"];
pub(super) const ARMS_ALIGNMENT: &str = "lrrr";
pub(super) const TESTS: [&str; 5] = ["Claim", "Measured", "p", "p (Holm)", "Verdict"];
pub(super) const TESTS_ALIGNMENT: &str = "lrrrl";

pub(super) fn arm_row(arm: &Arm<'_>) -> Vec<String> {
    let mut seconds: Vec<f64> = arm.runs.iter().map(|r| r.run.manifest.outcome.wall_seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let accuracy = arm.accuracy.as_ref().map_or(NOT_RUN.into(), |e| bracketed(e, percent));
    let median = seconds.get(seconds.len() / 2).map_or("–".into(), |s| format!("{s:.1}"));
    vec![arm.name.into(), accuracy, arm.runs.len().to_string(), median]
}

pub(super) fn test_row(answer: &Answer) -> Vec<String> {
    let Some(outcome) = &answer.outcome else {
        let none = || "–".to_string();
        return vec![answer.test.claim.clone(), NOT_RUN.into(), none(), none(), NOT_RUN.into()];
    };
    let p = match outcome.measured {
        Measured::Contrast(e) if outcome.p_holm.is_some() => p_value(e.p_value),
        Measured::Votes(v) => p_value(v.p_value),
        _ => "–".into(),
    };
    let holm = outcome.p_holm.map_or("–".into(), p_value);
    vec![answer.test.claim.clone(), measured(outcome), p, holm, outcome.verdict.name().into()]
}

fn bracketed(e: &Estimate, format: fn(f64) -> String) -> String {
    format!("{} [{}, {}]", format(e.mean), format(e.low), format(e.high))
}

/// What a test found, in words.
pub fn measured(outcome: &Outcome) -> String {
    match outcome.measured {
        Measured::Contrast(e) => format!("{} points", bracketed(&e, points)),
        Measured::Ratio { ratio, interval: None } => format!("{ratio:.2} ×"),
        Measured::Ratio { ratio, interval: Some((low, high)) } => {
            format!("{ratio:.2} × [{low:.2}, {high:.2}]")
        }
        Measured::Votes(v) => format!(
            "{} % of neighbours' votes right; by chance {} to {} %",
            percent(v.value),
            percent(v.null_low),
            percent(v.null_high)
        ),
    }
}

/// `LPC − DPO`, weights other than 1 in front.
pub(super) fn formula(contrast: &BTreeMap<String, f64>) -> String {
    let mut terms: Vec<(&String, f64)> = contrast.iter().map(|(name, w)| (name, *w)).collect();
    terms.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut text = String::new();
    for (name, weight) in terms {
        text += match (text.is_empty(), weight < 0.0) {
            (true, false) => "",
            (true, true) => "−",
            (false, false) => " + ",
            (false, true) => " − ",
        };
        if weight.abs() != 1.0 {
            text += &format!("{} · ", weight.abs());
        }
        text += &format!("({name})");
    }
    text
}

/// The verdict and why, in one sentence.
pub(super) fn sentence(answer: &Answer) -> String {
    let missing = answer.missing.join("; ");
    let Some(outcome) = &answer.outcome else {
        let why = if missing.is_empty() { &answer.test.claim } else { &missing };
        return format!("Not run: {why}.");
    };
    let word = match outcome.verdict {
        Verdict::Supported => "Supported",
        Verdict::NotSupported => "Not supported",
        Verdict::Undecided => "Undecided",
    };
    let why = match (&answer.test.rule, outcome.measured, outcome.verdict) {
        (Rule::Positive { contrast }, _, Verdict::Undecided) => {
            format!("{} may be on either side of 0 after Holm's correction", formula(contrast))
        }
        (Rule::Positive { contrast }, Measured::Contrast(e), _) => {
            let side = if e.mean > 0.0 { "above" } else { "below" };
            format!("{} is {side} 0", formula(contrast))
        }
        (Rule::Within { contrast, points }, _, Verdict::Supported) => {
            format!("the interval of {} lies within ± {points} points", formula(contrast))
        }
        (Rule::Within { contrast, points }, _, Verdict::NotSupported) => {
            format!("the interval of {} lies beyond ± {points} points", formula(contrast))
        }
        (Rule::Within { contrast, points }, _, Verdict::Undecided) => {
            format!(
                "the interval of {} reaches beyond ± {points} points, but not all of it",
                formula(contrast)
            )
        }
        (Rule::Cost { at_most, .. }, ..) => format!("at most {at_most} × was asked for"),
        (Rule::Clusters {}, _, Verdict::Supported) => "more than for sources in random order".into(),
        (Rule::Clusters {}, ..) => "no more than sources in random order may give".into(),
        _ => "the rule does not apply to what was measured".into(),
    };
    let without = if missing.is_empty() { String::new() } else { format!(" Without {missing}.") };
    format!("{word}: {}; {why}.{without}", measured(outcome))
}

pub(super) fn status(summary: &Summary<'_>) -> String {
    let count = |verdict: Option<Verdict>| {
        summary.answers.iter().filter(|a| a.outcome.map(|o| o.verdict) == verdict).count()
    };
    format!(
        "Claims supported: {}; not supported: {}; undecided: {}; not run: {}.",
        count(Some(Verdict::Supported)),
        count(Some(Verdict::NotSupported)),
        count(Some(Verdict::Undecided)),
        count(None)
    )
}

pub(super) fn intro(summary: &Summary<'_>) -> String {
    let header = &summary.evidence.header;
    let scale = match header.scale {
        Scale::Paper => "The paper's scale".to_string(),
        other => format!("The {} scale, not the paper's", other.name()),
    };
    let base = header.bases.first().map_or("", |b| &b.name);
    let pairs = summary.arms.iter().flat_map(|a| &a.runs).map(|r| r.correct.len()).max().unwrap_or(0);
    format!(
        "{scale}: {base}, {}; preference accuracy on {pairs} held-out pairs, seeds an arm: {}. Brackets: 95 % intervals over \
         seeds and pairs.",
        summary.study.objective,
        header.seeds.len()
    )
}

pub(super) const PROTOCOL: &str = "Every claim's rule stood in the study's recipe before its runs. A difference is supported where p < 0.05 \
     after Holm's correction over all differences of the study, and not supported where it is as sure to be the other \
     way; \"within\" asks that the whole 95 % interval lies within. Contrasts are paired by seed and test pair.";

pub(super) fn markdown(summary: &Summary<'_>, codes: Option<&Reading<'_>>) -> String {
    let header = &summary.evidence.header;
    let name = header.table.name();
    let own = if header.own {
        "Not the matrix and study that ship with this scale: the notes and the runs' recipes say what was run.\n\n"
    } else {
        ""
    };
    let tests: Vec<_> = summary.answers.iter().map(test_row).collect();
    let main = format!("{}\n\n{}", intro(summary), table::markdown(TESTS_ALIGNMENT, &TESTS, &tests));
    let mut text = format!("# {}\n\n{}\n{own}", summary.study.title, mark(name, &main));
    text += &format!("![{}]({name}.svg)\n\n{}\n\n", summary.study.title, status(summary));
    for question in &summary.study.questions {
        text += &format!("## {}\n\n", question.asks);
        for answer in summary.answers.iter().filter(|a| a.question.id == question.id) {
            text += &format!("- {}. {}\n", answer.test.claim, sentence(answer));
        }
        text.push('\n');
    }
    if let Some(map) = &summary.map {
        text += &format!("{}\n\n", map_text(map));
    }
    if let Some(reading) = codes {
        text += &markdown_section(reading, name);
    }
    let arms: Vec<_> = summary.arms.iter().map(arm_row).collect();
    text += &format!("## Arms\n\n{}\n", table::markdown(ARMS_ALIGNMENT, &ARMS, &arms));
    let notes: String = header.remarks().iter().map(|note| format!("- {note}\n")).collect();
    text + &format!("Protocol: {PROTOCOL}\n\n{notes}")
}

pub(super) fn map_text(map: &Layout) -> String {
    let [s, v] = [map.silhouette, map.votes];
    format!(
        "Latents of {} test prompts (seed {}), in all their dimensions: mean silhouette by source {:.3}, by chance {:.3} to {:.3} \
         (p = {}); the commonest source of the 10 nearest is right for {} %, by chance {} to {} % (p = {}). Before the first \
         step, the base model's hidden states through a random network give {:.3} and {} %: only what goes beyond that is \
         learnt. The picture is t-SNE's, and decides nothing.",
        map.points.len(),
        map.seed,
        s.value,
        s.null_low,
        s.null_high,
        p_value(s.p_value),
        percent(v.value),
        percent(v.null_low),
        percent(v.null_high),
        p_value(v.p_value),
        map.untrained.silhouette,
        percent(map.untrained.vote_accuracy),
    )
}

pub(super) fn latex(summary: &Summary<'_>) -> String {
    let rows: Vec<_> = summary.answers.iter().map(test_row).collect();
    let header = &summary.evidence.header;
    let label = format!("tab:{}-{}", header.scale.name(), header.table.name());
    booktabs(TESTS_ALIGNMENT, &TESTS, &rows, &intro(summary), &label)
}

/// A row an arm, a seed of an arm, and a test.
pub(super) fn csv(summary: &Summary<'_>) -> Result<Vec<u8>> {
    let mut rows: Vec<Vec<String>> = vec![];
    let blank = String::new;
    for arm in &summary.arms {
        let ids: Vec<&str> = arm.runs.iter().map(|r| r.run.manifest.run.as_str()).collect();
        let (mean, low, high) = arm.accuracy.map_or((blank(), blank(), blank()), |e| {
            (csv_number(e.mean), csv_number(e.low), csv_number(e.high))
        });
        let n = arm.runs.first().map_or(0, |r| r.correct.len()).to_string();
        rows.push(vec![
            "arm".into(),
            arm.name.into(),
            blank(),
            mean,
            low,
            high,
            n.clone(),
            blank(),
            blank(),
            ids.join(" "),
        ]);
        for scored in &arm.runs {
            let mean = scored.correct.iter().sum::<f64>() / scored.correct.len() as f64;
            let seed = scored.run.seed().to_string();
            let id = scored.run.manifest.run.clone();
            rows.push(vec![
                "run".into(),
                arm.name.into(),
                seed,
                csv_number(mean),
                blank(),
                blank(),
                n.clone(),
                blank(),
                blank(),
                id,
            ]);
        }
    }
    for answer in &summary.answers {
        let (mean, low, high) = match answer.outcome.map(|o| o.measured) {
            None => (blank(), blank(), blank()),
            Some(Measured::Contrast(e)) => (csv_number(e.mean), csv_number(e.low), csv_number(e.high)),
            Some(Measured::Ratio { ratio, interval }) => {
                let (low, high) =
                    interval.map_or((blank(), blank()), |(l, h)| (csv_number(l), csv_number(h)));
                (csv_number(ratio), low, high)
            }
            // The null's range.
            Some(Measured::Votes(v)) => {
                (csv_number(v.value), csv_number(v.null_low), csv_number(v.null_high))
            }
        };
        let p = answer.outcome.and_then(|o| o.p_holm).map_or(blank(), csv_number);
        let verdict = answer.outcome.map_or(NOT_RUN, |o| o.verdict.name()).to_string();
        rows.push(vec![
            "test".into(),
            answer.test.id.clone(),
            blank(),
            mean,
            low,
            high,
            blank(),
            p,
            verdict,
            blank(),
        ]);
    }
    let header = ["kind", "name", "seed", "mean", "low", "high", "pairs", "p_holm", "verdict", "run_ids"];
    write(&header, &rows)
}

/// Every point of the map.
pub(super) fn map_csv(map: &Layout) -> Result<Vec<u8>> {
    let row = |((x, y), source): (&(f64, f64), &String)| vec![csv_number(*x), csv_number(*y), source.clone()];
    write(&["x", "y", "source"], &map.points.iter().zip(&map.sources).map(row).collect::<Vec<_>>())
}

pub(super) fn write(header: &[&str], rows: &[Vec<String>]) -> Result<Vec<u8>> {
    let fault = |e: String| Error::argument("study", "csv", e, "rows that can be written");
    let mut writer = csv::Writer::from_writer(vec![]);
    writer.write_record(header).map_err(|e| fault(e.to_string()))?;
    for row in rows {
        writer.write_record(row).map_err(|e| fault(e.to_string()))?;
    }
    writer.into_inner().map_err(|e| fault(e.to_string()))
}
