//! Table 2 as a picture: left a dot and its interval for every cell, floor and ceiling as lines; right the differences,
//! cell by cell and pooled, with the margin and what the paper published.

use super::summary::{Arm, BaseSummary, Difference, Summary};
use crate::error::Result;
use crate::report::drawing::{
    Area, Drawn, FAINT, INK, Plot, WITH, WITHOUT, beside, font, horizontal_axis, svg,
};
use crate::report::verdict::margin_words;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

const WIDTH: u32 = 1080;
/// Of the accuracies; the rest is the differences'.
const LEFT: u32 = 640;
const TOP: u32 = 84;
const AXIS: u32 = 56;
const ROW: u32 = 40;
const LABELS: u32 = 190;
const POOLED: &str = "mean of the models";

/// The figure as SVG.
///
/// Errors: the drawing library refuses, which plain numbers do not cause.
pub fn figure(summary: &Summary) -> Result<String> {
    let lines = lines(summary);
    svg((WIDTH, TOP + AXIS + ROW * lines.len() as u32), |root| draw(summary, &lines, root))
}

/// What stands at a height of both halves.
enum Line<'a> {
    Base(&'a BaseSummary<'a>, usize),
    Heading(&'static str),
    Cell {
        label: &'a str,
        arms: Option<[&'a Arm<'a>; 2]>,
        difference: Option<&'a Difference>,
        paper: Option<f64>,
    },
}

/// A base model's name, then its objectives; the pooled differences last.
fn lines<'a>(summary: &'a Summary<'_>) -> Vec<Line<'a>> {
    let mut lines = vec![];
    for base in &summary.bases {
        let cells: Vec<_> = summary.rows.iter().filter(|r| r.base == base.name).collect();
        lines.push(Line::Base(base, cells.len()));
        lines.extend(cells.into_iter().map(|row| Line::Cell {
            label: row.objective,
            arms: Some([&row.without, &row.with]),
            difference: row.comparison.as_ref().map(|c| &c.difference),
            paper: row.published.map(|p| p.with - p.without),
        }));
    }
    if !summary.pooled.is_empty() {
        lines.push(Line::Heading(POOLED));
    }
    lines.extend(summary.pooled.iter().map(|p| Line::Cell {
        label: p.objective.unwrap_or("all objectives"),
        arms: None,
        difference: Some(&p.difference),
        paper: p.published,
    }));
    lines
}

fn draw(summary: &Summary, lines: &[Line], root: &Area) -> Drawn {
    let title = match summary.scale.name() {
        "paper" => "Preference accuracy, paper scale".to_string(),
        other => format!("Preference accuracy, {other} scale (not the paper's)"),
    };
    root.draw(&Text::new(title, (16, 12), font(18)))?;
    let (left, right) = root.split_horizontally(LEFT);
    accuracies(summary, lines, &left)?;
    differences(summary, lines, &right)
}

fn accuracies(summary: &Summary, lines: &[Line], area: &Area) -> Drawn {
    legend(area)?;
    let (low, high) = range(summary);
    let mut chart = ChartBuilder::on(area)
        .margin_top(TOP)
        .margin_right(16)
        .x_label_area_size(AXIS)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(low..high, lines.len() as f64..0.0)?;
    let unit = "accuracy on held-out pairs, %; bars: 95 % intervals";
    horizontal_axis(&mut chart, 10, &|x| format!("{x:.0}"), unit, 13)?;
    let plot = chart.plotting_area();
    for (top, line) in lines.iter().enumerate() {
        let y = top as f64 + 0.5;
        let label = |text: &str, size: u32, indent: i32| {
            let (_, y) = plot.map_coordinate(&(low, y));
            area.draw(&Text::new(text.to_string(), (16 + indent, y), beside(size)))
        };
        match line {
            Line::Heading(text) => label(text, 15, 0)?,
            Line::Base(base, cells) => {
                label(base.name, 15, 0)?;
                limits(base, plot, (top as f64 + 0.75, (top + 1 + cells) as f64))?;
            }
            Line::Cell { label: text, arms, .. } => {
                label(text, 14, 16)?;
                for (arm, (y, colour)) in arms.iter().flatten().zip([(y - 0.17, WITHOUT), (y + 0.17, WITH)]) {
                    draw_arm(area, plot.map_coordinate(&(low, y)), arm, colour, |share| {
                        plot.map_coordinate(&(100.0 * share, y)).0
                    })?;
                }
            }
        }
    }
    Ok(())
}

/// Floor and ceiling of a base model's cells, which lie between these heights.
fn limits(base: &BaseSummary, plot: &Plot, (top, bottom): (f64, f64)) -> Drawn {
    let vertical = |share: f64| vec![(100.0 * share, top), (100.0 * share, bottom)];
    if let Some((share, _)) = base.accuracy {
        plot.draw(&DashedPathElement::new(vertical(share.share()), 5, 4, INK.stroke_width(1)))?;
    }
    if let Some(ceiling) = base.ceiling {
        plot.draw(&PathElement::new(vertical(ceiling.expected), INK.stroke_width(2)))?;
    }
    Ok(())
}

/// One interval and its dot; `x` maps a share to pixels, `left` is the row's start.
fn draw_arm(root: &Area, left: (i32, i32), arm: &Arm, colour: RGBColor, x: impl Fn(f64) -> i32) -> Drawn {
    let y = left.1;
    let Some(e) = &arm.accuracy else {
        let style = beside(11).color(&colour);
        return Ok(root.draw(&Text::new("not run", (left.0 + 6, y), style))?);
    };
    root.draw(&PathElement::new(vec![(x(e.low), y), (x(e.high), y)], colour.stroke_width(2)))?;
    marker(root, (x(e.mean), y), colour)
}

fn marker(root: &Area, at: (i32, i32), colour: RGBColor) -> Drawn {
    if colour == WITHOUT {
        root.draw(&Circle::new(at, 5, WHITE.filled()))?;
        root.draw(&Circle::new(at, 5, colour.stroke_width(2)))?;
    } else {
        root.draw(&TriangleMarker::new(at, 7, colour.filled()))?;
    }
    Ok(())
}

/// In points, with LPC minus without.
fn differences(summary: &Summary, lines: &[Line], area: &Area) -> Drawn {
    area.draw(&PathElement::new(vec![(24, 56), (44, 56)], INK.stroke_width(2)))?;
    area.draw(&Circle::new((34, 56), 5, INK.filled()))?;
    area.draw(&Text::new("LPC's gain", (52, 56), beside(13)))?;
    area.draw(&Cross::new((136, 56), 5, WITHOUT.stroke_width(2)))?;
    area.draw(&Text::new("the paper's (7–8B)", (148, 56), beside(13)))?;
    if let Some(margin) = summary.margin {
        area.draw(&Rectangle::new([(280, 48), (304, 64)], FAINT.filled()))?;
        area.draw(&Text::new(format!("margin ± {}", margin_words(margin)), (310, 56), beside(13)))?;
    }
    let drawn = lines.iter().filter_map(|line| match line {
        Line::Cell { difference, paper, .. } => Some((difference, paper)),
        _ => None,
    });
    let ends = drawn.flat_map(|(difference, paper)| {
        let e = difference.map(|d| d.decides());
        [e.map(|e| 100.0 * e.low), e.map(|e| 100.0 * e.high), *paper].into_iter().flatten()
    });
    let reach = ends.map(f64::abs).fold(1.5, f64::max).ceil();
    let mut chart = ChartBuilder::on(area)
        .margin_top(TOP)
        .margin_right(24)
        .margin_left(16)
        .x_label_area_size(AXIS)
        .build_cartesian_2d(-reach..reach, lines.len() as f64..0.0)?;
    let number = |x: &f64| if *x == 0.0 { "0".into() } else { format!("{x:+}").replace('-', "−") };
    horizontal_axis(&mut chart, 7, &number, "with LPC minus without, percentage points", 13)?;
    let plot = chart.plotting_area();
    for (top, line) in lines.iter().enumerate() {
        let Line::Cell { difference, paper, .. } = line else { continue };
        let (top, y) = (top as f64, top as f64 + 0.5);
        if let Some(margin) = summary.margin {
            let margin = (100.0 * margin).min(reach);
            plot.draw(&Rectangle::new([(-margin, top), (margin, top + 1.0)], FAINT.filled()))?;
        }
        plot.draw(&PathElement::new(vec![(0.0, top), (0.0, top + 1.0)], INK.stroke_width(1)))?;
        let at = |x: f64| plot.map_coordinate(&(x, y));
        let base = area.get_base_pixel();
        let own = |(x, y): (i32, i32)| (x - base.0, y - base.1);
        if let Some(points) = paper {
            area.draw(&Cross::new(own(at(*points)), 5, WITHOUT.stroke_width(2)))?;
        }
        if let Some(e) = difference.map(|d| d.decides()) {
            let ends = vec![own(at(100.0 * e.low)), own(at(100.0 * e.high))];
            area.draw(&PathElement::new(ends, INK.stroke_width(2)))?;
            area.draw(&Circle::new(own(at(100.0 * e.mean)), 5, INK.filled()))?;
        }
    }
    Ok(())
}

fn legend(root: &Area) -> Drawn {
    let y = 56;
    let label = |text: &'static str, x| root.draw(&Text::new(text, (x, y), beside(13)));
    for (x, colour, text) in [(24, WITHOUT, "without LPC"), (150, WITH, "with LPC")] {
        root.draw(&PathElement::new(vec![(x - 10, y), (x + 10, y)], colour.stroke_width(2)))?;
        marker(root, (x, y), colour)?;
        label(text, x + 18)?;
    }
    let upright = |x| vec![(x, y - 10), (x, y + 10)];
    root.draw(&DashedPathElement::new(upright(262), 5, 4, INK.stroke_width(1)))?;
    label("before preference training", 274)?;
    root.draw(&PathElement::new(upright(476), INK.stroke_width(2)))?;
    label("Bayes-optimal, expected", 488)?;
    Ok(())
}

/// Percent, from the smallest to the largest thing drawn, out to the next multiple of five.
fn range(summary: &Summary) -> (f64, f64) {
    let arms = summary.rows.iter().flat_map(|r| [&r.without, &r.with]);
    let drawn: Vec<f64> = arms
        .filter_map(|a| a.accuracy.as_ref())
        .flat_map(|e| [e.low, e.high])
        .chain(summary.bases.iter().filter_map(|b| b.accuracy).map(|(share, _)| share.share()))
        .chain(summary.bases.iter().filter_map(|b| b.ceiling).map(|c| c.expected))
        .collect();
    let low = drawn.iter().copied().fold(0.5, f64::min);
    let high = drawn.iter().copied().fold(0.55, f64::max);
    (((100.0 * low - 1.0) / 5.0).floor() * 5.0, ((100.0 * high + 1.0) / 5.0).ceil() * 5.0)
}
