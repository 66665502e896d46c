//! Variants of WebP and BMP, and animations.

use image::{DynamicImage, RgbImage};

use crate::pictures::{assert_blocks, blocks};
use crate::png_writer::animated_png;
use crate::webp_writer::{LOSSY_WEBP, LOSSY_WEBP_ALPHA, animated_webp, lossy_webp};
use crate::{assert_near, decoded, pixel, refused};

#[test]
fn lossy_webp_has_correct_colours() {
    let picture = decoded(&lossy_webp(LOSSY_WEBP));
    assert_eq!((picture.width, picture.height), (48, 32));
    for (x, colour) in [(6, [220, 40, 40]), (24, [40, 60, 220]), (42, [30, 160, 60])] {
        assert_near("lossy WebP", &pixel(&picture, x, 16), &colour, 12);
    }
    let picture = decoded(&lossy_webp(LOSSY_WEBP_ALPHA));
    for (x, colour) in [(6, [255; 3]), (24, [40, 60, 220]), (42, [30, 160, 60])] {
        assert_near(
            "lossy WebP with alpha",
            &pixel(&picture, x, 16),
            &colour,
            12,
        );
    }
}

#[test]
fn every_kind_of_bmp_has_correct_colours() {
    // two rows of three pixels in 24 bits, bottom up
    let bmp = |height: i32, bits: u16, compression: u32, table: &[u8], pixels: &[u8]| {
        let start = 54 + table.len() as u32;
        let mut bytes = b"BM".to_vec();
        bytes.extend(
            [start + pixels.len() as u32, 0, start, 40]
                .map(u32::to_le_bytes)
                .concat(),
        );
        bytes.extend([3, height].map(i32::to_le_bytes).concat());
        bytes.extend([1, bits].map(u16::to_le_bytes).concat());
        bytes.extend(
            [compression, pixels.len() as u32, 0, 0, 0, 0]
                .map(u32::to_le_bytes)
                .concat(),
        );
        bytes.extend(table);
        bytes.extend(pixels);
        bytes
    };
    let [a, b, c, d, e, f] = [
        [250, 0, 0],
        [0, 250, 0],
        [0, 0, 250],
        [9, 9, 9],
        [90, 90, 90],
        [200, 200, 200],
    ];
    let want = [a, b, c, d, e, f].concat();
    let bgr = |colours: [[u8; 3]; 3]| {
        [
            colours
                .iter()
                .flat_map(|it| [it[2], it[1], it[0]])
                .collect::<Vec<u8>>(),
            vec![0; 3],
        ]
        .concat()
    };
    assert_eq!(
        decoded(&bmp(
            2,
            24,
            0,
            &[],
            &[bgr([d, e, f]), bgr([a, b, c])].concat()
        ))
        .rgb,
        want
    );
    assert_eq!(
        decoded(&bmp(
            -2,
            24,
            0,
            &[],
            &[bgr([a, b, c]), bgr([d, e, f])].concat()
        ))
        .rgb,
        want
    );
    let table: Vec<u8> = [a, b, c, d, e, f]
        .iter()
        .flat_map(|it| [it[2], it[1], it[0], 0])
        .chain([0; 4 * 250])
        .collect();
    assert_eq!(
        decoded(&bmp(2, 8, 0, &table, &[3, 4, 5, 0, 0, 1, 2, 0])).rgb,
        want
    );
    // run-length encoding: rows end with 0 0, the picture with 0 1
    assert_eq!(
        decoded(&bmp(
            2,
            8,
            1,
            &table,
            &[1, 3, 1, 4, 1, 5, 0, 0, 1, 0, 1, 1, 1, 2, 0, 1]
        ))
        .rgb,
        want
    );
    // one bit per pixel, with two colours
    assert_eq!(
        decoded(&bmp(1, 1, 0, &table[..8], &[0b0100_0000, 0, 0, 0])).rgb,
        [a, b, a].concat()
    );
    refused(&bmp(2, 24, 77, &[], &[0; 24]), &["compression type 77"]);
    refused(&bmp(i32::MIN, 24, 0, &[], &[0; 24]), &[]);
}

#[test]
fn animations_give_their_first_frame() {
    // frames are blended in floating point
    assert_blocks("animated WebP", &decoded(&animated_webp()), 1);
    assert_blocks("animated PNG", &decoded(&animated_png()), 0);
    let mut gif = vec![];
    {
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut gif);
        for image in [blocks(), RgbImage::new(32, 32)] {
            encoder
                .encode_frame(image::Frame::new(
                    DynamicImage::ImageRgb8(image).into_rgba8(),
                ))
                .unwrap();
        }
    }
    assert_blocks("animated GIF", &decoded(&gif), 2);
    // a frame smaller than its screen: the rest is transparent, so white
    let mut small = b"GIF89a\x03\0\x02\0\x80\0\0\x0a\x14\x1e\xff\xff\xff".to_vec();
    small.extend([0x2C, 1, 0, 1, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0, 0x3B]);
    let mut want = [255; 18];
    want[12..15].copy_from_slice(&[10, 20, 30]);
    assert_eq!(decoded(&small).rgb, want);
}
