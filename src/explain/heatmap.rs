//! Heat maps: attention drawn over the picture, one panel for each token.

use std::path::Path;

use image::{Rgb, RgbImage};

use crate::explain::ColorMap;
use crate::image::Picture;
use crate::image::lettering;

/// Side of a panel's picture, in pixels.
const SIDE: u32 = 160;
const MARGIN: u32 = 8;
/// Height of a panel's label, in pixels: three lines of glyphs at twice their size, with margins.
const LABEL: u32 = 64;
const PER_ROW: u32 = 8;
const OPACITY: f32 = 0.6;

/// Value of a `grid` x `grid` map at `x`, `y` in [0, 1], interpolated bilinearly.
fn sample(map: &[f32], grid: usize, x: f32, y: f32) -> f32 {
    let place = |v: f32| (v * grid as f32 - 0.5).clamp(0.0, grid as f32 - 1.0);
    let (x, y) = (place(x), place(y));
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(grid - 1), (top + 1).min(grid - 1));
    let (fx, fy) = (x - left as f32, y - top as f32);
    let row = |y: usize| map[y * grid + left] * (1.0 - fx) + map[y * grid + right] * fx;
    row(top) * (1.0 - fy) + row(bottom) * fy
}

/// A map scaled to [0, 1], from its coldest to its hottest patch. An almost even map becomes 0 all
/// over, so that noise does not look like attention.
pub fn stretched(map: &[f32]) -> Vec<f32> {
    let (least, most) = map.iter().fold((f32::MAX, f32::MIN), |(least, most), &v| {
        (least.min(v), most.max(v))
    });
    let even = most - least <= 0.02 * most;
    map.iter()
        .map(|v| {
            if even {
                0.0
            } else {
                (v - least) / (most - least)
            }
        })
        .collect()
}

/// Draws heat over a square picture, scaled from the coldest to the hottest patch. `heat` is a
/// square grid, row by row; empty for the picture alone. `opacity` is the heat's share of the
/// colours, from 0 to 1.
pub fn overlay(picture: &Picture, heat: &[f32], colors: ColorMap, opacity: f32) -> RgbImage {
    let side = picture.width as u32;
    let grid = (heat.len() as f64).sqrt() as usize;
    let heat = stretched(heat);
    let place = |v: u32| (v as f32 + 0.5) / side as f32;
    RgbImage::from_fn(side, side, |x, y| {
        let at = 3 * (y * side + x) as usize;
        let rgb: [f32; 3] = std::array::from_fn(|i| picture.rgb[at + i] as f32);
        if grid == 0 {
            return Rgb(rgb.map(|v| v as u8));
        }
        let tint = colors.color(sample(&heat, grid, place(x), place(y)));
        Rgb(std::array::from_fn(|i| {
            ((1.0 - opacity) * rgb[i] + opacity * tint[i]).round() as u8
        }))
    })
}

/// Draws heat over a picture of any proportions, over which its square grid is stretched. The heat's
/// share of the colours is `opacity` where it is hottest and none where it is coldest, so that the
/// picture shows there.
pub fn blend(picture: &Picture, heat: &[f32], colors: ColorMap, opacity: f32) -> RgbImage {
    let (width, height) = (picture.width as u32, picture.height as u32);
    let grid = (heat.len() as f64).sqrt() as usize;
    let heat = stretched(heat);
    let place = |v: u32, side: u32| (v as f32 + 0.5) / side as f32;
    RgbImage::from_fn(width, height, |x, y| {
        let at = 3 * (y * width + x) as usize;
        let rgb: [f32; 3] = std::array::from_fn(|i| picture.rgb[at + i] as f32);
        if grid == 0 {
            return Rgb(rgb.map(|v| v as u8));
        }
        let share = sample(&heat, grid, place(x, width), place(y, height));
        let (tint, share) = (colors.color(share), opacity * share);
        Rgb(std::array::from_fn(|i| {
            ((1.0 - share) * rgb[i] + share * tint[i]).round() as u8
        }))
    })
}

/// Draws a figure: a picture with a legend of its heat, from `least` to `most`, and lines of text
/// below it.
pub fn figure(
    picture: &RgbImage,
    range: (f32, f32),
    colors: ColorMap,
    lines: &[String],
) -> RgbImage {
    // letters that are read at the size of the picture
    let scale = (picture.width() / 400).max(1);
    let line = 14 * scale;
    let bar = 12 * scale;
    let width = picture.width().max(320);
    let below = MARGIN * scale * 3 + bar + line * (lines.len() as u32 + 1);
    let mut canvas = RgbImage::from_pixel(width, picture.height() + below, Rgb([255; 3]));
    image::imageops::replace(&mut canvas, picture, 0, 0);
    let left = MARGIN * scale;
    let mut top = picture.height() + MARGIN * scale;
    for x in 0..width / 2 {
        let color = colors.color(x as f32 / (width / 2) as f32).map(|v| v as u8);
        (0..bar).for_each(|y| canvas.put_pixel(left + x, top + y, Rgb(color)));
    }
    top += bar + MARGIN * scale / 2;
    let (least, most) = range;
    let legend = format!("{:.2} % to {:.2} % of a patch", 100.0 * least, 100.0 * most);
    lettering::write(&mut canvas, &legend, left, top, scale);
    for text in lines {
        top += line;
        lettering::write(&mut canvas, text, left, top, scale);
    }
    canvas
}

/// A token and the heat that is drawn over the picture for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Panel<'a> {
    /// Text of the token.
    pub text: &'a str,
    /// Probability that the model gave it.
    pub probability: f32,
    /// Heat of each patch, row by row over a square grid; empty for none.
    pub heat: &'a [f32],
}

/// Draws the plain picture, then a panel for every token with its heat over the picture, each
/// scaled from its coldest to its hottest patch. Under each panel stand the token, its probability,
/// and the hottest patch's share of the attention.
pub fn draw(picture: &Picture, tokens: &[Panel]) -> RgbImage {
    let small = picture.resize(SIDE as usize);
    let panels = tokens.len() as u32 + 1;
    let columns = panels.min(PER_ROW);
    let rows = panels.div_ceil(PER_ROW);
    let size = |count: u32, each: u32| MARGIN + count * (each + MARGIN);
    let mut canvas =
        RgbImage::from_pixel(size(columns, SIDE), size(rows, SIDE + LABEL), Rgb([255; 3]));
    for panel in 0..panels {
        let (left, top) = (
            MARGIN + panel % PER_ROW * (SIDE + MARGIN),
            MARGIN + panel / PER_ROW * (SIDE + LABEL + MARGIN),
        );
        let token = (panel > 0).then(|| &tokens[panel as usize - 1]);
        let heat = token.map_or(&[][..], |token| token.heat);
        let hottest = heat.iter().copied().fold(0.0, f32::max);
        image::imageops::replace(
            &mut canvas,
            &overlay(&small, heat, ColorMap::Viridis, OPACITY),
            left.into(),
            top.into(),
        );
        let label = |canvas: &mut RgbImage, text: &str, left, top| {
            lettering::write(canvas, text, left, top, 2)
        };
        match token {
            None => label(&mut canvas, "picture", left, top + SIDE + 4),
            Some(token) => {
                let shown: String = token
                    .text
                    .chars()
                    .map(|c| if c == ' ' { '_' } else { c })
                    .take(10)
                    .collect();
                label(&mut canvas, &shown, left, top + SIDE + 4);
                label(
                    &mut canvas,
                    &format!("{:.0} %", 100.0 * token.probability),
                    left,
                    top + SIDE + 24,
                );
                if !heat.is_empty() {
                    label(
                        &mut canvas,
                        &format!("max {}", percent(hottest)),
                        left,
                        top + SIDE + 44,
                    );
                }
            }
        }
    }
    canvas
}

/// Formats a share in percent, with a decimal below 10 %: of many patches each may get less than 1 %.
fn percent(share: f32) -> String {
    let percent = 100.0 * share;
    let decimals = usize::from(percent < 9.95);
    format!("{percent:.decimals$} %")
}

/// Draws heat maps as [`draw`] does and writes them to a PNG file.
pub fn save(path: &Path, picture: &Picture, tokens: &[Panel]) -> image::ImageResult<()> {
    draw(picture, tokens).save_with_format(path, image::ImageFormat::Png)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_shares_have_a_decimal() {
        let formatted = [0.004, 0.0994, 0.0996, 0.123, 1.0].map(percent);
        assert_eq!(formatted, ["0.4 %", "9.9 %", "10 %", "12 %", "100 %"]);
    }

    #[test]
    fn draws_the_hottest_patch_lightest() {
        let picture = Picture {
            width: 4,
            height: 4,
            rgb: vec![128; 48],
        };
        let heat = vec![0.0, 0.0, 0.0, 0.9];
        let token = Panel {
            text: "a",
            probability: 0.5,
            heat: &heat,
        };
        let canvas = draw(&picture, &[token]);
        let light = |x: u32, y: u32| {
            canvas
                .get_pixel(2 * MARGIN + SIDE + x, MARGIN + y)
                .0
                .iter()
                .map(|&v| v as u32)
                .sum::<u32>()
        };
        assert!(light(SIDE - 10, SIDE - 10) > light(10, 10) + 100);
        // the plain picture beside it, and ink where the labels are
        assert_eq!(canvas.get_pixel(MARGIN + 5, MARGIN + 5).0, [128; 3]);
        let ink = canvas
            .enumerate_pixels()
            .filter(|(_, y, pixel)| *y > MARGIN + SIDE && pixel.0[0] < 50)
            .count();
        assert!(ink > 100, "{ink}");
    }

    #[test]
    fn an_even_map_has_no_heat() {
        assert_eq!(stretched(&[0.25, 0.2501, 0.25, 0.2499]), [0.0; 4]);
        assert_eq!(stretched(&[0.0; 4]), [0.0; 4]);
        assert_eq!(stretched(&[0.25, 0.5, 0.75, 0.25]), [0.0, 0.5, 1.0, 0.0]);
    }
}
