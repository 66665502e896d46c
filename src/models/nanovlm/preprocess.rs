//! Pictures as nanoVLM takes them in: the transforms of its own code, with Pillow.

use std::path::Path;

use serde::Deserialize;

use crate::image::{
    Area, Filter, Normalization, Picture, PictureTile, TileGrid, TiledPicture, Tiling,
    resample_planes,
};
use crate::models::processor::{self, ProcessorError, Source};

/// How pictures become tiles, read from a model's `config.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreprocessConfig {
    /// Side of a tile, in pixels.
    pub side: usize,
    /// How pictures are cut into tiles; `None` for models that take every picture as one square.
    pub tiles: Option<TilesConfig>,
}

/// How pictures are cut into tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TilesConfig {
    /// Longer edge of a resized picture, in pixels.
    pub longest_edge: usize,
    /// Whether smaller pictures are enlarged to `longest_edge`. If not, their longer edge is
    /// rounded up to a multiple of the tile.
    pub enlarge: bool,
}

/// Fields of `config.json` about pictures.
#[derive(Debug, Deserialize)]
struct Fields {
    vit_img_size: usize,
    max_img_size: Option<usize>,
    #[serde(default)]
    resize_to_max_side_len: bool,
}

impl PreprocessConfig {
    /// Reads `config.json` of a model's folder.
    ///
    /// # Errors
    /// A file that cannot be read, or a wrong value; the message names the file and the field.
    pub fn load(folder: &Path) -> Result<PreprocessConfig, ProcessorError> {
        let path = folder.join("config.json");
        let fields: Fields = processor::read(&path)?;
        let source = Source::file(&path);
        let side = source.edge("vit_img_size", fields.vit_img_size)?;
        let tiles = |edge: usize| {
            let longest_edge = source.tiles("max_img_size", edge, side)?;
            if !longest_edge.is_multiple_of(side) {
                let rule = format!("it must be a multiple of vit_img_size, {side}");
                return Err(source.wrong("max_img_size", edge, &rule));
            }
            Ok(TilesConfig {
                longest_edge,
                enlarge: fields.resize_to_max_side_len,
            })
        };
        Ok(PreprocessConfig {
            side,
            tiles: fields.max_img_size.map(tiles).transpose()?,
        })
    }

    /// Plans the tiles of a picture of this width and height, without touching a pixel: the size
    /// that it is resized to, and the grid of tiles. A picture that fits one tile has a grid of 1
    /// row and 1 column; one of a model without tiles has none.
    pub fn plan(&self, width: usize, height: usize, tiling: Tiling) -> ((usize, usize), TileGrid) {
        let side = self.side;
        let Some(tiles) = self.tiles else {
            return ((side, side), TileGrid::default());
        };
        let most = match tiling {
            Tiling::One => side,
            Tiling::Auto => tiles.longest_edge,
            Tiling::AtMost(count) => tiles.longest_edge.min(count.max(1).saturating_mul(side)),
        };
        let (long, short) = (width.max(height), width.min(height));
        let longest = if tiles.enlarge {
            most
        } else {
            most.min(long.next_multiple_of(side))
        };
        let scaled = short as f64 * (longest as f64 / long as f64);
        let shortest = ((scaled / side as f64).ceil() as usize * side).max(side);
        let size = if width >= height {
            (longest, shortest)
        } else {
            (shortest, longest)
        };
        let grid = TileGrid {
            rows: size.1 / side,
            columns: size.0 / side,
        };
        (size, grid)
    }

    /// Converts a picture to tiles: if there are several, first the whole picture, then those of
    /// the grid row by row.
    ///
    /// # Panics
    /// A picture without pixels.
    pub fn preprocess(&self, picture: &Picture, tiling: Tiling) -> TiledPicture {
        let (side, area) = (self.side, Area::whole(picture));
        let (size, grid) = self.plan(picture.width, picture.height, tiling);
        let filter = match self.tiles {
            Some(_) => Filter::Bicubic,
            None => Filter::Bilinear,
        };
        let resized = picture.resampled(size.0, size.1, filter);
        let mut tiles = vec![];
        if grid.count() > 1 {
            let planes = Normalization::UNIT.apply(&resized.rgb);
            tiles.push(PictureTile {
                input: resample_planes(&planes, size, (side, side), Filter::Bilinear),
                picture: None,
                area,
            });
            tiles.extend(grid.cut(&resized, side, area, &Normalization::UNIT));
        } else {
            tiles.push(PictureTile {
                input: Normalization::UNIT.apply(&resized.rgb),
                picture: Some(resized),
                area,
            });
        }
        TiledPicture { tiles, grid, side }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(enlarge: bool) -> PreprocessConfig {
        PreprocessConfig {
            side: 8,
            tiles: Some(TilesConfig {
                longest_edge: 32,
                enlarge,
            }),
        }
    }

    #[test]
    fn tilings_limit_the_number_of_tiles() {
        let plan = |enlarge, tiling| config(enlarge).plan(20, 12, tiling);
        let grid = |rows, columns| TileGrid { rows, columns };
        assert_eq!(plan(true, Tiling::Auto), ((32, 24), grid(3, 4)));
        assert_eq!(plan(false, Tiling::Auto), ((24, 16), grid(2, 3)));
        assert_eq!(plan(false, Tiling::AtMost(2)), ((16, 16), grid(2, 2)));
        assert_eq!(plan(true, Tiling::AtMost(9)), plan(true, Tiling::Auto));
        assert_eq!(plan(true, Tiling::One), ((8, 8), grid(1, 1)));
        let square = PreprocessConfig {
            side: 8,
            tiles: None,
        };
        assert_eq!(
            square.plan(20, 12, Tiling::Auto),
            ((8, 8), TileGrid::default())
        );
    }

    #[test]
    fn the_whole_picture_is_the_first_of_several_tiles() {
        let picture = Picture {
            width: 20,
            height: 12,
            rgb: vec![51; 3 * 20 * 12],
        };
        let tiled = config(false).preprocess(&picture, Tiling::Auto);
        assert_eq!((tiled.tiles.len(), tiled.image_tokens(4)), (7, 28));
        assert_eq!(tiled.tiles[0].area, Area::whole(&picture));
        assert!(
            tiled
                .inputs()
                .iter()
                .all(|value| (value - 0.2).abs() < 1e-6)
        );
        let area = tiled.tiles[6].area;
        assert_eq!((area.left.round(), area.top, area.height), (13.0, 6.0, 6.0));
        assert_eq!(
            config(false).preprocess(&picture, Tiling::One).tiles.len(),
            1
        );
    }

    #[test]
    fn wrong_values_name_the_file_and_the_field() {
        let dir = tempfile::tempdir().unwrap();
        for (text, field) in [
            ("{}", "vit_img_size"),
            (r#"{"vit_img_size": 0}"#, "vit_img_size"),
            (r#"{"vit_img_size": 8, "max_img_size": 12}"#, "max_img_size"),
            (
                r#"{"vit_img_size": 1, "max_img_size": 4096}"#,
                "max_img_size",
            ),
            (r#"{"vit_img_size": 8, "max_img_size": -1}"#, "max_img_size"),
        ] {
            std::fs::write(dir.path().join("config.json"), text).unwrap();
            let error = PreprocessConfig::load(dir.path()).unwrap_err().to_string();
            assert!(
                error.contains("config.json") && error.contains(field),
                "{error}"
            );
        }
    }
}
