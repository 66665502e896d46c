//! Writes photographs of 24 megapixels, for measurements of the window's memory:
//! `cargo run -p seemore-app --example photographs -- FOLDER COUNT`.
//!
//! All show one photograph of `data/photographs`, enlarged to 6000 x 4000 pixels. The files differ
//! in a comment.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use image::codecs::jpeg::JpegEncoder;
use seemore::image::{Filter, Picture};

/// Width and height, in pixels.
const SIZE: [usize; 2] = [6000, 4000];

/// Length of the marker that every JPEG file starts with.
const START: usize = 2;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count] = arguments.as_slice() else {
        bail!("usage: photographs FOLDER COUNT");
    };
    let count: u32 = count.parse().context("COUNT is no number")?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/photographs/cat.jpg");
    let large = Picture::open(&source)?.resampled(SIZE[0], SIZE[1], Filter::Bilinear);
    let mut jpeg = vec![];
    let [width, height] = SIZE.map(|side| side as u32);
    JpegEncoder::new_with_quality(&mut jpeg, 40).encode(
        &large.rgb,
        width,
        height,
        image::ExtendedColorType::Rgb8,
    )?;
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder)?;
    for number in 1..=count {
        let comment = format!("photograph {number:06}");
        let length = comment.len() as u16 + 2;
        let path = folder.join(format!("{number:06}.jpg"));
        let mut file = std::fs::File::create(&path)?;
        file.write_all(&jpeg[..START])?;
        // a comment segment
        file.write_all(&[0xff, 0xfe])?;
        file.write_all(&length.to_be_bytes())?;
        file.write_all(comment.as_bytes())?;
        file.write_all(&jpeg[START..])?;
    }
    Ok(())
}
