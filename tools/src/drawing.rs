//! Rendering and encoding of drawings.

use anyhow::{Context, Result, ensure};
use image::ImageEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{Options, Tree};

/// Side of the rendering that measures a drawing's extent, in pixels.
const PROBE: u32 = 512;
/// Alpha, of 255, above which a pixel belongs to the drawing.
const VISIBLE: u8 = 8;

/// Renders an SVG on white and returns pixels `[side, side, 3]`, with the drawing as
/// [`fitted`] places it.
pub fn render(svg: &str, side: u32) -> Result<Vec<u8>> {
    let picture = fitted(svg, side, Color::WHITE)?;
    // opaque pixels, so premultiplied values are the colours
    Ok(picture
        .pixels()
        .iter()
        .flat_map(|p| [p.red(), p.green(), p.blue()])
        .collect())
}

/// Renders an SVG on a ground. The visible extent of the drawing is centred, with a margin of 1/24
/// of the side, since artists leave different borders.
pub fn fitted(svg: &str, side: u32, ground: Color) -> Result<Pixmap> {
    let tree = Tree::from_str(svg, &Options::default()).context("not a valid SVG")?;
    let size = tree.size();
    let scale = PROBE as f32 / size.width().max(size.height());
    let mut probe = Pixmap::new(PROBE, PROBE).context("no memory for the rendering")?;
    resvg::render(
        &tree,
        Transform::from_scale(scale, scale),
        &mut probe.as_mut(),
    );
    let (mut left, mut top, mut right, mut bottom) = (PROBE, PROBE, 0, 0);
    for (i, pixel) in probe.pixels().iter().enumerate() {
        if pixel.alpha() > VISIBLE {
            let (x, y) = (i as u32 % PROBE, i as u32 / PROBE);
            left = left.min(x);
            right = right.max(x + 1);
            top = top.min(y);
            bottom = bottom.max(y + 1);
        }
    }
    ensure!(left < right, "the SVG draws nothing visible");

    let (width, height) = ((right - left) as f32, (bottom - top) as f32);
    let fit = side as f32 * (1.0 - 2.0 / 24.0) / width.max(height);
    let transform = Transform::from_row(
        scale * fit,
        0.0,
        0.0,
        scale * fit,
        side as f32 / 2.0 - (left as f32 + width / 2.0) * fit,
        side as f32 / 2.0 - (top as f32 + height / 2.0) * fit,
    );
    let mut picture = Pixmap::new(side, side).context("no memory for the picture")?;
    picture.fill(ground);
    resvg::render(&tree, transform, &mut picture.as_mut());
    Ok(picture)
}

/// Encodes pixels `[side, side, 3]` as PNG.
pub fn encode_png(rgb: &[u8], side: u32) -> Result<Vec<u8>> {
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive)
        .write_image(rgb, side, side, image::ExtendedColorType::Rgb8)?;
    Ok(png)
}

/// Rounds colours to 64 levels per channel, which is invisible and makes WebP files a sixth
/// smaller.
pub fn round_colours(rgb: &mut [u8]) {
    for value in rgb {
        let step = (u32::from(*value) * 63 + 127) / 255;
        *value = ((step * 255 + 31) / 63) as u8;
    }
}

/// Encodes pixels `[side, side, 3]` as lossless WebP.
pub fn encode_webp(rgb: &[u8], side: u32) -> Result<Vec<u8>> {
    let mut config = webp::WebPConfig::new()
        .ok()
        .context("libwebp refuses its own defaults")?;
    // highest effort: the files are a third smaller than with the lowest
    (config.lossless, config.quality, config.method) = (1, 100.0, 6);
    let webp = webp::Encoder::from_rgb(rgb, side, side).encode_advanced(&config);
    Ok(webp
        .ok()
        .context("libwebp cannot encode the picture")?
        .to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svg(body: &str) -> String {
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10" viewBox="0 0 10 10">{body}</svg>"#
        )
    }

    #[test]
    fn fits_and_centres_small_drawings() {
        let rgb = render(
            &svg(r#"<rect x="1" y="1" width="2" height="1" fill="red"/>"#),
            48,
        )
        .unwrap();
        let at = |x: usize, y: usize| &rgb[(y * 48 + x) * 3..][..3];
        // 44 x 22 pixels, from (2, 13)
        assert_eq!(at(1, 24), [255, 255, 255]);
        assert_eq!(at(3, 24), [255, 0, 0]);
        assert_eq!(at(44, 14), [255, 0, 0]);
        assert_eq!(at(24, 11), [255, 255, 255]);
        assert_eq!(at(24, 37), [255, 255, 255]);
    }

    #[test]
    fn png_round_trips() {
        let rgb: Vec<u8> = (0..4 * 4 * 3).map(|i| i as u8 * 5).collect();
        let png = encode_png(&rgb, 4).unwrap();
        assert_eq!(
            image::load_from_memory(&png)
                .unwrap()
                .into_rgb8()
                .into_raw(),
            rgb
        );
    }

    #[test]
    fn webp_round_trips() {
        let rgb: Vec<u8> = (0..4 * 4 * 3).map(|i| i as u8 * 5).collect();
        let webp = encode_webp(&rgb, 4).unwrap();
        assert_eq!(
            image::load_from_memory(&webp)
                .unwrap()
                .into_rgb8()
                .into_raw(),
            rgb
        );
    }

    #[test]
    fn rounds_to_64_levels_idempotently() {
        let all: Vec<u8> = (0..=255).collect();
        let mut rounded = all.clone();
        round_colours(&mut rounded);
        assert_eq!((rounded[0], rounded[255]), (0, 255));
        assert!(all.iter().zip(&rounded).all(|(a, b)| a.abs_diff(*b) <= 2));
        let mut again = rounded.clone();
        round_colours(&mut again);
        assert_eq!(again, rounded);
        rounded.dedup();
        assert_eq!(rounded.len(), 64);
    }

    #[test]
    fn refuses_invalid_and_empty_drawings() {
        assert!(
            render("<svg", 8)
                .unwrap_err()
                .to_string()
                .contains("not a valid SVG")
        );
        assert!(
            render(&svg(""), 8)
                .unwrap_err()
                .to_string()
                .contains("nothing visible")
        );
    }
}
