//! Text in the fonts of the system: letters of every script, joined and ordered as they are
//! written, and colored emoji.

use std::sync::{Mutex, OnceLock};

use cosmic_text::{
    Attrs, Buffer, Color, Ellipsize, EllipsizeHeightLimit, Family, FontSystem, Metrics, Shaping,
    SwashCache,
};
use image::{Rgb, RgbImage};

use super::{Area, INK};

/// Fonts and the letters that were drawn with them.
pub struct Fonts {
    system: FontSystem,
    drawn: SwashCache,
}

/// The fonts of the system, searched with the first text that needs them.
static SYSTEM: OnceLock<Option<Mutex<Fonts>>> = OnceLock::new();

/// Draws a text with the fonts of the system; returns whether there are any.
pub fn draw(canvas: &mut RgbImage, text: &str, area: Area, size: f32) -> bool {
    let fonts = SYSTEM.get_or_init(|| Fonts::new(FontSystem::new()).map(Mutex::new));
    let Some(fonts) = fonts else {
        return false;
    };
    let mut fonts = fonts
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    fonts.draw(canvas, text, area, size);
    true
}

impl Fonts {
    /// `None` if there is no font.
    fn new(system: FontSystem) -> Option<Fonts> {
        let empty = system.db().is_empty();
        (!empty).then(|| Fonts {
            system,
            drawn: SwashCache::new(),
        })
    }

    /// Draws a text of a size in pixels, broken into lines that fit the area. What does not fit ends
    /// in dots.
    fn draw(&mut self, canvas: &mut RgbImage, text: &str, area: Area, size: f32) {
        let metrics = Metrics::new(size, (1.2 * size).round());
        let mut buffer = Buffer::new(&mut self.system, metrics);
        buffer.set_size(Some(area.width as f32), Some(area.height as f32));
        buffer.set_ellipsize(Ellipsize::End(EllipsizeHeightLimit::Height(
            area.height as f32,
        )));
        let attributes = Attrs::new().family(Family::SansSerif);
        buffer.set_text(text, &attributes, Shaping::Advanced, None);
        buffer.shape_until_scroll(&mut self.system, false);
        let ink = Color::rgb(INK[0], INK[1], INK[2]);
        let (right, bottom) = (area.left + area.width, area.top + area.height);
        buffer.draw(
            &mut self.system,
            &mut self.drawn,
            ink,
            |x, y, width, height, color| {
                for (dx, dy) in (0..width * height).map(|i| (i % width, i / width)) {
                    let x = area.left as i64 + x as i64 + dx as i64;
                    let y = area.top as i64 + y as i64 + dy as i64;
                    let inside = x >= area.left as i64
                        && x < right.min(canvas.width()) as i64
                        && y >= area.top as i64
                        && y < bottom.min(canvas.height()) as i64;
                    if inside {
                        let pixel = canvas.get_pixel_mut(x as u32, y as u32);
                        *pixel = blended(*pixel, color);
                    }
                }
            },
        );
    }
}

/// Puts a color over a pixel.
fn blended(pixel: Rgb<u8>, color: Color) -> Rgb<u8> {
    let alpha = color.a() as u32;
    let over = |below: u8, above: u8| {
        ((below as u32 * (255 - alpha) + above as u32 * alpha + 127) / 255) as u8
    };
    let [r, g, b] = pixel.0;
    Rgb([over(r, color.r()), over(g, color.g()), over(b, color.b())])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cosmic_text::fontdb::{Database, Source};

    use super::*;

    fn fonts() -> Fonts {
        let mut database = Database::new();
        for font in [
            epaint_default_fonts::UBUNTU_LIGHT,
            epaint_default_fonts::NOTO_EMOJI_REGULAR,
        ] {
            database.load_font_source(Source::Binary(Arc::new(font)));
        }
        Fonts::new(FontSystem::new_with_locale_and_db("en-US".into(), database)).unwrap()
    }

    /// Positions of dark pixels.
    fn ink(text: &str, area: Area) -> Vec<(u32, u32)> {
        let mut canvas = RgbImage::from_pixel(120, 60, Rgb([255; 3]));
        fonts().draw(&mut canvas, text, area, 14.0);
        let pixels = canvas.enumerate_pixels();
        pixels
            .filter(|(_, _, pixel)| pixel.0[0] < 128)
            .map(|(x, y, _)| (x, y))
            .collect()
    }

    const AREA: Area = Area {
        left: 4,
        top: 6,
        width: 100,
        height: 40,
    };

    #[test]
    fn letters_of_several_scripts_are_drawn_in_the_area() {
        let mut seen = std::collections::BTreeSet::new();
        for text in ["Жук", "ωμέγα", "🐕", "🐈", "a 🐕"] {
            let ink = ink(text, AREA);
            assert!(ink.len() > 10, "{text}");
            assert!(
                ink.iter()
                    .all(|&(x, y)| (4..104).contains(&x) && (6..46).contains(&y)),
                "{text}"
            );
            assert!(seen.insert(ink), "{text} looks like another text");
        }
        assert_eq!(ink("", AREA), []);
    }

    #[test]
    fn long_texts_are_broken_into_lines_and_cut() {
        let rows = |text: &str| ink(text, AREA).into_iter().map(|(_, y)| y).max().unwrap();
        assert!(rows("Жук Жук Жук Жук Жук") > rows("Жук") + 10);
        assert!(rows(&"Жук ".repeat(50)) < 46);
    }

    #[test]
    fn a_system_without_fonts_draws_nothing() {
        let system = FontSystem::new_with_locale_and_db("en-US".into(), Database::new());
        assert!(Fonts::new(system).is_none());
    }
}
