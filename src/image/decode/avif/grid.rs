//! Pictures in tiles (ISO/IEC 23008-12, section 6.6.2.3).

use image::{RgbImage, imageops};

use super::PictureError;

/// Arrangement of equal tiles, of which the last in each direction may be cut.
pub struct Grid {
    rows: u32,
    columns: u32,
    /// Width of the picture, in pixels.
    pub width: u32,
    /// Height of the picture, in pixels.
    pub height: u32,
}

impl Grid {
    /// Parses the description of a grid; `None` if it is not one of so many tiles.
    pub fn parse(bytes: &[u8], tiles: usize) -> Option<Grid> {
        let (head, sizes) = bytes.split_at_checked(4)?;
        let [_, flags, rows, columns] = *head.first_chunk()?;
        let wide = flags & 1 == 1;
        let number = |index: usize| -> Option<u32> {
            Some(match wide {
                true => u32::from_be_bytes(*sizes.get(4 * index..)?.first_chunk()?),
                false => u16::from_be_bytes(*sizes.get(2 * index..)?.first_chunk()?).into(),
            })
        };
        let grid = Grid {
            rows: rows as u32 + 1,
            columns: columns as u32 + 1,
            width: number(0)?,
            height: number(1)?,
        };
        ((grid.rows * grid.columns) as usize == tiles).then_some(grid)
    }

    /// Whether tiles of a size cover the picture, and none lies outside.
    pub fn fits(&self, width: u32, height: u32) -> bool {
        let covers = |size: u32, tile: u32, count: u32| {
            let (size, tile, count) = (size as u64, tile as u64, count as u64);
            tile * (count - 1) < size && size <= tile * count
        };
        covers(self.width, width, self.columns) && covers(self.height, height, self.rows)
    }

    /// Copies a tile to its place.
    pub fn place(&self, picture: &mut RgbImage, tile: &RgbImage, number: u32) {
        let (row, column) = (number / self.columns, number % self.columns);
        let left = column as i64 * tile.width() as i64;
        let top = row as i64 * tile.height() as i64;
        imageops::replace(picture, tile, left, top);
    }
}

/// The error of a grid that its tiles do not fill.
pub fn damaged() -> PictureError {
    super::damaged("its grid does not fit its tiles")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_sizes_of_numbers() {
        let small = Grid::parse(&[0, 0, 1, 2, 0, 100, 0, 50], 6).unwrap();
        assert_eq!((small.rows, small.columns), (2, 3));
        assert_eq!((small.width, small.height), (100, 50));
        let large = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 7];
        let large = Grid::parse(&large, 1).unwrap();
        assert_eq!((large.width, large.height), (65536, 7));
        assert!(Grid::parse(&[0, 0, 1, 2, 0, 100, 0, 50], 5).is_none());
        assert!(Grid::parse(&[0, 1, 0, 0, 0, 1, 0, 0], 1).is_none());
    }

    #[test]
    fn tiles_cover_the_picture() {
        let grid = Grid::parse(&[0, 0, 1, 2, 0, 100, 0, 50], 6).unwrap();
        assert!(grid.fits(40, 32) && grid.fits(34, 25));
        assert!(!grid.fits(33, 32) && !grid.fits(50, 32) && !grid.fits(40, 50));
    }
}
