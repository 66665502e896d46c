//! Files that are no pictures, or hold no pixels.

use image::ImageFormat;
use seemore::image::Picture;

use crate::pictures::{assert_blocks, blocks, encoded};
use crate::png_writer::{self as png, Png};
use crate::{has_advice, refused};

#[test]
fn formats_are_detected_by_content() {
    let dir = tempfile::tempdir().unwrap();
    let image = blocks();
    for (format, name) in [
        (ImageFormat::Png, "a.jpg"),
        (ImageFormat::Jpeg, "a.png"),
        (ImageFormat::Gif, "a.webp"),
        (ImageFormat::Bmp, "a"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, encoded(image.clone(), format)).unwrap();
        assert_blocks(
            name,
            &Picture::open(&path).unwrap(),
            if format == ImageFormat::Jpeg { 6 } else { 0 },
        );
    }
    let path = dir.path().join("empty.png");
    std::fs::write(&path, b"").unwrap();
    has_advice(
        &Picture::open(&path).unwrap_err().to_string(),
        &["empty.png", "empty", "download it"],
    );
    refused(b"", &["empty"]);
    refused(
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        &[
            "an SVG drawing",
            "not a picture in a supported format",
            "PNG or JPEG",
        ],
    );
    refused(
        b"some text",
        &[
            "not a picture in a supported format",
            "PNG, JPEG, WebP, GIF, BMP or TIFF",
        ],
    );
    refused(b"II*\0\x08\0\0\0\0\0\0\0\0\0\0\0", &[]);
    refused(
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        &["a HEIC picture", "PNG or JPEG"],
    );
    refused(b"\x89PNG\r\n\x1a\n", &[]);
    refused(b"\xff\xd8\xff", &[]);
    refused(b"BM", &[]);
    refused(b"GIF89a", &[]);
    refused(b"RIFF\x04\0\0\0WEBP", &[]);
    assert!(Picture::open(dir.path()).is_err());
}

#[test]
fn pictures_without_pixels_are_refused() {
    for (width, height) in [(0, 5), (5, 0), (0, 0)] {
        refused(
            &Png {
                width,
                height,
                depth: 8,
                kind: png::GREY,
                interlaced: false,
            }
            .file(&[], &[]),
            &[],
        );
        let mut gif = b"GIF89a".to_vec();
        gif.extend([
            width as u8,
            0,
            height as u8,
            0,
            0x80,
            0,
            0,
            0,
            0,
            0,
            255,
            255,
            255,
        ]);
        gif.extend([
            0x2C,
            0,
            0,
            0,
            0,
            width as u8,
            0,
            height as u8,
            0,
            0,
            2,
            2,
            0x4C,
            1,
            0,
            0x3B,
        ]);
        refused(&gif, &[]);
        let mut bmp = encoded(blocks(), ImageFormat::Bmp);
        bmp[18..22].copy_from_slice(&width.to_le_bytes());
        bmp[22..26].copy_from_slice(&height.to_le_bytes());
        refused(&bmp, &[]);
        let mut jpeg = encoded(blocks(), ImageFormat::Jpeg);
        let frame = jpeg
            .windows(2)
            .position(|pair| pair == [0xFF, 0xC0])
            .unwrap();
        jpeg[frame + 5..frame + 7].copy_from_slice(&(height as u16).to_be_bytes());
        jpeg[frame + 7..frame + 9].copy_from_slice(&(width as u16).to_be_bytes());
        refused(&jpeg, &[]);
    }
    // a screen with pixels and a frame without any
    let mut gif = b"GIF89a\x05\0\x05\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    gif.extend([0x2C, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 0x4C, 1, 0, 0x3B]);
    if let Err(error) = Picture::decode(&gif) {
        has_advice(&error.to_string(), &[]);
    }
    // no frame at all
    refused(b"GIF89a\x05\0\x05\0\x80\0\0\0\0\0\xff\xff\xff\x3B", &[]);
}
