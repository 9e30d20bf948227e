//! SVG as PNG, for places that show no SVG. The letters are those of a font within the program: the
//! same picture everywhere.

use crate::error::{Error, Result};
use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};
use std::sync::Arc;

/// Pixels a unit of the SVG: a figure of 1000 fills a printed column at 600 dots an inch.
const SCALE: f32 = 2.0;

/// `svg` on white.
///
/// Errors: not an SVG.
pub(super) fn png(svg: &str) -> Result<Vec<u8>> {
    let fault = |e: String| Error::argument("picture", "svg", e, "an SVG that can be drawn");
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
    let family = fonts.faces().next().and_then(|f| f.families.first()).map(|(name, _)| name.clone());
    if let Some(family) = family {
        fonts.set_sans_serif_family(family);
    }
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|e| fault(e.to_string()))?;
    let [width, height] = [tree.size().width(), tree.size().height()].map(|v| (v * SCALE).ceil() as u32);
    let mut pixels = Pixmap::new(width, height).ok_or_else(|| fault(format!("{width} x {height} pixels")))?;
    pixels.fill(Color::WHITE);
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| fault(e.to_string()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_picture_has_its_colours_and_letters() {
        let svg = |text: &str| {
            format!(
                "<svg xmlns='http://www.w3.org/2000/svg' width='40' height='20'><rect width='20' height='20' fill='#0072b2'/>\
                 <text x='22' y='15' font-family='sans-serif' font-size='14'>{text}</text></svg>"
            )
        };
        let decode = |svg: &str| resvg::tiny_skia::Pixmap::decode_png(&super::png(svg).unwrap()).unwrap();
        let picture = decode(&svg(""));
        assert_eq!((picture.width(), picture.height()), (80, 40));
        let colour = |x, y| picture.pixel(x, y).map(|p| (p.red(), p.green(), p.blue())).unwrap();
        assert_eq!((colour(10, 10), colour(60, 20)), ((0, 0x72, 0xb2), (255, 255, 255)));
        assert_ne!(decode(&svg("A")), picture);
        assert!(super::png("<svg").is_err());
    }
}
