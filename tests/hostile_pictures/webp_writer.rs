//! A WebP writer for variants that common encoders do not write.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{ImageFormat, RgbImage};

use crate::pictures::{blocks, encoded};

/// A lossy WebP of 48 x 32 pixels in red, blue and green strips, encoded by libwebp.
pub const LOSSY_WEBP: &str = "UklGRmgAAABXRUJQVlA4IFwAAACQBACdASowACAAPmEojkWkIqEdWzQAQAYEswA7vvgH5AfiryAR36BgjH3JDoAA/u52f//1LjvT7//3QLfZR0pvtJsm\
E3jS7lAZtb7vh3leAwz5o/1vqLKYj4AAAA==";

/// Like [`LOSSY_WEBP`], with the left third transparent.
pub const LOSSY_WEBP_ALPHA: &str = "UklGRowAAABXRUJQVlA4WAoAAAAQAAAALwAAHwAAQUxQSBIAAAABIJq26f9PV5b5iYiYALLzPwdWUDggVAAAAPADAJ0BKjAAIAA+YSSORaQi\
IR1czABABgSxAGbZ63wDeAAe65a5r5AA/v02j7+9PX/+0s/60P/Wh+mh/xpf8kr74NFH6Uq/A/gdVsHdXzI/UwAAAA==";

pub fn lossy_webp(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap()
}

/// Name and content of a RIFF chunk.
pub type WebpChunk = ([u8; 4], Vec<u8>);

/// Encodes a picture, and returns the chunk with its pixels.
pub fn webp_pixels(image: &RgbImage) -> WebpChunk {
    let bytes = encoded(image.clone(), ImageFormat::WebP);
    let size = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
    (
        bytes[12..16].try_into().unwrap(),
        bytes[20..20 + size].to_vec(),
    )
}

fn webp_chunk((name, data): &WebpChunk) -> Vec<u8> {
    let mut bytes = [name.as_slice(), &(data.len() as u32).to_le_bytes(), data].concat();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

pub fn extended_webp(width: u32, height: u32, flags: u8, chunks: &[WebpChunk]) -> Vec<u8> {
    let mut canvas = vec![flags, 0, 0, 0];
    canvas.extend(&(width - 1).to_le_bytes()[..3]);
    canvas.extend(&(height - 1).to_le_bytes()[..3]);
    let mut body = b"WEBP".to_vec();
    body.extend(webp_chunk(&(*b"VP8X", canvas)));
    chunks
        .iter()
        .for_each(|chunk| body.extend(webp_chunk(chunk)));
    [
        b"RIFF".as_slice(),
        &(body.len() as u32).to_le_bytes(),
        &body,
    ]
    .concat()
}

/// An animated WebP: the blocks, then a black frame.
pub fn animated_webp() -> Vec<u8> {
    let frame = |image: &RgbImage| {
        let mut data = [0; 6].to_vec();
        data.extend(&(image.width() - 1).to_le_bytes()[..3]);
        data.extend(&(image.height() - 1).to_le_bytes()[..3]);
        data.extend([100, 0, 0, 0]);
        data.extend(webp_chunk(&webp_pixels(image)));
        (*b"ANMF", data)
    };
    let chunks = [
        (*b"ANIM", vec![255, 255, 255, 255, 0, 0]),
        frame(&blocks()),
        frame(&RgbImage::new(32, 32)),
    ];
    extended_webp(32, 32, 0x02, &chunks)
}
