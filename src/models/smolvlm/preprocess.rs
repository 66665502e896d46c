//! Pictures as SmolVLM takes them in: `Idefics3ImageProcessor` of Hugging Face's transformers 5, with
//! Pillow.

use std::path::Path;

use serde::Deserialize;

use crate::image::{
    Area, Filter, Normalization, Picture, PictureTile, TileGrid, TiledPicture, Tiling,
};
use crate::models::load::{CheckpointError, Gguf};
use crate::models::processor::{ProcessorError, ProcessorFields};

/// Largest edge of a resized picture, in pixels, whatever the files say.
const MAX_RESIZED: usize = 4096;

/// How pictures become tiles, read from a model's files.
#[derive(Debug, Clone, PartialEq)]
pub struct PreprocessConfig {
    /// Longer edge of a resized picture, in pixels.
    pub longest_edge: usize,
    /// Side of a tile, in pixels.
    pub side: usize,
    /// Whether [`Tiling::Auto`] cuts pictures into tiles.
    pub split: bool,
    /// Filter of all resizing.
    pub filter: Filter,
    /// Conversion of pixel values.
    pub normalization: Normalization,
    /// Number of tokens of a tile, where the files say it.
    pub image_seq_len: Option<usize>,
}

/// Fields of the image processor, with the defaults of transformers.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Fields {
    size: Edge,
    max_image_size: Edge,
    resample: u64,
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    do_convert_rgb: Option<bool>,
    do_image_splitting: bool,
    rescale_factor: f64,
    image_mean: Vec<f32>,
    image_std: Vec<f32>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    longest_edge: usize,
}

impl Default for Fields {
    fn default() -> Fields {
        Fields {
            size: Edge { longest_edge: 1456 },
            max_image_size: Edge { longest_edge: 364 },
            resample: 1,
            do_resize: None,
            do_rescale: None,
            do_normalize: None,
            do_convert_rgb: None,
            do_image_splitting: true,
            rescale_factor: 1.0 / 255.0,
            image_mean: vec![0.5; 3],
            image_std: vec![0.5; 3],
        }
    }
}

impl PreprocessConfig {
    /// Reads `processor_config.json` or `preprocessor_config.json` of a model's folder.
    ///
    /// # Errors
    /// A file that is absent or cannot be read, or a wrong value; the message names the file and
    /// the field.
    pub fn load(folder: &Path) -> Result<PreprocessConfig, ProcessorError> {
        let ProcessorFields {
            fields,
            image_seq_len,
            source,
        } = ProcessorFields::<Fields>::load(folder)?;
        source.always("do_resize", fields.do_resize)?;
        source.always("do_rescale", fields.do_rescale)?;
        source.always("do_normalize", fields.do_normalize)?;
        source.always("do_convert_rgb", fields.do_convert_rgb)?;
        let (size, side) = (fields.size.longest_edge, fields.max_image_size.longest_edge);
        let side = source.edge("max_image_size.longest_edge", side)?;
        Ok(PreprocessConfig {
            longest_edge: source.tiles("size.longest_edge", size, side)?,
            side,
            split: fields.do_image_splitting,
            filter: source.filter(fields.resample)?,
            normalization: source.normalization(
                fields.rescale_factor,
                &fields.image_mean,
                &fields.image_std,
            )?,
            image_seq_len,
        })
    }

    /// Reads the description in the GGUF file of an image encoder.
    ///
    /// # Errors
    /// A key that is absent or wrong.
    pub fn of_gguf(file: &Gguf) -> Result<PreprocessConfig, CheckpointError> {
        let three = |key: &str| -> Result<[f32; 3], CheckpointError> {
            let values = file.floats(key)?;
            let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
            <[f32; 3]>::try_from(values).map_err(|values| CheckpointError::Mismatch {
                path: file.path().to_owned(),
                name: key.to_owned(),
                have: format!("has {} values", values.len()),
                want: "one for each of three channels".into(),
            })
        };
        let side = file.size("clip.vision.image_size")?;
        let longest = "clip.vision.preproc_image_size";
        Ok(PreprocessConfig {
            longest_edge: match file.metadata(longest) {
                Some(_) => file.size(longest)?,
                None => side,
            },
            side,
            split: true,
            filter: Filter::Lanczos,
            normalization: Normalization {
                scale: 1.0 / 255.0,
                mean: three("clip.vision.image_mean")?,
                std: three("clip.vision.image_std")?,
            },
            image_seq_len: None,
        })
    }

    /// Plans the tiles of a picture of this width and height, without touching a pixel.
    pub fn plan(&self, width: usize, height: usize, tiling: Tiling) -> Plan {
        let (longest_edge, split) = match tiling {
            Tiling::One => (self.longest_edge, false),
            Tiling::Auto => (self.longest_edge, self.split),
            Tiling::AtMost(count) => (
                self.longest_edge
                    .min(count.saturating_mul(self.side).max(1)),
                true,
            ),
        };
        let resized = below(long_edge(width, height, longest_edge), MAX_RESIZED);
        if !split {
            let grid = TileGrid::default();
            return Plan {
                resized,
                split: None,
                grid,
            };
        }
        let multiple = multiples(resized, self.side);
        let grid = TileGrid {
            rows: multiple.1 / self.side,
            columns: multiple.0 / self.side,
        };
        Plan {
            resized,
            split: Some(multiple),
            // a picture that fits one tile is not cut
            grid: if grid.count() > 1 {
                grid
            } else {
                TileGrid::default()
            },
        }
    }

    /// Converts a picture to tiles: those of the grid row by row, and last the whole picture.
    ///
    /// A tile whose input is 0 everywhere is left out: the model takes it for padding. No byte
    /// gives 0 with the mean of all published models.
    ///
    /// # Panics
    /// A picture without pixels.
    pub fn preprocess(&self, picture: &Picture, tiling: Tiling) -> TiledPicture {
        let plan = self.plan(picture.width, picture.height, tiling);
        let resampled =
            |picture: &Picture, (width, height)| picture.resampled(width, height, self.filter);
        let mut resized = resampled(picture, plan.resized);
        if let Some(size) = plan.split {
            resized = resampled(&resized, size);
        }
        let area = Area::whole(picture);
        let mut tiles = match plan.grid.count() {
            0 => vec![],
            _ => plan
                .grid
                .cut(&resized, self.side, area, &self.normalization),
        };
        let whole = resampled(&resized, (self.side, self.side));
        tiles.push(PictureTile {
            input: self.normalization.apply(&whole.rgb),
            picture: Some(whole),
            area,
        });
        tiles.retain(|tile| !tile.is_padding());
        TiledPicture {
            tiles,
            grid: plan.grid,
            side: self.side,
        }
    }
}

/// Sizes that a picture goes through, as width and height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Size at which the longer edge is as wanted.
    pub resized: (usize, usize),
    /// Size at which both edges are multiples of a tile; `None` if the picture is not to be cut.
    pub split: Option<(usize, usize)>,
    /// Grid of tiles; empty if the whole picture is the only tile.
    pub grid: TileGrid,
}

impl Plan {
    /// Number of tiles, the one of the whole picture included.
    pub fn tiles(&self) -> usize {
        self.grid.count() + 1
    }
}

/// Edges whose longer one is `longest` and whose shorter one is even, rounded up from the truncated
/// product.
fn long_edge(width: usize, height: usize, longest: usize) -> (usize, usize) {
    let aspect = width as f64 / height as f64;
    let even = |edge: f64| (edge as usize).next_multiple_of(2).max(1);
    if width >= height {
        (longest, even(longest as f64 / aspect))
    } else {
        (even(longest as f64 * aspect), longest)
    }
}

/// Shrinks edges to at most `limit`.
fn below((width, height): (usize, usize), limit: usize) -> (usize, usize) {
    let aspect = width as f64 / height as f64;
    if width >= height && width > limit {
        (limit, ((limit as f64 / aspect) as usize).max(1))
    } else if height > width && height > limit {
        (((limit as f64 * aspect) as usize).max(1), limit)
    } else {
        (width, height)
    }
}

/// Rounds the longer edge up to a multiple of `side`, and then the shorter edge at the same aspect.
fn multiples((width, height): (usize, usize), side: usize) -> (usize, usize) {
    let aspect = width as f64 / height as f64;
    let up = |edge: usize| edge.next_multiple_of(side);
    if width >= height {
        let width = up(width);
        (width, up(((width as f64 / aspect) as usize).max(1)))
    } else {
        let height = up(height);
        (up(((height as f64 * aspect) as usize).max(1)), height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> PreprocessConfig {
        PreprocessConfig {
            longest_edge: 32,
            side: 8,
            split: true,
            filter: Filter::Lanczos,
            normalization: Normalization {
                scale: 1.0 / 255.0,
                mean: [0.5; 3],
                std: [0.5; 3],
            },
            image_seq_len: None,
        }
    }

    fn grey(width: usize, height: usize, value: u8) -> Picture {
        let rgb = vec![value; 3 * width * height];
        Picture { width, height, rgb }
    }

    #[test]
    fn tilings_limit_the_number_of_tiles() {
        let plan = |tiling| config().plan(40, 30, tiling);
        assert_eq!(
            plan(Tiling::Auto).grid,
            TileGrid {
                rows: 3,
                columns: 4
            }
        );
        assert_eq!(
            plan(Tiling::AtMost(2)).grid,
            TileGrid {
                rows: 2,
                columns: 2
            }
        );
        assert_eq!(plan(Tiling::AtMost(99)), plan(Tiling::Auto));
        assert_eq!(plan(Tiling::One).tiles(), 1);
        // one tile along the longer edge: the picture fits the tile
        assert_eq!(plan(Tiling::AtMost(1)).tiles(), 1);
        let whole = PreprocessConfig {
            split: false,
            ..config()
        };
        assert_eq!(whole.plan(40, 30, Tiling::Auto).tiles(), 1);
        assert_eq!(whole.plan(40, 30, Tiling::AtMost(2)).tiles(), 5);
    }

    #[test]
    fn tiles_show_their_part_of_the_picture() {
        let tiled = config().preprocess(&grey(64, 48, 9), Tiling::Auto);
        assert_eq!((tiled.tiles.len(), tiled.image_tokens(5)), (13, 65));
        let area = tiled.tiles[6].area;
        assert_eq!(
            (area.left, area.top, area.width, area.height),
            (32.0, 16.0, 16.0, 16.0)
        );
        let whole = tiled.tiles.last().unwrap().area;
        assert_eq!(
            (whole.left, whole.top, whole.width, whole.height),
            (0.0, 0.0, 64.0, 48.0)
        );
    }

    #[test]
    fn tiles_of_zeros_are_left_out() {
        let mut config = config();
        let mut picture = grey(32, 16, 0);
        assert_eq!(config.preprocess(&picture, Tiling::Auto).tiles.len(), 9);
        config.normalization.mean = [0.0; 3];
        picture.rgb[..3 * 32].fill(200);
        let tiled = config.preprocess(&picture, Tiling::Auto);
        assert_eq!((tiled.tiles.len(), tiled.grid.rows), (5, 2));
    }

    #[test]
    fn wrong_values_name_the_file_and_the_field() {
        let dir = tempfile::tempdir().unwrap();
        let load = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            let result = PreprocessConfig::load(dir.path());
            std::fs::remove_file(path).unwrap();
            result.map_err(|error| error.to_string())
        };
        let old = "preprocessor_config.json";
        assert_eq!(load(old, "{}").unwrap().longest_edge, 1456);
        for (text, field) in [
            (r#"{"size": {"longest_edge": 0}}"#, "size.longest_edge"),
            (r#"{"size": {"longest_edge": "big"}}"#, "size.longest_edge"),
            (r#"{"size": {"height": 5}}"#, "longest_edge"),
            (
                r#"{"max_image_size": {"longest_edge": 99999999}}"#,
                "max_image_size.longest_edge",
            ),
            (
                r#"{"max_image_size": {"longest_edge": 1}}"#,
                "size.longest_edge",
            ),
            (r#"{"resample": 0}"#, "resample"),
            (r#"{"image_mean": [0.5, 0.5]}"#, "image_mean"),
            (r#"{"image_std": [0.5, 0.0, 0.5]}"#, "image_std"),
            (r#"{"rescale_factor": -1}"#, "rescale_factor"),
            (r#"{"do_normalize": false}"#, "do_normalize"),
        ] {
            let error = load(old, text).unwrap_err();
            assert!(error.contains(old) && error.contains(field), "{error}");
            let nested = format!(r#"{{"image_processor": {text}}}"#);
            let error = load("processor_config.json", &nested).unwrap_err();
            assert!(error.contains("processor_config.json"), "{error}");
            assert!(
                error.contains("image_processor.") && error.contains(field),
                "{error}"
            );
        }
        assert!(load(old, "[").unwrap_err().contains(old));
        let error = load("processor_config.json", r#"{"image_seq_len": 64}"#).unwrap_err();
        assert!(error.contains("neither"), "{error}");
    }
}
