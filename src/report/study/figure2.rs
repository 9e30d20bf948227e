//! Figure 2 as a picture: accuracy over K, accuracy under flipped labels, and the map of latents.

use super::{Arm, Layout, Summary};
use crate::error::Result;
use crate::report::drawing::{
    self, Area, Drawn, FAINT, Plot, WITH, WITHOUT, below, beside, font, under, vertical_axis,
};
use crate::report::text::{p_value, percent};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use serde_json::Value;

const WIDTH: u32 = 1000;
const LEFT: u32 = 450;
/// Of a drawing without the map: as wide as its caption.
const NARROW: u32 = 640;
/// Of a panel on the left.
const HEIGHT: u32 = 280;
const CAPTION: u32 = 84;

/// Okabe and Ito's palette, told apart by people of every colour vision; shapes differ as well.
const PALETTE: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(40, 40, 40),
    RGBColor(140, 140, 140),
];

/// Errors: the drawing library refuses, which plain numbers do not cause.
pub(super) fn svg(summary: &Summary<'_>) -> Result<String> {
    let swept = swept(summary);
    let panels = if swept.len() > 1 { 2 } else { 1 };
    let width = if summary.map.is_some() { WIDTH } else { NARROW };
    drawing::svg((width, panels * HEIGHT + CAPTION), |root| draw(summary, &swept, root))
}

fn draw(summary: &Summary<'_>, swept: &[(f64, &Arm<'_>)], root: &Area<'_>) -> Drawn {
    let (width, height) = root.dim_in_pixel();
    let (above, caption) = root.split_vertically(height - CAPTION);
    for (line, y) in caption_lines(summary, swept).into_iter().zip([6, 30, 54]) {
        caption.draw(&Text::new(line, (16, y), font(14)))?;
    }
    let (left, right) = above.split_horizontally(if summary.map.is_some() { LEFT } else { width });
    let flips = if swept.len() > 1 {
        let (top, bottom) = left.split_vertically(HEIGHT);
        over_codes(summary, swept, &top)?;
        bottom
    } else {
        left
    };
    under_flips(summary, &flips)?;
    if let Some(map) = &summary.map {
        latents(map, &right)?;
    }
    Ok(())
}

/// Arms by their number of codes.
fn swept<'a>(summary: &'a Summary<'_>) -> Vec<(f64, &'a Arm<'a>)> {
    let mut swept: Vec<(f64, &Arm<'_>)> = vec![];
    let shortest = lengths(summary).first().copied();
    for arm in summary.arms.iter().filter(|a| flip_rate(a) == 0.0 && epochs(a) == shortest) {
        if let Some(codes) = setting(arm, "latent", "codes").and_then(Value::as_f64) {
            swept.push((codes, arm));
        }
    }
    swept.sort_by(|a, b| a.0.total_cmp(&b.0));
    swept
}

fn caption_lines(summary: &Summary<'_>, swept: &[(f64, &Arm<'_>)]) -> Vec<String> {
    let header = &summary.evidence.header;
    let base = header.bases.first().map_or("", |b| &b.name);
    let pairs = summary.arms.iter().flat_map(|a| &a.runs).map(|r| r.correct.len()).max().unwrap_or(0);
    let seeds = header.seeds.len();
    let first = format!(
        "{base}, {}, {} scale. {} of n = {pairs} test pairs and {seeds} {}; bars: 95 % intervals over both.",
        summary.study.objective,
        header.scale.name(),
        if summary.map.is_some() { "Left: means" } else { "Means" },
        if seeds == 1 { "seed" } else { "seeds" },
    );
    let missing = [
        (swept.len() < 2).then_some("other numbers of codes"),
        summary.map.is_none().then_some("a map of latents"),
    ];
    let missing: Vec<&str> = missing.into_iter().flatten().collect();
    let mut lines = vec![first];
    lines.extend(summary.map.as_ref().map(right_caption).unwrap_or_default());
    if !missing.is_empty() {
        lines.push(format!("Not run: {}.", missing.join(", ")));
    }
    lines
}

fn right_caption(map: &Layout) -> Vec<String> {
    let (s, v) = (map.silhouette, map.votes);
    let trained = format!(
        "Right: n = {} test prompts, seed {}. Mean silhouette {:.3} (by chance {:.3} to {:.3}, p = {}); source by 10 neighbours right: {} % (by chance {} to {} %).",
        map.points.len(),
        map.seed,
        s.value,
        s.null_low,
        s.null_high,
        p_value(s.p_value),
        percent(v.value),
        percent(v.null_low),
        percent(v.null_high)
    );
    let before = format!(
        "Before training, from the base model's hidden states by a random network: silhouette {:.3}, {} % right.",
        map.untrained.silhouette,
        percent(map.untrained.vote_accuracy)
    );
    vec![trained, before]
}

/// What a run's recipe says under these keys.
fn setting<'a>(arm: &'a Arm<'_>, table: &str, key: &str) -> Option<&'a Value> {
    arm.runs.first().map(|r| &r.run.manifest.recipe[table][key])
}

fn flip_rate(arm: &Arm<'_>) -> f64 {
    setting(arm, "data", "flip_rate").and_then(Value::as_f64).unwrap_or(0.0)
}

/// None: not run.
fn epochs(arm: &Arm<'_>) -> Option<u64> {
    setting(arm, "training", "epochs").and_then(Value::as_u64)
}

/// Numbers of epochs that arms ran, ascending.
fn lengths(summary: &Summary<'_>) -> Vec<u64> {
    let mut all: Vec<u64> = summary.arms.iter().filter_map(epochs).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn plain(arm: &Arm<'_>) -> bool {
    setting(arm, "latent", "mode").and_then(Value::as_str) == Some("none")
}

/// (low, mean, high) in percent.
fn accuracy(arm: &Arm<'_>) -> Option<(f64, f64, f64)> {
    arm.accuracy.map(|e| (100.0 * e.low, 100.0 * e.mean, 100.0 * e.high))
}

fn range(arms: &[&Arm<'_>]) -> (f64, f64) {
    let drawn: Vec<f64> = arms.iter().filter_map(|a| accuracy(a)).flat_map(|(l, _, h)| [l, h]).collect();
    let low = drawn.iter().copied().fold(f64::INFINITY, f64::min);
    let high = drawn.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low > high { (50.0, 75.0) } else { ((low - 1.0).floor(), (high + 1.0).ceil()) }
}

fn over_codes(summary: &Summary<'_>, swept: &[(f64, &Arm<'_>)], area: &Area<'_>) -> Drawn {
    let shortest = lengths(summary).first().copied();
    let dpo = summary.arms.iter().find(|a| plain(a) && flip_rate(a) == 0.0 && epochs(a) == shortest);
    let arms: Vec<&Arm<'_>> = swept.iter().map(|(_, arm)| *arm).chain(dpo).collect();
    let (low, high) = range(&arms);
    area.draw(&Text::new("Codes in the codebook", (24, 10), font(17)))?;
    let n = swept.len().max(1);
    let mut chart = ChartBuilder::on(area)
        .margin_top(40)
        .margin_right(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(-0.6..n as f64 - 0.4, low..high)?;
    vertical_axis(&mut chart, None, "accuracy, %", 14)?;
    let plot = chart.plotting_area();
    if let Some((_, mean, _)) = dpo.and_then(accuracy) {
        let line = vec![(-0.6, mean), (n as f64 - 0.4, mean)];
        plot.draw(&DashedPathElement::new(line, 6, 4, WITHOUT.stroke_width(2)))?;
        area.draw(&DashedPathElement::new(vec![(240, 20), (276, 20)], 6, 4, WITHOUT.stroke_width(2)))?;
        area.draw(&Text::new(summary.study.objective.clone() + " without LPC", (284, 20), beside(13)))?;
    }
    let means = swept.iter().enumerate().filter_map(|(i, (_, a))| accuracy(a).map(|(_, m, _)| (i as f64, m)));
    plot.draw(&PathElement::new(means.collect::<Vec<_>>(), WITH.stroke_width(1)))?;
    for (i, (codes, arm)) in swept.iter().enumerate() {
        under(area, plot, (i as f64, low), 6, format!("{codes}"), 14)?;
        interval(plot, i as f64, arm, WITH)?;
    }
    under(area, plot, ((n as f64 - 1.0) / 2.0, low), 26, "K, number of codes".into(), 14)
}

fn under_flips(summary: &Summary<'_>, area: &Area<'_>) -> Drawn {
    let lengths = lengths(summary);
    let mut groups: Vec<(String, Vec<&Arm<'_>>)> = vec![];
    for &length in &lengths {
        for rate in [0.0, 0.5] {
            let of = summary.arms.iter().filter(|a| flip_rate(a) == rate && epochs(a) == Some(length));
            // Of a sweep, only the matrix's own latent.
            let of: Vec<_> = of.filter(|a| !a.name.starts_with("K=")).collect();
            let name = match length {
                _ if lengths.len() == 1 => format!("{:.0} %", 100.0 * rate),
                1 => format!("{:.0} %, 1 epoch", 100.0 * rate),
                n => format!("{:.0} %, {n} epochs", 100.0 * rate),
            };
            groups.push((name, of));
        }
    }
    let arms: Vec<&Arm<'_>> = groups.iter().flat_map(|(_, arms)| arms.iter().copied()).collect();
    let (low, high) = range(&arms);
    area.draw(&Text::new("Flipped labels, marked by [FLIP]", (24, 10), font(17)))?;
    let legend = [("without LPC", WITHOUT, 84), ("with LPC", WITH, 204)];
    for (text, colour, x) in legend {
        marker(area, (x, 44), colour)?;
        area.draw(&Text::new(text, (x + 12, 44), beside(13)))?;
    }
    let mut chart = ChartBuilder::on(area)
        .margin_top(58)
        .margin_right(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(-0.5..groups.len().max(2) as f64 - 0.5, low..high)?;
    vertical_axis(&mut chart, None, "accuracy, %", 14)?;
    let plot = chart.plotting_area();
    for (i, (name, arms)) in groups.iter().enumerate() {
        for arm in arms {
            let (shift, colour) = if plain(arm) { (-0.12, WITHOUT) } else { (0.12, WITH) };
            interval(plot, i as f64 + shift, arm, colour)?;
        }
        under(area, plot, (i as f64, low), 6, name.clone(), if groups.len() > 2 { 12 } else { 14 })?;
    }
    let middle = (groups.len().max(2) - 1) as f64 / 2.0;
    under(area, plot, (middle, low), 26, "training labels flipped".into(), 14)
}

fn interval(plot: &Plot<'_>, x: f64, arm: &Arm<'_>, colour: RGBColor) -> Drawn {
    let Some((low, mean, high)) = accuracy(arm) else { return Ok(()) };
    plot.draw(&PathElement::new(vec![(x, low), (x, high)], colour.stroke_width(2)))?;
    if colour == WITHOUT {
        plot.draw(&Circle::new((x, mean), 6, WHITE.filled()))?;
        plot.draw(&Circle::new((x, mean), 6, colour.stroke_width(2)))?;
    } else {
        plot.draw(&TriangleMarker::new((x, mean), 8, colour.filled()))?;
    }
    Ok(())
}

fn marker(area: &Area<'_>, at: (i32, i32), colour: RGBColor) -> Drawn {
    if colour == WITHOUT {
        area.draw(&Circle::new(at, 5, colour.stroke_width(2)))?;
    } else {
        area.draw(&TriangleMarker::new(at, 7, colour.filled()))?;
    }
    Ok(())
}

fn latents(map: &Layout, area: &Area<'_>) -> Drawn {
    area.draw(&Text::new("Latents of test prompts, t-SNE", (24, 10), font(17)))?;
    let mut sources: Vec<&str> = map.sources.iter().map(String::as_str).collect();
    sources.sort_unstable();
    sources.dedup();
    for (i, source) in sources.iter().enumerate() {
        let at = (36 + 170 * (i as i32 % 3), 46 + 24 * (i as i32 / 3));
        point(area, at, i)?;
        area.draw(&Text::new(source.to_string(), (at.0 + 12, at.1), beside(14)))?;
    }
    let top = 46 + 24 * sources.len().div_ceil(3) as i32;
    let (width, height) = area.dim_in_pixel();
    let (left, right) = (24, width as i32 - 20);
    let bottom = height as i32 - 34;
    area.draw(&Rectangle::new([(left, top), (right, bottom)], FAINT.stroke_width(1)))?;
    let extent = |of: fn(&(f64, f64)) -> f64| {
        let values = map.points.iter().map(of);
        let low = values.clone().fold(f64::INFINITY, f64::min);
        (low, values.fold(f64::NEG_INFINITY, f64::max).max(low + 1e-9))
    };
    let (x, y) = (extent(|p| p.0), extent(|p| p.1));
    let place = |v: f64, (low, high): (f64, f64), from: i32, to: i32| {
        from + 10 + ((v - low) / (high - low) * f64::from(to - from - 20)).round() as i32
    };
    for (p, source) in map.points.iter().zip(&map.sources) {
        let kind = sources.iter().position(|s| s == source).unwrap_or(0);
        point(area, (place(p.0, x, left, right), place(p.1, y, top, bottom)), kind)?;
    }
    area.draw(&Text::new("t-SNE's axes have no units", ((left + right) / 2, bottom + 8), below(13)))?;
    Ok(())
}

fn point(area: &Area<'_>, at: (i32, i32), kind: usize) -> Drawn {
    let colour = PALETTE[kind % PALETTE.len()];
    match kind % 4 {
        0 => area.draw(&Circle::new(at, 3, colour.filled()))?,
        1 => area.draw(&TriangleMarker::new(at, 5, colour.filled()))?,
        2 => {
            let (x, y) = at;
            area.draw(&Rectangle::new([(x - 3, y - 3), (x + 3, y + 3)], colour.filled()))?;
        }
        _ => area.draw(&Cross::new(at, 3, colour.stroke_width(2)))?,
    }
    Ok(())
}
