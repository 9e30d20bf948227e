//! A study as a picture: a dot and its interval for every contrast, question by question.

use super::{Answer, Summary};
use crate::error::Result;
use crate::report::drawing::{
    self, Area, Drawn, FAINT, INK, Plot, WITH, WITHOUT, beside, font, horizontal_axis,
};
use crate::report::verdict::Verdict;
use plotters::prelude::*;

const WIDTH: u32 = 1000;
const TOP: u32 = 84;
const AXIS: u32 = 62;
const ROW: u32 = 28;
const LABELS: u32 = 560;
const GREY: RGBColor = RGBColor(110, 110, 110);

/// Errors: the drawing library refuses, which plain numbers do not cause.
pub(super) fn svg(summary: &Summary<'_>) -> Result<String> {
    let questions: Vec<(&str, Vec<&Answer>)> = summary
        .study
        .questions
        .iter()
        .map(|q| {
            let drawn = |a: &&Answer| a.question.id == q.id;
            (q.asks.as_str(), summary.answers.iter().filter(drawn).collect::<Vec<_>>())
        })
        .collect();
    let rows: usize = questions.iter().map(|(_, answers)| 1 + answers.len()).sum();
    drawing::svg((WIDTH, TOP + AXIS + ROW * rows as u32), |root| draw(summary, &questions, rows, root))
}

fn draw(summary: &Summary<'_>, questions: &[(&str, Vec<&Answer>)], rows: usize, root: &Area<'_>) -> Drawn {
    let header = &summary.evidence.header;
    let base = header.bases.first().map_or("", |b| &b.name);
    let title = format!(
        "{}: {base}, {} scale, {} seeds per arm",
        summary.study.title,
        header.scale.name(),
        header.seeds.len()
    );
    root.draw(&Text::new(title, (16, 12), font(20)))?;
    legend(root)?;
    let estimates = questions.iter().flat_map(|(_, answers)| answers).filter_map(|a| contrast(a));
    let reach = estimates.flat_map(|e| [e.0.abs(), e.2.abs()]).fold(1.5, f64::max);
    let reach = if reach > 2.5 { (reach / 2.5).ceil() * 2.5 } else { (reach / 0.5).ceil() * 0.5 };
    let mut chart = ChartBuilder::on(root)
        .margin_top(TOP)
        .margin_right(28)
        .x_label_area_size(AXIS)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(-reach..reach, rows as f64..0.0)?;
    let number = |x: &f64| if *x == 0.0 { "0".into() } else { format!("{x:+}").replace('-', "−") };
    let unit = "difference of preference accuracy, percentage points; bars: 95 % intervals";
    horizontal_axis(&mut chart, 7, &number, unit, 15)?;
    let plot = chart.plotting_area();
    plot.draw(&PathElement::new(vec![(0.0, 0.0), (0.0, rows as f64)], INK.stroke_width(1)))?;
    let label = |text: &str, y: f64, size: u32, indent: i32| {
        let (_, y) = plot.map_coordinate(&(0.0, y));
        root.draw(&Text::new(text.to_string(), (16 + indent, y), beside(size)))
    };
    let mut y = 0.5;
    for (asks, answers) in questions {
        label(asks, y, 16, 0)?;
        y += 1.0;
        for answer in answers {
            label(&answer.test.claim, y, 14, 18)?;
            interval(answer, root, plot, y, reach)?;
            y += 1.0;
        }
    }
    Ok(())
}

/// `reach`: where the plot ends, in points.
fn interval(answer: &Answer, root: &Area<'_>, plot: &Plot<'_>, y: f64, reach: f64) -> Drawn {
    let at = |x: f64, y: f64| plot.map_coordinate(&(x, y));
    let Some((low, mean, high)) = contrast(answer) else {
        return Ok(root.draw(&Text::new("not run", at(0.1 * reach, y), beside(13).color(&GREY)))?);
    };
    if let Some(points) = answer.outcome.and_then(|o| o.decision.compared.margin).map(|m| 100.0 * m) {
        let (left, right) = (at(-points.min(reach), y - 0.4), at(points.min(reach), y + 0.4));
        root.draw(&Rectangle::new([left, right], FAINT.filled()))?;
    }
    root.draw(&PathElement::new(vec![at(low, y), at(high, y)], colour(answer).stroke_width(2)))?;
    mark(root, at(mean, y), answer)
}

/// In points.
fn contrast(answer: &Answer) -> Option<(f64, f64, f64)> {
    let e = answer.outcome?.decision.compared.estimate;
    Some((100.0 * e.low, 100.0 * e.mean, 100.0 * e.high))
}

fn colour(answer: &Answer) -> RGBColor {
    match answer.outcome.map(|o| o.decision.verdict) {
        Some(Verdict::Supported) => WITH,
        Some(Verdict::Refuted) => WITHOUT,
        Some(Verdict::NoDifference) => INK,
        Some(Verdict::Undecided) | None => GREY,
    }
}

/// Shapes differ as well as colours.
fn mark(root: &Area<'_>, at: (i32, i32), answer: &Answer) -> Drawn {
    let colour = colour(answer);
    match answer.outcome.map(|o| o.decision.verdict) {
        Some(Verdict::Supported) => root.draw(&TriangleMarker::new(at, 8, colour.filled()))?,
        Some(Verdict::Refuted) => {
            let (x, y) = at;
            root.draw(&Rectangle::new([(x - 5, y - 5), (x + 5, y + 5)], colour.filled()))?;
        }
        Some(Verdict::NoDifference) => root.draw(&Circle::new(at, 5, colour.filled()))?,
        Some(Verdict::Undecided) | None => {
            root.draw(&Circle::new(at, 5, WHITE.filled()))?;
            root.draw(&Circle::new(at, 5, colour.stroke_width(2)))?;
        }
    }
    Ok(())
}

fn legend(root: &Area<'_>) -> Drawn {
    let y = 58;
    let text = |text: &'static str, x| root.draw(&Text::new(text, (x, y), beside(14)));
    root.draw(&TriangleMarker::new((24, y), 8, WITH.filled()))?;
    text("claim supported", 38)?;
    root.draw(&Rectangle::new([(171, y - 5), (181, y + 5)], WITHOUT.filled()))?;
    text("refuted", 190)?;
    root.draw(&Circle::new((266, y), 5, INK.filled()))?;
    text("no difference", 280)?;
    root.draw(&Circle::new((396, y), 5, GREY.stroke_width(2)))?;
    text("undecided", 410)?;
    root.draw(&Rectangle::new([(504, y - 9), (536, y + 9)], FAINT.filled()))?;
    text("the margin: smaller differences do not matter", 544)?;
    Ok(())
}
