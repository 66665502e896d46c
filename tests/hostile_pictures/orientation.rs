//! Orientation by EXIF.

use image::{Rgb, RgbImage};
use jpeg_encoder::{ColorType, Encoder};

use crate::pictures::{exif, jpeg};
use crate::png_writer::{self as png, Png};
use crate::webp_writer::{extended_webp, webp_pixels};
use crate::{assert_near, decoded, pixel};

#[test]
fn every_orientation_is_applied() {
    // six different blocks: every rotation and reflection gives another picture
    let colours = [
        [220, 40, 40],
        [40, 180, 60],
        [40, 60, 220],
        [230, 220, 40],
        [30, 30, 30],
        [240, 240, 240],
    ];
    let image = RgbImage::from_fn(
        48,
        32,
        |x, y| Rgb(colours[(x / 16 + 3 * (y / 16)) as usize]),
    );
    // order of the blocks after each orientation, row by row
    let seen: [&[usize]; 8] = [
        &[0, 1, 2, 3, 4, 5],
        &[2, 1, 0, 5, 4, 3],
        &[5, 4, 3, 2, 1, 0],
        &[3, 4, 5, 0, 1, 2],
        &[0, 3, 1, 4, 2, 5],
        &[3, 0, 4, 1, 5, 2],
        &[5, 2, 4, 1, 3, 0],
        &[2, 5, 1, 4, 0, 3],
    ];
    let samples: Vec<u16> = image.iter().map(|&value| value as u16).collect();
    let png = Png {
        width: 48,
        height: 32,
        depth: 8,
        kind: png::RGB,
        interlaced: false,
    };
    for (orientation, little) in
        (0..=9).flat_map(|orientation| [(orientation, false), (orientation, true)])
    {
        let tag = exif(orientation, little);
        // invalid orientations are ignored
        let seen = seen[(orientation as usize)
            .checked_sub(1)
            .filter(|&at| at < 8)
            .unwrap_or(0)];
        let columns = if (5..=8).contains(&orientation) { 2 } else { 3 };
        let with = |encoder: &mut Encoder<&mut Vec<u8>>| {
            encoder
                .add_app_segment(1, [b"Exif\0\0".as_slice(), &tag].concat())
                .unwrap()
        };
        let files = [
            ("JPEG", jpeg(&image, 48, 32, ColorType::Rgb, with)),
            ("PNG", png.file(&[(b"eXIf", &tag)], &samples)),
            (
                "WebP",
                extended_webp(
                    48,
                    32,
                    0x08,
                    &[webp_pixels(&image), (*b"EXIF", tag.clone())],
                ),
            ),
        ];
        for (format, bytes) in files {
            let picture = decoded(&bytes);
            let what = format!("{format}, orientation {orientation}, little {little}");
            assert_eq!(
                (picture.width, picture.height),
                (16 * columns, 16 * (6 / columns)),
                "{what}"
            );
            for (place, &block) in seen.iter().enumerate() {
                assert_near(
                    &what,
                    &pixel(
                        &picture,
                        8 + 16 * (place % columns),
                        8 + 16 * (place / columns),
                    ),
                    &colours[block],
                    8,
                );
            }
        }
    }
    // truncated segments and offsets beyond the segment are ignored
    for tag in [
        &b"Exif\0\0MM"[..],
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01",
    ] {
        let with =
            |encoder: &mut Encoder<&mut Vec<u8>>| encoder.add_app_segment(1, tag.to_vec()).unwrap();
        let picture = decoded(&jpeg(&image, 48, 32, ColorType::Rgb, with));
        assert_eq!((picture.width, picture.height), (48, 32));
    }
}
