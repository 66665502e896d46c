//! Resampling in every byte as in Pillow.

use std::path::Path;

use image::ImageReader;
use seemore::image::{Filter, Layout, Picture, resample};

use crate::golden;

/// Reads a PNG file of one of Pillow's modes: its layout, pixels, and size.
fn open(path: &Path, mode: &str) -> (Layout, Vec<u8>, (usize, usize)) {
    let image = ImageReader::open(path).unwrap().decode().unwrap();
    let size = (image.width() as usize, image.height() as usize);
    let (layout, pixels) = match mode {
        "L" => (Layout::GREY, image.into_luma8().into_raw()),
        "LA" => (Layout::GREY_ALPHA, image.into_luma_alpha8().into_raw()),
        "RGB" => (Layout::RGB, image.into_rgb8().into_raw()),
        "RGBA" => (Layout::RGBA, image.into_rgba8().into_raw()),
        _ => panic!("unknown mode {mode}"),
    };
    (layout, pixels, size)
}

fn filter(name: &str) -> Filter {
    match name {
        "bilinear" => Filter::Bilinear,
        "bicubic" => Filter::Bicubic,
        "lanczos" => Filter::Lanczos,
        _ => panic!("unknown filter {name}"),
    }
}

#[test]
fn resized_pictures_equal_pillows_in_every_byte() {
    golden::each("pillow_resize", |dir| {
        let cases = golden::json(dir.join("cases.json"));
        let cases = golden::list(&cases["cases"]);
        for case in cases {
            let name = golden::text(&case["out"]);
            let mode = golden::text(&case["mode"]);
            let (layout, pixels, size) = open(&dir.join(golden::text(&case["in"])), mode);
            let (_, want, new_size) = open(&dir.join(name), mode);
            let asked = (golden::size(&case["width"]), golden::size(&case["height"]));
            assert_eq!(new_size, asked, "{name}");
            let filter = filter(golden::text(&case["filter"]));
            let got = resample(&pixels, size, layout, new_size, filter);
            let differ = got
                .iter()
                .zip(&want)
                .filter(|(got, want)| got != want)
                .count();
            assert_eq!(
                (got.len(), differ),
                (want.len(), 0),
                "{name}: bytes that differ"
            );
            if layout == Layout::RGB {
                let (width, height) = size;
                let rgb = pixels;
                let picture = Picture { width, height, rgb };
                assert_eq!(
                    picture.resampled(asked.0, asked.1, filter).rgb,
                    want,
                    "{name}"
                );
            }
        }
        cases.len()
    });
}
