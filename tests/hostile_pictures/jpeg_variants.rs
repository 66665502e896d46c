//! Variants of JPEG.

use image::{ImageFormat, Rgb};
use jpeg_encoder::{ColorType, Encoder};

use crate::pictures::{BLOCKS, assert_blocks, blocks, encoded, jpeg};
use crate::{assert_near, decoded, pixel, refused};

#[test]
fn every_color_space_has_correct_colours() {
    let image = blocks();
    for (what, progressive, interval) in [
        ("baseline", false, 0),
        ("progressive", true, 0),
        ("restarting", false, 2),
    ] {
        let with = |encoder: &mut Encoder<&mut Vec<u8>>| {
            encoder.set_progressive(progressive);
            encoder.set_restart_interval(interval);
        };
        assert_blocks(
            what,
            &decoded(&jpeg(&image, 32, 32, ColorType::Rgb, with)),
            8,
        );
        let grey: Vec<u8> = (0..32 * 32)
            .map(|i| if i % 32 < 16 { 30 } else { 200 })
            .collect();
        let picture = decoded(&jpeg(&grey, 32, 32, ColorType::Luma, with));
        assert_near(
            what,
            &[pixel(&picture, 4, 8), pixel(&picture, 28, 8)].concat(),
            &[30, 30, 30, 200, 200, 200],
            4,
        );
        // inks without and with black
        let ink: Vec<u8> = image
            .pixels()
            .flat_map(|Rgb(it)| [255 - it[0], 255 - it[1], 255 - it[2], 0])
            .collect();
        let dark: Vec<u8> = image
            .pixels()
            .flat_map(|Rgb(it)| [255 - it[0], 255 - it[1], 255 - it[2], 128])
            .collect();
        for (space, name) in [(ColorType::Cmyk, "CMYK"), (ColorType::CmykAsYcck, "YCCK")] {
            assert_blocks(
                &format!("{name}, {what}"),
                &decoded(&jpeg(&ink, 32, 32, space, with)),
                10,
            );
            let picture = decoded(&jpeg(&dark, 32, 32, space, with));
            assert_near(
                &format!("dark {name}, {what}"),
                &pixel(&picture, 8, 8),
                &BLOCKS[0].map(|value| (value as u32 * 127 / 255) as u8),
                8,
            );
        }
    }
}

#[test]
fn unsupported_variants_are_refused() {
    let base = encoded(blocks(), ImageFormat::Jpeg);
    let frame = base
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .unwrap();
    let changed = |offset: usize, value: u8| {
        let mut bytes = base.clone();
        bytes[frame + offset] = value;
        bytes
    };
    // arithmetic coding, lossless, and twelve bits per sample
    for bytes in [changed(1, 0xC9), changed(1, 0xC3), changed(4, 12)] {
        refused(&bytes, &["JPEG", "save it"]);
    }
}
