//! What the pictures have in common: colours, letters, axes.

use crate::error::{Error, Result};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

// Okabe and Ito's palette, told apart by people of every colour vision; shapes differ as well.
pub(super) const WITHOUT: RGBColor = RGBColor(213, 94, 0);
pub(super) const WITH: RGBColor = RGBColor(0, 114, 178);
pub(super) const INK: RGBColor = RGBColor(40, 40, 40);
pub(super) const FAINT: RGBColor = RGBColor(225, 225, 225);

type Plane = Cartesian2d<RangedCoordf64, RangedCoordf64>;
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Plot<'a> = DrawingArea<SVGBackend<'a>, Plane>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Plane>;
pub(super) type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// What `draw` draws, on white, as SVG.
///
/// Errors: the drawing library refuses, which plain numbers do not cause.
pub(super) fn svg(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let drawn = || -> Drawn {
            root.fill(&WHITE)?;
            draw(&root)?;
            Ok(root.present()?)
        };
        drawn().map_err(|e| Error::argument("figure", "svg", e, "a drawing"))?;
    }
    Ok(svg)
}

pub(super) fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// Begins at a point and has it at half its height.
pub(super) fn beside(size: u32) -> TextStyle<'static> {
    font(size).pos(Pos::new(HPos::Left, VPos::Center))
}

/// Has a point in the middle of its upper edge.
pub(super) fn below(size: u32) -> TextStyle<'static> {
    font(size).pos(Pos::new(HPos::Center, VPos::Top))
}

/// Text so many pixels under a point of a plot.
pub(super) fn under(
    area: &Area<'_>,
    plot: &Plot<'_>,
    point: (f64, f64),
    pixels: i32,
    text: String,
    size: u32,
) -> Drawn {
    let ((x, y), (left, top)) = (plot.map_coordinate(&point), area.get_base_pixel());
    Ok(area.draw(&Text::new(text, (x - left, y - top + pixels), below(size)))?)
}

/// The axis below a plot whose rows are labelled apart.
pub(super) fn horizontal_axis(
    chart: &mut Chart<'_, '_>,
    labels: usize,
    number: &dyn Fn(&f64) -> String,
    unit: &str,
    size: u32,
) -> Drawn {
    let mut mesh = chart.configure_mesh();
    mesh.disable_y_mesh().disable_y_axis().x_labels(labels).x_label_formatter(&number).x_desc(unit);
    mesh.light_line_style(WHITE).bold_line_style(FAINT).axis_style(INK);
    Ok(mesh.label_style(font(size)).axis_desc_style(font(size)).draw()?)
}

/// The axis left of a plot whose columns are labelled apart; `number`: where plain numbers do not read well.
pub(super) fn vertical_axis(
    chart: &mut Chart<'_, '_>,
    number: Option<&dyn Fn(&f64) -> String>,
    unit: &str,
    size: u32,
) -> Drawn {
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().disable_x_axis().y_labels(6).y_desc(unit);
    if let Some(number) = &number {
        mesh.y_label_formatter(number);
    }
    mesh.light_line_style(WHITE).bold_line_style(FAINT).axis_style(INK);
    Ok(mesh.label_style(font(size)).axis_desc_style(font(size)).draw()?)
}
