//! A run's codes as a picture.

use super::Reading;
use crate::error::Result;
use crate::report::drawing::{
    self, Area, Drawn, INK, WITH, WITHOUT, beside, font, horizontal_axis, under, vertical_axis,
};
use crate::report::study::Summary;
use crate::report::text::{p_value, percent};
use crate::run::codes::Codes;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

/// Beyond so many, the numbers of codes do not fit below the bars.
const NUMBERED: usize = 40;
const SIZE: (u32, u32) = (1000, 720);
const TITLE: u32 = 40;
const BARS: u32 = 330;
const BELOW: u32 = 640;
const LEFT: u32 = 500;
const GREY: RGBColor = RGBColor(150, 150, 150);

/// Errors: the drawing library refuses, which plain numbers do not cause.
pub(in crate::report) fn svg(summary: &Summary<'_>, reading: &Reading<'_>) -> Result<String> {
    drawing::svg(SIZE, |root| draw(summary, reading, root))
}

fn draw(summary: &Summary<'_>, reading: &Reading<'_>, root: &Area<'_>) -> Drawn {
    let header = &summary.evidence.header;
    let (codes, run) = (reading.codes, reading.run);
    let title = format!(
        "Codes of {}, {}: {}, {} scale",
        run.base,
        summary.study.objective,
        run.objective,
        header.scale.name()
    );
    root.draw(&Text::new(title, (16, 12), font(20)))?;
    let (above, caption) = root.split_vertically(BELOW);
    let (_, above) = above.split_vertically(TITLE);
    let (bars, below) = above.split_vertically(BARS - TITLE);
    let (left, right) = below.split_horizontally(LEFT);
    used(codes, &bars)?;
    gap(reading, &left)?;
    known(codes, &right)?;
    let [prior, posterior] = codes.perplexities();
    let lines = [
        format!(
            "Above and right: n = {} test pairs, seed {}. Left: a thin line a seed ({}), thick their mean, taken every 32 steps.",
            codes.pairs,
            run.seed(),
            reading.gaps.len()
        ),
        format!(
            "Perplexity of use: {prior:.1} by the prior, {posterior:.1} by the posterior, of {}; dead (less than a tenth of an equal share): {}.",
            codes.usage.len(),
            codes.dead()
        ),
        format!(
            "Prior and posterior have the same likeliest code for {} % of the pairs. Right, grey: 95 % of random orders of the labels.",
            percent(codes.same_code)
        ),
    ];
    for (line, y) in lines.into_iter().zip([6, 28, 50]) {
        caption.draw(&Text::new(line, (16, y), font(16)))?;
    }
    Ok(())
}

/// Prior and posterior side by side, code by code.
fn used(codes: &Codes, area: &Area<'_>) -> Drawn {
    let order = codes.by_use();
    let k = order.len();
    let highest = codes.usage.iter().flat_map(|u| [u.prior, u.posterior]).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin_top(36)
        .margin_right(16)
        .margin_left(8)
        .x_label_area_size(54)
        .y_label_area_size(66)
        .build_cartesian_2d(-0.6..k as f64 - 0.4, 0.0..112.0 * highest)?;
    vertical_axis(&mut chart, Some(&|v| format!("{v}")), "mean share of weight, %", 16)?;
    let plot = chart.plotting_area();
    for (i, &code) in order.iter().enumerate() {
        let (x, u) = (i as f64, &codes.usage[code]);
        for (share, from, to, colour) in [(u.prior, -0.4, -0.02, WITHOUT), (u.posterior, 0.02, 0.4, WITH)] {
            plot.draw(&Rectangle::new([(x + from, 0.0), (x + to, 100.0 * share)], colour.filled()))?;
        }
        if k <= NUMBERED {
            under(area, plot, (x, 0.0), 4, code.to_string(), 16)?;
        }
    }
    under(area, plot, ((k as f64 - 1.0) / 2.0, 0.0), 26, "code, by its share under the prior".into(), 16)?;
    let equal = 100.0 / k as f64;
    plot.draw(&DashedPathElement::new(
        vec![(-0.6, equal), (k as f64 - 0.4, equal)],
        6,
        4,
        INK.stroke_width(1),
    ))?;
    let text = |text: &'static str, x| area.draw(&Text::new(text, (x, 16), beside(16)));
    for (name, colour, x) in [("prior p(k|x)", WITHOUT, 80), ("posterior q(k|x, pair)", WITH, 218)] {
        area.draw(&Rectangle::new([(x, 9), (x + 14, 23)], colour.filled()))?;
        text(name, x + 22)?;
    }
    area.draw(&DashedPathElement::new(vec![(436, 16), (472, 16)], 6, 4, INK.stroke_width(1)))?;
    text("an equal share", 480)?;
    Ok(())
}

/// The bound's gap over training.
fn gap(reading: &Reading<'_>, area: &Area<'_>) -> Drawn {
    area.draw(&Text::new("Gap of the bound (7), exact", (24, 8), font(18)))?;
    if reading.gaps.is_empty() {
        return Ok(area.draw(&Text::new("not recorded", (80, 60), font(16)))?);
    }
    let highest = reading.gaps.iter().flatten().map(|p| p.1).fold(0.0, f64::max).max(1e-12);
    let mut chart = ChartBuilder::on(area)
        .margin_top(40)
        .margin_right(16)
        .margin_left(8)
        .x_label_area_size(54)
        .y_label_area_size(88)
        .build_cartesian_2d(0.0..100.0, 0.0..1.1 * highest)?;
    let number = move |v: &f64| match (*v == 0.0, highest < 0.01) {
        (true, _) => "0".into(),
        (_, true) => format!("{v:.1e}"),
        _ => format!("{v:.3}").trim_end_matches('0').trim_end_matches('.').to_string(),
    };
    vertical_axis(&mut chart, Some(&number), "nats", 16)?;
    let plot = chart.plotting_area();
    for curve in &reading.gaps {
        plot.draw(&PathElement::new(curve.clone(), GREY.stroke_width(1)))?;
    }
    let points = reading.gaps.iter().map(Vec::len).min().unwrap_or(0);
    let at = |i: usize| {
        let sum: f64 = reading.gaps.iter().map(|curve| curve[i].1).sum();
        (reading.gaps[0][i].0, sum / reading.gaps.len() as f64)
    };
    plot.draw(&PathElement::new((0..points).map(at).collect::<Vec<_>>(), WITH.stroke_width(3)))?;
    for share in [0.0, 25.0, 50.0, 75.0, 100.0] {
        under(area, plot, (share, 0.0), 4, format!("{share}"), 16)?;
    }
    under(area, plot, (50.0, 0.0), 26, "share of training steps, %".into(), 16)
}

/// What p(z|x) tells of labels, beside what chance gives.
fn known(codes: &Codes, area: &Area<'_>) -> Drawn {
    area.draw(&Text::new("What p(z|x) tells of a prompt", (24, 8), font(18)))?;
    let n = codes.information.len();
    if n == 0 {
        return Ok(area.draw(&Text::new("one source: nothing to tell", (40, 60), font(16)))?);
    }
    let ends = codes.information.iter().flat_map(|i| [i.found.value, i.found.null_high]);
    let highest = ends.fold(0.0, f64::max).max(1e-12);
    let mut chart = ChartBuilder::on(area)
        .margin_top(40)
        .margin_right(36)
        .x_label_area_size(54)
        .y_label_area_size(24)
        .build_cartesian_2d(0.0..1.12 * highest, n as f64..0.0)?;
    let number = move |v: &f64| match (*v == 0.0, highest < 0.001) {
        (true, _) => "0".into(),
        (_, true) => format!("{v:.0e}"),
        _ => format!("{v:.4}").trim_end_matches('0').trim_end_matches('.').to_string(),
    };
    horizontal_axis(&mut chart, 5, &number, "mutual information, nats", 16)?;
    let plot = chart.plotting_area();
    for (i, information) in codes.information.iter().enumerate() {
        let (top, found) = (i as f64, information.found);
        let middle = top + 0.68;
        let (x, y) = plot.map_coordinate(&(0.0, top + 0.28));
        let (left, above) = area.get_base_pixel();
        let name = format!("{}: p = {}", information.of, p_value(found.p_value));
        let style = beside(16);
        area.draw(&Text::new(name, (x - left + 4, y - above), style))?;
        let corner = |x: f64, y: f64| {
            let (x, y) = plot.map_coordinate(&(x, y));
            (x - left, y - above)
        };
        // A null next to nothing is still seen.
        let (from, to) = (corner(found.null_low, middle - 0.12), corner(found.null_high, middle + 0.12));
        area.draw(&Rectangle::new([from, (to.0.max(from.0 + 3), to.1)], GREY.filled()))?;
        plot.draw(&TriangleMarker::new((found.value, middle), 9, WITH.filled()))?;
    }
    Ok(())
}
