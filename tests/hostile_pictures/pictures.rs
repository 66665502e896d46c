//! Test pictures, and encoders for them.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use jpeg_encoder::{ColorType, Encoder};
use seemore::image::Picture;

use crate::{assert_near, pixel};

/// A picture whose pixels all differ, so that misplaced pixels are noticed.
pub fn many_colours(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([
            (x * 37 % 256) as u8,
            (y * 59 % 256) as u8,
            ((x * x + 3 * y) % 256) as u8,
        ])
    })
}

/// Colours of four blocks of 16 x 16 pixels, whose centres survive lossy compression.
pub const BLOCKS: [[u8; 3]; 4] = [[220, 40, 40], [40, 180, 60], [40, 60, 220], [230, 220, 40]];

pub fn blocks() -> RgbImage {
    RgbImage::from_fn(32, 32, |x, y| Rgb(BLOCKS[(x / 16 + 2 * (y / 16)) as usize]))
}

#[track_caller]
pub fn assert_blocks(what: &str, picture: &Picture, off: u8) {
    assert_eq!((picture.width, picture.height), (32, 32), "{what}");
    for (block, colour) in BLOCKS.iter().enumerate() {
        assert_near(
            what,
            &pixel(picture, 8 + 16 * (block % 2), 8 + 16 * (block / 2)),
            colour,
            off,
        );
    }
}

pub fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub fn jpeg(
    samples: &[u8],
    width: u16,
    height: u16,
    colours: ColorType,
    with: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut bytes = vec![];
    let mut encoder = Encoder::new(&mut bytes, 95);
    with(&mut encoder);
    encoder.encode(samples, width, height, colours).unwrap();
    bytes
}

/// EXIF data with an orientation, as in an APP1 segment of JPEG or a chunk of PNG and WebP.
pub fn exif(orientation: u8, little: bool) -> Vec<u8> {
    if little {
        [
            b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(),
            &[orientation, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat()
    } else {
        [
            b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".as_slice(),
            &[0, orientation, 0, 0, 0, 0, 0, 0],
        ]
        .concat()
    }
}
