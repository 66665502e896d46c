//! Pictures as CLIP takes them in: `CLIPImageProcessor` of Hugging Face's transformers, with Pillow.

use std::path::Path;

use serde::Deserialize;

use crate::image::{Area, Filter, Normalization, Picture, PictureTile, TileGrid, TiledPicture};
use crate::models::processor::{ProcessorError, ProcessorFields};

/// How pictures become inputs, read from a model's files.
#[derive(Debug, Clone, PartialEq)]
pub struct PreprocessConfig {
    /// Size that a picture is resized to; `None` keeps its size.
    pub resize: Option<Resize>,
    /// Side of the square that is cut from the middle, in pixels.
    pub side: usize,
    /// Filter of resizing.
    pub filter: Filter,
    /// Conversion of pixel values.
    pub normalization: Normalization,
}

/// Size that a picture is resized to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// Length of the shorter edge, in pixels; the aspect is kept.
    ShortestEdge(usize),
    /// Width and height, in pixels.
    Exact(usize, usize),
}

/// Fields of the image processor, with the defaults of transformers.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Fields {
    size: Size,
    crop_size: Size,
    resample: u64,
    do_resize: bool,
    do_center_crop: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    do_convert_rgb: Option<bool>,
    rescale_factor: f64,
    image_mean: Vec<f32>,
    image_std: Vec<f32>,
}

/// A size in one of the three forms that files have.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    Edge(usize),
    Shortest { shortest_edge: usize },
    Exact { width: usize, height: usize },
}

impl Default for Fields {
    fn default() -> Fields {
        Fields {
            size: Size::Edge(224),
            crop_size: Size::Edge(224),
            resample: 3,
            do_resize: true,
            do_center_crop: None,
            do_rescale: None,
            do_normalize: None,
            do_convert_rgb: None,
            rescale_factor: 1.0 / 255.0,
            image_mean: vec![0.48145466, 0.4578275, 0.40821073],
            image_std: vec![0.26862954, 0.261_302_6, 0.275_777_1],
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
        let ProcessorFields { fields, source, .. } = ProcessorFields::<Fields>::load(folder)?;
        source.always("do_center_crop", fields.do_center_crop)?;
        source.always("do_rescale", fields.do_rescale)?;
        source.always("do_normalize", fields.do_normalize)?;
        source.always("do_convert_rgb", fields.do_convert_rgb)?;
        let resize = match fields.size {
            Size::Edge(edge) => Resize::ShortestEdge(source.edge("size", edge)?),
            Size::Shortest { shortest_edge } => {
                Resize::ShortestEdge(source.edge("size.shortest_edge", shortest_edge)?)
            }
            Size::Exact { width, height } => Resize::Exact(
                source.edge("size.width", width)?,
                source.edge("size.height", height)?,
            ),
        };
        let side = match fields.crop_size {
            Size::Edge(edge) => source.edge("crop_size", edge)?,
            Size::Exact { width, height } if width == height => {
                source.edge("crop_size.width", width)?
            }
            Size::Exact { width, height } => {
                let value = format!("{width} x {height}");
                return Err(source.wrong("crop_size", value, "it must be a square"));
            }
            Size::Shortest { .. } => {
                let rule = "it must have a width and a height";
                return Err(source.wrong("crop_size", "shortest_edge", rule));
            }
        };
        Ok(PreprocessConfig {
            resize: fields.do_resize.then_some(resize),
            side,
            filter: source.filter(fields.resample)?,
            normalization: source.normalization(
                fields.rescale_factor,
                &fields.image_mean,
                &fields.image_std,
            )?,
        })
    }

    /// Size that a picture of this width and height is resized to before it is cropped.
    fn resized(&self, width: usize, height: usize) -> (usize, usize) {
        match self.resize {
            None => (width, height),
            Some(Resize::Exact(width, height)) => (width, height),
            Some(Resize::ShortestEdge(edge)) => {
                let long = |long: usize, short: usize| (edge * long) / short;
                if width <= height {
                    (edge, long(height, width))
                } else {
                    (long(width, height), edge)
                }
            }
        }
    }

    /// Converts a picture to one tile: resized, and the square in the middle cut out. Where the
    /// square is larger than the picture, it is black around it.
    ///
    /// # Panics
    /// A picture without pixels.
    pub fn preprocess(&self, picture: &Picture) -> TiledPicture {
        let (width, height) = self.resized(picture.width, picture.height);
        let side = self.side;
        // first column or row of the square, and those of it that the picture has
        let visible = |length: usize| {
            let first = (length as isize - side as isize).div_euclid(2);
            let end = (first + side as isize) as usize;
            (first, first.max(0) as usize..end.min(length))
        };
        let ((left, columns), (top, rows)) = (visible(width), visible(height));
        // the longer edge of a thin picture may have millions of pixels
        let middle = picture.resampled_window((width, height), columns.clone(), rows, self.filter);
        let mut rgb = vec![0; 3 * side * side];
        let (before, above) = ((-left).max(0) as usize, (-top).max(0) as usize);
        let lines = rgb.chunks_exact_mut(3 * side).skip(above);
        for (line, row) in lines.zip(middle.rgb.chunks_exact(3 * columns.len())) {
            line[3 * before..][..row.len()].copy_from_slice(row);
        }
        let (across, down) = (
            picture.width as f32 / width as f32,
            picture.height as f32 / height as f32,
        );
        let tile = PictureTile {
            input: self.normalization.apply(&rgb),
            picture: Some(Picture {
                width: side,
                height: side,
                rgb,
            }),
            area: Area {
                left: left as f32 * across,
                top: top as f32 * down,
                width: side as f32 * across,
                height: side as f32 * down,
            },
        };
        TiledPicture {
            tiles: vec![tile],
            grid: TileGrid::default(),
            side,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(resize: Option<Resize>, side: usize) -> PreprocessConfig {
        PreprocessConfig {
            resize,
            side,
            filter: Filter::Bicubic,
            normalization: Normalization::UNIT,
        }
    }

    /// A picture whose red is the column and whose green is the row.
    fn picture(width: usize, height: usize) -> Picture {
        let place = |i: usize| [(i % width) as u8, (i / width) as u8, 0];
        let rgb = (0..width * height).flat_map(place).collect();
        Picture { width, height, rgb }
    }

    fn shown(config: &PreprocessConfig, picture: &Picture) -> (Picture, Area) {
        let tile = config.preprocess(picture).tiles.remove(0);
        (tile.picture.unwrap(), tile.area)
    }

    #[test]
    fn the_middle_is_cut_out() {
        let (square, area) = shown(&config(None, 4), &picture(9, 7));
        assert_eq!((square.rgb[0], square.rgb[1]), (2, 1));
        assert_eq!(
            (area.left, area.top, area.width, area.height),
            (2.0, 1.0, 4.0, 4.0)
        );
        let config = config(Some(Resize::ShortestEdge(4)), 4);
        let (_, area) = shown(&config, &picture(16, 8));
        assert_eq!(
            (area.left, area.top, area.width, area.height),
            (4.0, 0.0, 8.0, 8.0)
        );
    }

    #[test]
    fn small_pictures_are_black_around() {
        // one more row above than below, as many columns on both sides
        let (square, area) = shown(&config(None, 6), &picture(4, 3));
        let green = |x: usize, y: usize| square.rgb[3 * (6 * y + x) + 1];
        let red = |x: usize, y: usize| square.rgb[3 * (6 * y + x)];
        assert_eq!([0, 1, 2, 3, 4, 5].map(|y| green(2, y)), [0, 0, 0, 1, 2, 0]);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|x| red(x, 3)), [0, 0, 1, 2, 3, 0]);
        assert_eq!((area.left, area.top), (-1.0, -2.0));
    }

    #[test]
    fn thin_pictures_take_little_memory() {
        let config = config(Some(Resize::ShortestEdge(224)), 224);
        let tiled = config.preprocess(&picture(1, 60_000));
        assert_eq!(tiled.tiles[0].input.len(), 3 * 224 * 224);
    }

    #[test]
    fn every_form_of_a_size_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let load = |text: &str| {
            std::fs::write(dir.path().join("preprocessor_config.json"), text).unwrap();
            PreprocessConfig::load(dir.path())
        };
        let read = |text: &str| load(text).map(|config| (config.resize.unwrap(), config.side));
        let short = Resize::ShortestEdge(300);
        assert_eq!(
            read(r#"{"size": 300, "crop_size": 288}"#).unwrap(),
            (short, 288)
        );
        let text = r#"{"size": {"shortest_edge": 300}, "crop_size": {"height": 5, "width": 5}}"#;
        assert_eq!(read(text).unwrap(), (short, 5));
        let text = r#"{"size": {"height": 2, "width": 3}}"#;
        assert_eq!(read(text).unwrap(), (Resize::Exact(3, 2), 224));
        for (text, field) in [
            (r#"{"size": "large"}"#, "size"),
            (r#"{"size": 0}"#, "size"),
            (r#"{"crop_size": {"height": 5, "width": 6}}"#, "crop_size"),
            (r#"{"crop_size": {"shortest_edge": 5}}"#, "crop_size"),
            (r#"{"do_center_crop": false}"#, "do_center_crop"),
            (r#"{"image_std": [1]}"#, "image_std"),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(
                error.contains("preprocessor_config.json") && error.contains(field),
                "{error}"
            );
        }
    }
}
