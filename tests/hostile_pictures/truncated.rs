//! Files without their end.

use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use jpeg_encoder::{ColorType, Encoder};
use seemore::image::Picture;

use crate::pictures::{encoded, jpeg, many_colours};
use crate::png_writer::{self as png, Png, animated_png};
use crate::webp_writer::{LOSSY_WEBP, LOSSY_WEBP_ALPHA, animated_webp, lossy_webp};
use crate::{decoded, has_advice};

/// Truncates a file at up to 400 positions and at each of the last 40 bytes. Checks that the result
/// is the same picture or an error, and returns how many of each.
#[track_caller]
fn cut(what: &str, bytes: &[u8]) -> (usize, usize) {
    let whole = decoded(bytes);
    let (mut same, mut refused) = (0, 0);
    let places = (0..bytes.len())
        .step_by(bytes.len().div_ceil(400))
        .chain(bytes.len().saturating_sub(40)..bytes.len());
    for end in places {
        match Picture::decode(&bytes[..end]) {
            Ok(picture) => {
                assert!(
                    picture == whole,
                    "{what} cut at {end} of {} decodes to other pixels",
                    bytes.len()
                );
                same += 1;
            }
            Err(error) => {
                has_advice(&format!("{what} cut at {end}: {error}"), &[]);
                refused += 1;
            }
        }
    }
    (same, refused)
}

#[test]
fn never_decode_to_other_pixels() {
    let image = many_colours(61, 43);
    for format in [
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Jpeg,
    ] {
        let (_, refused) = cut(&format!("{format:?}"), &encoded(image.clone(), format));
        assert!(refused > 200, "{format:?}: {refused}");
    }
    for progressive in [false, true] {
        let with = |encoder: &mut Encoder<&mut Vec<u8>>| {
            encoder.set_progressive(progressive);
            encoder.set_restart_interval(if progressive { 0 } else { 3 });
        };
        cut(
            &format!("JPEG, progressive {progressive}"),
            &jpeg(&image, 61, 43, ColorType::Rgb, with),
        );
    }
    let interlaced = Png {
        width: 61,
        height: 43,
        depth: 8,
        kind: png::RGB,
        interlaced: true,
    };
    let samples: Vec<u16> = image.iter().map(|&value| value as u16).collect();
    cut("interlaced PNG", &interlaced.file(&[], &samples));
    cut("lossy WebP", &lossy_webp(LOSSY_WEBP));
    cut("lossy WebP with alpha", &lossy_webp(LOSSY_WEBP_ALPHA));
    cut("animated WebP", &animated_webp());
    cut("animated PNG", &animated_png());
    let mut with_alpha: RgbaImage = DynamicImage::ImageRgb8(image).into_rgba8();
    with_alpha.put_pixel(3, 3, Rgba([1, 2, 3, 4]));
    cut("BMP with alpha", &encoded(with_alpha, ImageFormat::Bmp));
}
