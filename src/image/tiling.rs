//! Pictures cut into tiles, the inputs of pretrained image encoders.

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::normalization::Normalization;
use super::picture::Picture;

/// How finely a picture is cut into tiles. More tiles show more detail, and each takes as long and
/// as many tokens as the whole picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Tiling {
    /// The whole picture as one tile.
    #[default]
    One,
    /// As the model's files say.
    Auto,
    /// As the model's files say, with at most this number of tiles along the longer edge.
    AtMost(usize),
}

impl fmt::Display for Tiling {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Tiling::One => f.write_str("1"),
            Tiling::Auto => f.write_str("auto"),
            Tiling::AtMost(count) => count.fmt(f),
        }
    }
}

impl FromStr for Tiling {
    type Err = String;

    fn from_str(text: &str) -> Result<Tiling, String> {
        match text.parse::<usize>() {
            Ok(1) => Ok(Tiling::One),
            Ok(count @ 2..) => Ok(Tiling::AtMost(count)),
            _ if text == "auto" => Ok(Tiling::Auto),
            _ => Err(format!(
                "{text:?} is not a number of tiles: give 1, auto, or the most along the longer edge"
            )),
        }
    }
}

impl TryFrom<String> for Tiling {
    type Error = String;

    fn try_from(text: String) -> Result<Tiling, String> {
        text.parse()
    }
}

impl From<Tiling> for String {
    fn from(tiling: Tiling) -> String {
        tiling.to_string()
    }
}

/// Rectangle of a picture, in its pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    /// Left edge.
    pub left: f32,
    /// Top edge.
    pub top: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

impl Area {
    /// The whole of a picture.
    pub fn whole(picture: &Picture) -> Area {
        Area {
            left: 0.0,
            top: 0.0,
            width: picture.width as f32,
            height: picture.height as f32,
        }
    }
}

/// One input of an image encoder, and the part of the picture that it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureTile {
    /// Input `[3, side, side]`, normalised.
    pub input: Vec<f32>,
    /// Pixels `[side, side, 3]` before normalisation; `None` for a tile that was computed in
    /// floats.
    pub picture: Option<Picture>,
    /// Rectangle of the picture that the tile shows, in the picture's pixels after its EXIF
    /// orientation was applied.
    pub area: Area,
}

impl PictureTile {
    /// Whether every value of the input is 0. Hugging Face's models take such tiles for padding.
    pub fn is_padding(&self) -> bool {
        self.input.iter().all(|&value| value == 0.0)
    }
}

/// A picture as the inputs of an image encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct TiledPicture {
    /// Inputs in the order of their tokens in a prompt.
    pub tiles: Vec<PictureTile>,
    /// Rows and columns of tiles.
    pub grid: TileGrid,
    /// Side of a tile, in pixels.
    pub side: usize,
}

impl TiledPicture {
    /// Returns the number of image tokens of a prompt, given those of a tile.
    pub fn image_tokens(&self, tokens_per_tile: usize) -> usize {
        self.tiles.len() * tokens_per_tile
    }

    /// Returns the inputs of all tiles `[tiles, 3, side, side]`.
    pub fn inputs(&self) -> Vec<f32> {
        self.tiles
            .iter()
            .flat_map(|tile| tile.input.iter().copied())
            .collect()
    }
}

/// Number of rows and columns that a picture was cut into; a tile of the whole picture is not
/// counted. Both are 0 for a picture that was not cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TileGrid {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
}

impl TileGrid {
    /// Number of tiles in the grid.
    pub fn count(self) -> usize {
        self.rows * self.columns
    }

    /// Cuts a picture whose sides are multiples of `side`, row by row. `area` is the rectangle that
    /// the whole picture shows.
    pub(crate) fn cut(
        self,
        picture: &Picture,
        side: usize,
        area: Area,
        normalization: &Normalization,
    ) -> Vec<PictureTile> {
        let (width, height) = (
            area.width / self.columns as f32,
            area.height / self.rows as f32,
        );
        let tile = |index: usize| {
            let (row, column) = (index / self.columns, index % self.columns);
            let lines = picture.rgb.chunks_exact(3 * picture.width);
            let lines = lines.skip(row * side).take(side);
            let rgb = lines.flat_map(|line| &line[3 * column * side..][..3 * side]);
            let rgb: Vec<u8> = rgb.copied().collect();
            PictureTile {
                input: normalization.apply(&rgb),
                picture: Some(Picture {
                    width: side,
                    height: side,
                    rgb,
                }),
                area: Area {
                    left: area.left + column as f32 * width,
                    top: area.top + row as f32 * height,
                    width,
                    height,
                },
            }
        };
        (0..self.count()).into_par_iter().map(tile).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tilings_are_written_as_they_are_given() {
        for (text, tiling) in [
            ("1", Tiling::One),
            ("auto", Tiling::Auto),
            ("3", Tiling::AtMost(3)),
        ] {
            assert_eq!(text.parse(), Ok(tiling));
            assert_eq!(tiling.to_string(), text);
            let json = serde_json::to_string(&tiling).unwrap();
            assert_eq!(serde_json::from_str::<Tiling>(&json).unwrap(), tiling);
        }
        for text in ["0", "-1", "", "all", "1.5"] {
            assert!(
                text.parse::<Tiling>()
                    .unwrap_err()
                    .contains("number of tiles")
            );
        }
    }

    #[test]
    fn grids_are_cut_row_by_row() {
        let picture = Picture {
            width: 4,
            height: 6,
            rgb: (0..24).flat_map(|i| [i, 0, 0]).collect(),
        };
        let grid = TileGrid {
            rows: 3,
            columns: 2,
        };
        let area = Area {
            left: 10.0,
            top: 0.0,
            width: 8.0,
            height: 3.0,
        };
        let tiles = grid.cut(&picture, 2, area, &Normalization::UNIT);
        let reds = |tile: &PictureTile| {
            let picture = tile.picture.as_ref().unwrap();
            picture.rgb.iter().step_by(3).copied().collect::<Vec<_>>()
        };
        assert_eq!(reds(&tiles[0]), [0, 1, 4, 5]);
        assert_eq!(reds(&tiles[3]), [10, 11, 14, 15]);
        assert_eq!(
            tiles[3].input[..4],
            [10.0, 11.0, 14.0, 15.0].map(|red| red / 255.0)
        );
        assert_eq!(
            tiles[3].area,
            Area {
                left: 14.0,
                top: 1.0,
                width: 4.0,
                height: 1.0
            }
        );
        assert!(!tiles[0].is_padding());
    }
}
