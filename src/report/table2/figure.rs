//! Table 2 as a picture: a dot and its interval for every cell, floor and ceiling as lines.

use super::summary::{Arm, BaseSummary, Summary};
use crate::error::Result;
use crate::report::drawing::{Area, Drawn, INK, Plot, WITH, WITHOUT, beside, font, horizontal_axis, svg};
use plotters::element::DashedPathElement;
use plotters::prelude::*;

const WIDTH: u32 = 760;
const TOP: u32 = 84;
const AXIS: u32 = 56;
const ROW: u32 = 40;
const LABELS: u32 = 200;

/// The figure as SVG.
///
/// Errors: the drawing library refuses, which plain numbers do not cause.
pub fn figure(summary: &Summary) -> Result<String> {
    // A row for each base model's name, one for each of its objectives.
    let rows = summary.bases.len() + summary.rows.len();
    svg((WIDTH, TOP + AXIS + ROW * rows as u32), |root| draw(summary, rows, root))
}

fn draw(summary: &Summary, rows: usize, root: &Area) -> Drawn {
    let title = match summary.scale.name() {
        "paper" => "Preference accuracy, paper scale".to_string(),
        other => format!("Preference accuracy, {other} scale (not the paper's)"),
    };
    root.draw(&Text::new(title, (16, 12), font(18)))?;
    legend(root)?;
    let (low, high) = range(summary);
    let mut chart = ChartBuilder::on(root)
        .margin_top(TOP)
        .margin_right(24)
        .x_label_area_size(AXIS)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(low..high, rows as f64..0.0)?;
    let unit = "accuracy on held-out pairs, %; bars: 95 % intervals over seeds and pairs";
    horizontal_axis(&mut chart, 10, &|x| format!("{x:.0}"), unit, 13)?;
    let mut top = 0.0;
    for base in &summary.bases {
        top = draw_base(summary, base, root, chart.plotting_area(), (low, top))?;
    }
    Ok(())
}

/// A base model and its objectives from `corner` down; returns where the next begins.
fn draw_base(
    summary: &Summary,
    base: &BaseSummary,
    root: &Area,
    plot: &Plot,
    corner: (f64, f64),
) -> Result<f64, Box<dyn std::error::Error>> {
    let (low, top) = corner;
    let label = |text: &str, y: f64, size: u32, indent: i32| {
        let (_, y) = plot.map_coordinate(&(low, y));
        root.draw(&Text::new(text.to_string(), (16 + indent, y), beside(size)))
    };
    label(base.name, top + 0.5, 15, 0)?;
    let cells: Vec<_> = summary.rows.iter().filter(|r| r.base == base.name).collect();
    let bottom = top + 1.0 + cells.len() as f64;
    let vertical = |share: f64| vec![(100.0 * share, top + 0.75), (100.0 * share, bottom)];
    if let Some((share, _)) = base.accuracy {
        plot.draw(&DashedPathElement::new(vertical(share.share()), 5, 4, INK.stroke_width(1)))?;
    }
    if let Some(ceiling) = base.ceiling {
        plot.draw(&PathElement::new(vertical(ceiling.expected), INK.stroke_width(2)))?;
    }
    for (i, row) in cells.into_iter().enumerate() {
        let y = top + 1.5 + i as f64;
        label(row.objective, y, 14, 16)?;
        for (arm, y, colour) in [(&row.without, y - 0.17, WITHOUT), (&row.with, y + 0.17, WITH)] {
            draw_arm(root, plot.map_coordinate(&(low, y)), arm, colour, |share| {
                plot.map_coordinate(&(100.0 * share, y)).0
            })?;
        }
    }
    Ok(bottom)
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
