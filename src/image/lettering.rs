//! Small text in pictures: Latin letters in a bitmap font of 8 x 8 pixels, so that they look the
//! same everywhere, and other scripts in the fonts of the system.

#[cfg(feature = "fonts")]
mod fonts;

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};
use image::{Rgb, RgbImage};

/// Side of a character at scale 1, in pixels.
pub const SIZE: u32 = 8;

/// Color of text.
const INK: [u8; 3] = [20; 3];

/// Rectangle of a canvas, in pixels.
#[derive(Debug, Clone, Copy)]
pub struct Area {
    /// Distance from the left edge.
    pub left: u32,
    /// Distance from the upper edge.
    pub top: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// Returns the form of a character in the bitmap font: that of ASCII for typographic quotes and
/// dashes; `None` if it has none.
fn bitmap(character: char) -> Option<[u8; 8]> {
    let character = match character {
        '‘' | '’' => '\'',
        '“' | '”' => '"',
        '–' | '—' => '-',
        other => other,
    };
    BASIC_FONTS
        .get(character)
        .or_else(|| LATIN_FONTS.get(character))
}

/// Whether the bitmap font has all characters of a text.
#[cfg(any(feature = "fonts", test))]
fn is_plain(text: &str) -> bool {
    text.chars().all(|character| bitmap(character).is_some())
}

/// Draws a text in the fonts of the system, if it needs them and there are any.
fn in_fonts(canvas: &mut RgbImage, text: &str, area: Area, size: u32) -> bool {
    #[cfg(feature = "fonts")]
    if !is_plain(text) {
        return fonts::draw(canvas, text, area, size as f32);
    }
    let _ = (canvas, text, area, size);
    false
}

/// Writes a text into an area, broken into lines. A text that does not fit ends in dots.
pub fn write_lines(canvas: &mut RgbImage, text: &str, area: Area) {
    // scripts with more strokes than Latin letters need more pixels
    if in_fonts(canvas, text, area, 13) {
        return;
    }
    let line = SIZE + 2;
    let (width, lines) = (area.width / SIZE, area.height / line);
    let lines = wrap(text, width as usize, lines as usize);
    for (number, text) in (0..).zip(lines) {
        write(canvas, &text, area.left, area.top + number * line, 1);
    }
}

/// Writes a line of text with its upper left corner at `left`, `top`, magnified by `scale`. Text
/// beyond the canvas is cut off. Characters that no font has become question marks.
pub fn write(canvas: &mut RgbImage, text: &str, left: u32, top: u32, scale: u32) {
    let area = Area {
        left,
        top: top.saturating_sub(scale),
        width: canvas.width().saturating_sub(left),
        height: 2 * SIZE * scale,
    };
    if in_fonts(canvas, text, area, (SIZE + 1) * scale) {
        return;
    }
    for (index, character) in text.chars().enumerate() {
        let glyph = bitmap(character).or_else(|| BASIC_FONTS.get('?'));
        for (y, bits) in glyph.into_iter().flatten().enumerate() {
            for x in (0..SIZE).filter(|x| bits >> x & 1 == 1) {
                for (dx, dy) in (0..scale * scale).map(|i| (i % scale, i / scale)) {
                    let (px, py) = (
                        left + scale * (SIZE * index as u32 + x) + dx,
                        top + scale * y as u32 + dy,
                    );
                    if px < canvas.width() && py < canvas.height() {
                        canvas.put_pixel(px, py, Rgb(INK));
                    }
                }
            }
        }
    }
}

/// Breaks a text into at most `lines` lines of at most `width` characters, between words where
/// possible. A text that does not fit ends in two dots.
pub fn wrap(text: &str, width: usize, lines: usize) -> Vec<String> {
    let mut broken = vec![String::new()];
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for (index, part) in letters.chunks(width).enumerate() {
            let line = broken.last_mut().expect("it starts with one");
            let space = (index == 0 && !line.is_empty()) as usize;
            if line.chars().count() + space + part.len() <= width && index == 0 {
                line.extend(std::iter::repeat_n(' ', space).chain(part.iter().copied()));
            } else {
                broken.push(part.iter().collect());
            }
        }
    }
    if broken.len() > lines {
        broken.truncate(lines);
        if let Some(last) = broken.last_mut() {
            *last = last
                .chars()
                .take(width.saturating_sub(2))
                .chain("..".chars())
                .collect();
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_characters_in_their_cells() {
        let ink = |text: &str, scale| {
            let mut canvas = RgbImage::from_pixel(40, 20, Rgb([255; 3]));
            write(&mut canvas, text, 1, 2, scale);
            canvas
                .enumerate_pixels()
                .filter(|(_, _, pixel)| pixel.0[0] < 50)
                .map(|(x, y, _)| (x, y))
                .collect::<Vec<_>>()
        };
        let small = ink("l", 1);
        assert!(
            !small.is_empty()
                && small
                    .iter()
                    .all(|&(x, y)| (1..9).contains(&x) && (2..10).contains(&y))
        );
        assert_eq!(ink("l", 2).len(), 4 * small.len());
        assert!(
            ink(" l", 1).iter().eq(small
                .iter()
                .map(|&(x, y)| (x + 8, y))
                .collect::<Vec<_>>()
                .iter())
        );
        assert_eq!(
            (ink("é", 1) == ink("?", 1), ink("’", 1)),
            (false, ink("'", 1))
        );
        assert!(is_plain("a “quoted” word — déjà vu") && !is_plain("字") && !is_plain("a 🐕"));
        // past the edge
        assert!(ink("lllllllllll", 2).len() < 11 * 4 * small.len());
    }

    #[test]
    fn breaks_lines_between_words() {
        assert_eq!(
            wrap("a red, round apple", 7, 3),
            ["a red,", "round", "apple"]
        );
        assert_eq!(wrap("a red, round apple", 7, 2), ["a red,", "round.."]);
        assert_eq!(
            wrap("antidisestablish it", 6, 4),
            ["antidi", "sestab", "lish", "it"]
        );
        assert_eq!(wrap("", 6, 4), [""]);
    }
}
