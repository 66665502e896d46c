//! Variants of PNG.

use seemore::image::Picture;

use crate::pictures::many_colours;
use crate::png_writer::{self as png, Png};
use crate::{assert_near, decoded, has_advice, pixel, refused};

#[test]
fn every_color_type_and_depth_has_correct_colours() {
    let (width, height) = (11u32, 9u32);
    let count = (width * height) as usize;
    for interlaced in [false, true] {
        for depth in [1, 2, 4, 8, 16] {
            let most = (1u32 << depth) - 1;
            let eight =
                |value: u16| (value as u32 * 255 + most / 2).checked_div(most).unwrap() as u8;
            let png = |kind| Png {
                width,
                height,
                depth,
                kind,
                interlaced,
            };
            let what = |kind: &str| format!("{kind}, {depth} bits, interlaced {interlaced}");
            let samples = |channels: usize| -> Vec<u16> {
                (0..count * channels)
                    .map(|i| (i as u32 * 40503 % (most + 1)) as u16)
                    .collect()
            };

            let grey = samples(1);
            let want: Vec<u8> = grey.iter().flat_map(|&value| [eight(value); 3]).collect();
            assert_near(
                &what("grey"),
                &decoded(&png(png::GREY).file(&[], &grey)).rgb,
                &want,
                u8::from(depth == 16),
            );
            // one shade is transparent, and blended with white
            let key = grey[5];
            let want: Vec<u8> = grey
                .iter()
                .flat_map(|&value| [if value == key { 255 } else { eight(value) }; 3])
                .collect();
            assert_near(
                &what("keyed grey"),
                &decoded(&png(png::GREY).file(&[(b"tRNS", &key.to_be_bytes())], &grey)).rgb,
                &want,
                u8::from(depth == 16),
            );

            if depth <= 8 {
                let palette: Vec<u8> = (0..3 * (most as usize + 1))
                    .map(|i| (i * 83 % 256) as u8)
                    .collect();
                let colour = |value: u16| [0, 1, 2].map(|i| palette[3 * value as usize + i]);
                let want: Vec<u8> = grey.iter().flat_map(|&value| colour(value)).collect();
                assert_eq!(
                    decoded(&png(png::PALETTE).file(&[(b"PLTE", &palette)], &grey)).rgb,
                    want,
                    "{}",
                    what("palette")
                );
                // the first colour transparent, the second half, the others opaque by default
                let want: Vec<u8> = grey
                    .iter()
                    .flat_map(|&value| match value {
                        0 => [255; 3],
                        1 => colour(1)
                            .map(|value| ((value as u32 * 128 + 255 * 127 + 127) / 255) as u8),
                        other => colour(other),
                    })
                    .collect();
                let chunks: [(&[u8; 4], &[u8]); 2] = [(b"PLTE", &palette), (b"tRNS", &[0, 128])];
                assert_eq!(
                    decoded(&png(png::PALETTE).file(&chunks, &grey)).rgb,
                    want,
                    "{}",
                    what("palette with alpha")
                );
            }
            if depth >= 8 {
                let rgb = samples(3);
                let want: Vec<u8> = rgb.iter().map(|&value| eight(value)).collect();
                assert_near(
                    &what("RGB"),
                    &decoded(&png(png::RGB).file(&[], &rgb)).rgb,
                    &want,
                    u8::from(depth == 16),
                );
                let over_white = |value: u16, alpha: u16| {
                    let share = alpha as f64 / most as f64;
                    (255.0 * (value as f64 / most as f64 * share + 1.0 - share)).round() as u8
                };
                let both = samples(2);
                let want: Vec<u8> = both
                    .chunks(2)
                    .flat_map(|pair| [over_white(pair[0], pair[1]); 3])
                    .collect();
                assert_near(
                    &what("grey and alpha"),
                    &decoded(&png(png::GREY_ALPHA).file(&[], &both)).rgb,
                    &want,
                    2,
                );
                let rgba = samples(4);
                let want: Vec<u8> = rgba
                    .chunks(4)
                    .flat_map(|pixel| [0, 1, 2].map(|i| over_white(pixel[i], pixel[3])))
                    .collect();
                assert_near(
                    &what("RGBA"),
                    &decoded(&png(png::RGBA).file(&[], &rgba)).rgb,
                    &want,
                    2,
                );
            }
        }
    }
}

#[test]
fn interlacing_works_at_every_small_size() {
    for (width, height) in (1..=9).flat_map(|width| (1..=9).map(move |height| (width, height))) {
        let image = many_colours(width, height);
        let samples: Vec<u16> = image.iter().map(|&value| value as u16).collect();
        let png = Png {
            width,
            height,
            depth: 8,
            kind: png::RGB,
            interlaced: true,
        };
        assert_eq!(
            decoded(&png.file(&[], &samples)).rgb,
            image.into_raw(),
            "{width} x {height}"
        );
    }
}

#[test]
fn indices_beyond_the_palette_do_not_panic() {
    let png = Png {
        width: 4,
        height: 1,
        depth: 8,
        kind: png::PALETTE,
        interlaced: false,
    };
    match Picture::decode(&png.file(&[(b"PLTE", &[9, 8, 7])], &[0, 1, 200, 255])) {
        Ok(picture) => assert_eq!(pixel(&picture, 0, 0), [9, 8, 7]),
        Err(error) => has_advice(&error.to_string(), &[]),
    }
    refused(&png.file(&[], &[0, 1, 2, 3]), &[]);
}
