//! Small text in pictures, in a bitmap font of 8 x 8 pixels.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};
use image::{Rgb, RgbImage};

/// Side of a character at scale 1, in pixels.
pub const SIZE: u32 = 8;

/// Writes a line of text with its upper left corner at `left`, `top`, magnified by `scale`. Text
/// beyond the canvas is cut off. Typographic quotes and dashes become their ASCII forms; other
/// characters beyond Latin-1 become question marks.
pub fn write(canvas: &mut RgbImage, text: &str, left: u32, top: u32, scale: u32) {
    for (index, character) in text.chars().enumerate() {
        let character = match character {
            '‘' | '’' => '\'',
            '“' | '”' => '"',
            '–' | '—' => '-',
            other => other,
        };
        let glyph = BASIC_FONTS
            .get(character)
            .or_else(|| LATIN_FONTS.get(character))
            .or_else(|| BASIC_FONTS.get('?'));
        for (y, bits) in glyph.into_iter().flatten().enumerate() {
            for x in (0..SIZE).filter(|x| bits >> x & 1 == 1) {
                for (dx, dy) in (0..scale * scale).map(|i| (i % scale, i / scale)) {
                    let (px, py) = (
                        left + scale * (SIZE * index as u32 + x) + dx,
                        top + scale * y as u32 + dy,
                    );
                    if px < canvas.width() && py < canvas.height() {
                        canvas.put_pixel(px, py, Rgb([20, 20, 20]));
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
        assert_eq!(ink("字", 1), ink("?", 1));
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
