//! Pictures of too many pixels or bytes, and decompression bombs.

use image::ImageFormat;
use jpeg_encoder::{ColorType, Encoder};
use seemore::image::{MAX_BYTES, MAX_PIXELS, MAX_SIDE, Picture, Preprocess};

use crate::memory::{measured, peak};
use crate::pictures::{blocks, encoded, exif, jpeg};
use crate::png_writer::{self as png, Png};
use crate::{assert_near, has_advice, pixel};

#[test]
fn too_many_pixels_are_refused_before_decoding() {
    let sizes = [
        (20_000, 20_000),
        (MAX_SIDE, MAX_SIDE),
        (8001, 8000),
        (MAX_SIDE + 1, 1),
        (1, MAX_SIDE + 1),
    ];
    for (width, height) in sizes {
        let rows = (width.min(30_000) as usize + 1) * height.min(30_000) as usize;
        let header = Png {
            width,
            height,
            depth: 8,
            kind: png::GREY,
            interlaced: false,
        }
        .header();
        let bytes = png::file(&[
            (b"IHDR", header),
            (b"IDAT", png::zlib_zeros(rows)),
            (b"IEND", vec![]),
        ]);
        let (answer, peak) = measured(&bytes);
        has_advice(
            &answer.unwrap_err(),
            &[
                &format!("{width} x {height}"),
                "64000000",
                "65535",
                "make it smaller",
            ],
        );
        assert!(peak < 4 << 20, "{width} x {height}: {peak} bytes");
        if width <= MAX_SIDE && height <= MAX_SIDE {
            let [wide, high] = [width as u16, height as u16];
            let mut gif = b"GIF89a".to_vec();
            gif.extend([wide.to_le_bytes(), high.to_le_bytes()].concat());
            gif.extend([0x80, 0, 0, 0, 0, 0, 255, 255, 255]);
            gif.extend([0x2C, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x4C, 1, 0, 0x3B]);
            let mut jpeg = encoded(blocks(), ImageFormat::Jpeg);
            let frame = jpeg
                .windows(2)
                .position(|pair| pair == [0xFF, 0xC0])
                .unwrap();
            jpeg[frame + 5..frame + 9]
                .copy_from_slice(&[high.to_be_bytes(), wide.to_be_bytes()].concat());
            let mut bmp = encoded(blocks(), ImageFormat::Bmp);
            bmp[18..26].copy_from_slice(&[width.to_le_bytes(), height.to_le_bytes()].concat());
            for bytes in [gif, jpeg, bmp] {
                let (answer, peak) = measured(&bytes);
                has_advice(
                    &answer.unwrap_err(),
                    &[&format!("{width} x {height}"), "make it smaller"],
                );
                assert!(peak < 4 << 20, "{width} x {height}: {peak} bytes");
            }
        }
    }
    // the canvas of an extended WebP may claim 2^24 pixels a side
    let mut canvas = b"RIFF\x22\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff".to_vec();
    canvas.extend(b"VP8L\x04\0\0\0\x2f\0\0\0");
    let (answer, peak) = measured(&canvas);
    has_advice(&answer.unwrap_err(), &[]);
    assert!(peak < 4 << 20, "{peak}");
}

#[test]
fn the_largest_pictures_decode_in_bounded_memory() {
    // 64 million pixels, whose rows take 64 MB, in 400 kB
    let (width, height) = (8000, 8000);
    let grey = |depth, kind, bytes_a_pixel: usize| {
        let header = Png {
            width,
            height,
            depth,
            kind,
            interlaced: false,
        }
        .header();
        let rows = (bytes_a_pixel * width as usize + 1) * height as usize;
        png::file(&[
            (b"IHDR", header),
            (b"IDAT", png::zlib_zeros(rows)),
            (b"IEND", vec![]),
        ])
    };
    for (depth, kind, bytes_a_pixel, colour) in [(8, png::GREY, 1, 0), (16, png::RGBA, 8, 255)] {
        let (picture, peak) = measured(&grey(depth, kind, bytes_a_pixel));
        let picture = picture.unwrap();
        assert_eq!((picture.width, picture.height), (8000, 8000));
        assert!(
            picture.rgb.iter().all(|&value| value == colour),
            "zeros are black, or transparent on white"
        );
        // the decoded samples and the RGB pixels at the same time
        assert!(
            peak <= 12 * MAX_PIXELS + (64 << 20),
            "{peak} bytes at {depth} bits"
        );
    }
    // a progressive JPEG is buffered as a whole, converted to RGB and rotated
    let ink = vec![40; 4 * width as usize * height as usize];
    let with = |encoder: &mut Encoder<&mut Vec<u8>>| {
        encoder.set_progressive(true);
        encoder
            .add_app_segment(1, [b"Exif\0\0".as_slice(), &exif(6, false)].concat())
            .unwrap();
    };
    let bytes = jpeg(&ink, width as u16, height as u16, ColorType::Cmyk, with);
    drop(ink);
    let (picture, peak) = measured(&bytes);
    assert_near("CMYK", &pixel(&picture.unwrap(), 4000, 4000), &[181; 3], 3);
    assert!(
        peak <= 12 * MAX_PIXELS + (64 << 20),
        "{peak} bytes for a progressive JPEG"
    );
}

#[test]
fn decompression_bombs_take_bounded_memory() {
    // ten by ten pixels, followed by 300 MB
    let header = Png {
        width: 10,
        height: 10,
        depth: 8,
        kind: png::GREY,
        interlaced: false,
    }
    .header();
    let zeros = png::zlib_zeros(300 << 20);
    let pixels = png::zlib(&[0; 110]);
    let bombs: [(&[u8; 4], Vec<u8>); 4] = [
        (b"IDAT", zeros.clone()),
        (b"iCCP", [b"profile\0\0".as_slice(), &zeros].concat()),
        (b"zTXt", [b"Comment\0\0".as_slice(), &zeros].concat()),
        (
            b"iTXt",
            [b"Comment\0\x01\0\0\0".as_slice(), &zeros].concat(),
        ),
    ];
    for (name, bomb) in bombs {
        let bytes = match name {
            b"IDAT" => png::file(&[(b"IHDR", header.clone()), (name, bomb), (b"IEND", vec![])]),
            _ => png::file(&[
                (b"IHDR", header.clone()),
                (name, bomb),
                (b"IDAT", pixels.clone()),
                (b"IEND", vec![]),
            ]),
        };
        let (answer, peak) = measured(&bytes);
        match answer {
            Ok(picture) => assert_eq!(picture.rgb, [0; 300], "{}", name.escape_ascii()),
            Err(message) => has_advice(&message, &[]),
        }
        assert!(peak < 64 << 20, "{}: {peak} bytes", name.escape_ascii());
    }
}

#[test]
fn oversized_files_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.jpg");
    // a sparse file
    std::fs::File::create(&path)
        .unwrap()
        .set_len(MAX_BYTES + 1)
        .unwrap();
    let (answer, peak) = peak(|| Picture::open(&path));
    has_advice(
        &answer.unwrap_err().to_string(),
        &["film.jpg", "579108864", "make it smaller"],
    );
    assert!(peak < 1 << 20);
}

/// The square around a line of 65,535 pixels, with its margin, would take 18 GB.
#[test]
fn a_thin_line_is_cropped_in_bounded_memory() {
    for (width, height) in [(65_535, 2), (1, 65_535), (60_000, 1000)] {
        let picture = Picture {
            width,
            height,
            rgb: vec![200; 3 * width * height],
        };
        let frame = Preprocess {
            side: 32,
            crop: true,
        };
        assert_eq!(frame.shown(&picture).width, frame.shown(&picture).height);
        assert!(frame.shown(&picture).width <= 4096);
        assert_eq!(picture.framed(frame).rgb.len(), 3 * 32 * 32);
    }
}
