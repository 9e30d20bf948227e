//! Table 2 as a picture: a dot and its interval for every cell, floor and ceiling as lines.

use super::table2::{Arm, Summary};
use crate::error::{Error, Result};
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

// Okabe and Ito's palette, told apart by people of every colour vision; shapes differ as well.
pub(super) const WITHOUT: RGBColor = RGBColor(213, 94, 0);
pub(super) const WITH: RGBColor = RGBColor(0, 114, 178);
pub(super) const INK: RGBColor = RGBColor(40, 40, 40);
pub(super) const FAINT: RGBColor = RGBColor(225, 225, 225);

const WIDTH: u32 = 760;
const TOP: u32 = 84;
const AXIS: u32 = 56;
const ROW: u32 = 40;
const LABELS: u32 = 200;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The figure as SVG.
///
/// Errors: the drawing library refuses, which plain numbers do not cause.
pub fn table2(summary: &Summary) -> Result<String> {
    // A row for each base model's name, one for each of its objectives.
    let rows = summary.bases.len() + summary.rows.len();
    let mut svg = String::new();
    {
        let size = (WIDTH, TOP + AXIS + ROW * rows as u32);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(summary, rows, &root).map_err(|e| Error::argument("figure", "svg", e, "a drawing"))?;
    }
    Ok(svg)
}

fn draw(summary: &Summary, rows: usize, root: &Area) -> Result<(), Box<dyn std::error::Error>> {
    root.fill(&WHITE)?;
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
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(10)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .x_desc("accuracy on held-out pairs, %; bars: 95 % intervals over seeds and pairs")
        .light_line_style(WHITE)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .label_style(font(13))
        .axis_desc_style(font(13))
        .draw()?;
    let plot = chart.plotting_area();
    let label = |text: &str, y: f64, size: u32, indent: i32| {
        let (_, y) = plot.map_coordinate(&(low, y));
        let style = font(size).pos(Pos::new(HPos::Left, VPos::Center));
        root.draw(&Text::new(text.to_string(), (16 + indent, y), style))
    };
    let mut top = 0.0;
    for base in &summary.bases {
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
        top = bottom;
    }
    root.present()?;
    Ok(())
}

/// One interval and its dot; `x` maps a share to pixels, `left` is the row's start.
fn draw_arm(
    root: &Area,
    left: (i32, i32),
    arm: &Arm,
    colour: RGBColor,
    x: impl Fn(f64) -> i32,
) -> Result<(), Box<dyn std::error::Error>> {
    let y = left.1;
    let Some(e) = &arm.accuracy else {
        let style = font(11).color(&colour).pos(Pos::new(HPos::Left, VPos::Center));
        return Ok(root.draw(&Text::new("not run", (left.0 + 6, y), style))?);
    };
    root.draw(&PathElement::new(vec![(x(e.low), y), (x(e.high), y)], colour.stroke_width(2)))?;
    Ok(marker(root, (x(e.mean), y), colour)?)
}

fn marker(root: &Area, at: (i32, i32), colour: RGBColor) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    if colour == WITHOUT {
        root.draw(&Circle::new(at, 5, WHITE.filled()))?;
        root.draw(&Circle::new(at, 5, colour.stroke_width(2)))
    } else {
        root.draw(&TriangleMarker::new(at, 7, colour.filled()))
    }
}

fn legend(root: &Area) -> Result<(), Box<dyn std::error::Error>> {
    let y = 56;
    let style = || font(13).pos(Pos::new(HPos::Left, VPos::Center));
    let label = |text: &'static str, x| root.draw(&Text::new(text, (x, y), style()));
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

pub(super) fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}
