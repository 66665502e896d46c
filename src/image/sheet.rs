//! Contact sheets: pictures with their captions under them.

use std::io::{self, Cursor};
use std::path::Path;

use image::{ImageFormat, RgbImage, imageops};

use super::{Picture, lettering};
use crate::atomic_file;

/// A grid of thumbnails, each with a text of up to four lines under it, in any script.
#[derive(Default)]
pub struct ContactSheet {
    tiles: Vec<Tile>,
}

/// One thumbnail with its text.
pub struct Tile {
    /// Pixels `[112, 112, 3]`.
    rgb: Vec<u8>,
    text: String,
}

impl ContactSheet {
    /// Side of a thumbnail, in pixels.
    const SIDE: u32 = 112;
    /// Space around tiles, in pixels.
    const MARGIN: u32 = 8;
    /// Number of text lines, of 14 characters each.
    const LINES: u32 = 4;
    const PER_ROW: u32 = 12;

    /// Creates a tile: the picture stretched to a square, and its text.
    pub fn tile(picture: &Picture, text: &str) -> Tile {
        Tile {
            rgb: picture.resize(Self::SIDE as usize).rgb,
            text: text.to_owned(),
        }
    }

    /// Appends a picture with a text.
    pub fn add(&mut self, picture: &Picture, text: &str) {
        self.tiles.push(Self::tile(picture, text));
    }

    /// Draws the sheet and writes it atomically as a PNG file.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut png = Cursor::new(vec![]);
        self.draw()
            .write_to(&mut png, ImageFormat::Png)
            .map_err(io::Error::other)?;
        atomic_file::write(path, png.get_ref())
    }

    /// Draws all tiles, row by row, on white.
    pub fn draw(&self) -> RgbImage {
        let (margin, side, line) = (Self::MARGIN, Self::SIDE, lettering::SIZE + 2);
        let (across, down) = (side + margin, side + 4 + Self::LINES * line + margin);
        let count = self.tiles.len() as u32;
        let (columns, rows) = (
            count.clamp(1, Self::PER_ROW),
            count.div_ceil(Self::PER_ROW).max(1),
        );
        let mut canvas = RgbImage::from_pixel(
            margin + columns * across,
            margin + rows * down,
            image::Rgb([255; 3]),
        );
        for (place, Tile { rgb, text }) in (0..).zip(&self.tiles) {
            let (left, top) = (
                margin + place % columns * across,
                margin + place / columns * down,
            );
            let picture =
                RgbImage::from_raw(side, side, rgb.clone()).expect("a tile has a fixed size");
            imageops::replace(&mut canvas, &picture, left as i64, top as i64);
            let area = lettering::Area {
                left,
                top: top + side + 4,
                width: side,
                height: Self::LINES * line,
            };
            lettering::write_lines(&mut canvas, text, area);
        }
        canvas
    }
}

impl Extend<Tile> for ContactSheet {
    fn extend<T: IntoIterator<Item = Tile>>(&mut self, tiles: T) {
        self.tiles.extend(tiles);
    }
}
