//! Helpers of the tests in this module.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use ::image::{ImageFormat, Rgb, RgbImage};

use super::{DataError, Dataset, Layout, Loaded, Problem};
use crate::progress::Silent;

/// Encodes a picture of one shade of red, 6 x 4 pixels.
pub fn png(shade: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    RgbImage::from_pixel(6, 4, Rgb([shade, 0, 0]))
        .write_to(&mut bytes, ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// Loads a data set of 4 x 4 pictures with the default layout.
pub fn load(path: &Path, strict: bool) -> Result<Loaded, DataError> {
    Dataset::load(path, 4, &Layout::default(), strict, &Silent)
}

/// Compresses bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes a file into a new temporary folder.
pub fn written(name: &str, text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

/// Joins problems to one text, one problem a line.
pub fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(Problem::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
