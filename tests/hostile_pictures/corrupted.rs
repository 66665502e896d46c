//! Files with changed bytes.

use image::ImageFormat;
use jpeg_encoder::ColorType;
use seemore::image::MAX_BYTES;

use crate::memory::measured;
use crate::pictures::{blocks, encoded, jpeg, many_colours};
use crate::png_writer::{self as png, Png, animated_png};
use crate::webp_writer::{LOSSY_WEBP, LOSSY_WEBP_ALPHA, animated_webp, lossy_webp};
use crate::{decoded, has_advice, refused};

#[test]
fn random_changes_never_panic() {
    let image = many_colours(29, 31);
    let mut files = vec![
        lossy_webp(LOSSY_WEBP),
        lossy_webp(LOSSY_WEBP_ALPHA),
        animated_webp(),
        animated_png(),
        jpeg(&image, 29, 31, ColorType::Rgb, |encoder| {
            encoder.set_progressive(true)
        }),
        jpeg(&[77; 4 * 17 * 9], 17, 9, ColorType::Cmyk, |_| ()),
    ];
    files.extend(
        [
            ImageFormat::Png,
            ImageFormat::WebP,
            ImageFormat::Gif,
            ImageFormat::Bmp,
            ImageFormat::Jpeg,
        ]
        .map(|it| encoded(image.clone(), it)),
    );
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for file in files {
        for _ in 0..200 {
            let mut bytes = file.clone();
            for _ in 0..1 + random(4) {
                // half of the changes in the header
                let place = if random(2) == 0 {
                    random(bytes.len())
                } else {
                    random(bytes.len().min(64))
                };
                bytes[place] = [0, 1, 0x7F, 0x80, 0xFF, random(256) as u8][random(6)];
            }
            let (answer, peak) = measured(&bytes);
            assert!(peak <= 2 * MAX_BYTES, "{peak} bytes");
            match answer {
                Ok(picture) => assert!(
                    picture.width > 0 && picture.rgb.len() == 3 * picture.width * picture.height
                ),
                Err(message) => has_advice(&message, &[]),
            }
        }
    }
}

#[test]
fn checksums_of_pixels_are_verified() {
    let image = many_colours(13, 7);
    let samples: Vec<u16> = image.iter().map(|&value| value as u16).collect();
    let text: (&[u8; 4], &[u8]) = (b"tEXt", b"Comment\0hello");
    let file = Png {
        width: 13,
        height: 7,
        depth: 8,
        kind: png::RGB,
        interlaced: false,
    }
    .file(&[text], &samples);
    let at = |name: &[u8; 4]| file.windows(4).position(|four| four == name).unwrap();
    let wrong = |name: &[u8; 4]| {
        let (start, mut bytes) = (at(name), file.clone());
        let length = u32::from_be_bytes(bytes[start - 4..start].try_into().unwrap()) as usize;
        bytes[start + 4 + length] ^= 1;
        bytes
    };
    refused(&wrong(b"IHDR"), &["damaged"]);
    refused(&wrong(b"IDAT"), &["damaged"]);
    // a comment does not affect the pixels
    assert_eq!(decoded(&wrong(b"tEXt")).rgb, image.clone().into_raw());
    // the checksum of the decompressed pixels is redundant, and ignored
    let mut bytes = file[..at(b"IDAT") - 4].to_vec();
    let mut pixels = png::zlib(
        &Png {
            width: 13,
            height: 7,
            depth: 8,
            kind: png::RGB,
            interlaced: false,
        }
        .rows(&samples),
    );
    let last = pixels.len() - 1;
    pixels[last] ^= 1;
    bytes.extend(&png::file(&[(b"IDAT", pixels), (b"IEND", vec![])])[8..]);
    assert_eq!(decoded(&bytes).rgb, image.into_raw());
}

#[test]
fn trailing_bytes_are_ignored() {
    let image = blocks();
    let garbage: Vec<u8> = (0..5000u32)
        .map(|i| (i.wrapping_mul(2654435761) >> 24) as u8)
        .collect();
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
    ] {
        let mut bytes = encoded(image.clone(), format);
        let whole = decoded(&bytes);
        for trailing in [&garbage[..], &[0; 64], b"\xff", b"\xff\xd8\xff"] {
            bytes.extend(trailing);
            assert!(decoded(&bytes) == whole, "{format:?}");
        }
    }
}
