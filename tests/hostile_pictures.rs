//! Pictures of every kind that people bring, whole and broken. Each is made here, and is either decoded to the right colours or
//! refused with a message that says why and what to do.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Cursor;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use jpeg_encoder::{ColorType, Encoder};
use seemore::image::{MAX_BYTES, MAX_PIXELS, MAX_SIDE, Picture};

/// Counts what each thread allocates: a picture is decoded on the thread that asks for it.
struct Counted;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // threads that are ending have no counters any more, and are not measured
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// What decoding answers, and the most bytes that were held during it.
fn measured(bytes: &[u8]) -> (Result<Picture, String>, u64) {
    let before = HELD.get();
    PEAK.set(before);
    let picture = Picture::decode(bytes).map_err(|error| error.to_string());
    (picture, (PEAK.get() - before) as u64)
}

#[track_caller]
fn decoded(bytes: &[u8]) -> Picture {
    let picture = Picture::decode(bytes).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(picture.rgb.len(), 3 * picture.width * picture.height);
    picture
}

/// Refused, with a message that holds all of `words`, and something to do.
#[track_caller]
fn refused(bytes: &[u8], words: &[&str]) {
    match Picture::decode(bytes) {
        Ok(picture) => panic!("decoded as {} x {}", picture.width, picture.height),
        Err(error) => told(&error.to_string(), words),
    }
}

#[track_caller]
fn told(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "no `{word}` in: {message}");
    }
    assert!(
        [
            "use PNG",
            "make it smaller",
            "get it again",
            "save it again"
        ]
        .iter()
        .any(|advice| message.contains(advice)),
        "says not what to do: {message}"
    );
}

#[track_caller]
fn near(what: &str, got: &[u8], want: &[u8], off: u8) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            got.abs_diff(*want) <= off,
            "{what}: at {i} got {got}, want {want}"
        );
    }
}

fn pixel(picture: &Picture, x: usize, y: usize) -> [u8; 3] {
    let first = 3 * (y * picture.width + x);
    [
        picture.rgb[first],
        picture.rgb[first + 1],
        picture.rgb[first + 2],
    ]
}

/// Every place another colour, so that nothing can be at the wrong place unseen.
fn many_colours(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([
            (x * 37 % 256) as u8,
            (y * 59 % 256) as u8,
            ((x * x + 3 * y) % 256) as u8,
        ])
    })
}

/// Four blocks of one colour each, 16 pixels wide and 16 high: lossy formats keep their middles.
const BLOCKS: [[u8; 3]; 4] = [[220, 40, 40], [40, 180, 60], [40, 60, 220], [230, 220, 40]];

fn blocks() -> RgbImage {
    RgbImage::from_fn(32, 32, |x, y| Rgb(BLOCKS[(x / 16 + 2 * (y / 16)) as usize]))
}

#[track_caller]
fn shows_blocks(what: &str, picture: &Picture, off: u8) {
    assert_eq!((picture.width, picture.height), (32, 32), "{what}");
    for (block, colour) in BLOCKS.iter().enumerate() {
        near(
            what,
            &pixel(picture, 8 + 16 * (block % 2), 8 + 16 * (block / 2)),
            colour,
            off,
        );
    }
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn jpeg(
    samples: &[u8],
    width: u16,
    height: u16,
    colours: ColorType,
    with: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut bytes = vec![];
    let mut encoder = Encoder::new(&mut bytes, 95);
    with(&mut encoder);
    encoder.encode(samples, width, height, colours).unwrap();
    bytes
}

/// A lossy WebP of 48 x 32 pixels in red, blue and green strips, made with libwebp: there is no encoder in Rust.
const LOSSY_WEBP: &str = "UklGRmgAAABXRUJQVlA4IFwAAACQBACdASowACAAPmEojkWkIqEdWzQAQAYEswA7vvgH5AfiryAR36BgjH3JDoAA/u52f//1LjvT7//3QLfZR0pvtJsm\
E3jS7lAZtb7vh3leAwz5o/1vqLKYj4AAAA==";

/// The same with its left third transparent.
const LOSSY_WEBP_ALPHA: &str = "UklGRowAAABXRUJQVlA4WAoAAAAQAAAALwAAHwAAQUxQSBIAAAABIJq26f9PV5b5iYiYALLzPwdWUDggVAAAAPADAJ0BKjAAIAA+YSSORaQi\
IR1czABABgSxAGbZ63wDeAAe65a5r5AA/v02j7+9PX/+0s/60P/Wh+mh/xpf8kr74NFH6Uq/A/gdVsHdXzI/UwAAAA==";

fn lossy_webp(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).unwrap()
}

/// PNG by hand: what encoders do not write.
mod png {
    /// Adam7's passes: first column and row, and the steps between those that follow.
    const PASSES: [(usize, usize, usize, usize); 7] = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ];

    pub const GREY: u8 = 0;
    pub const RGB: u8 = 2;
    pub const PALETTE: u8 = 3;
    pub const GREY_ALPHA: u8 = 4;
    pub const RGBA: u8 = 6;

    pub struct Png {
        pub width: u32,
        pub height: u32,
        pub depth: u8,
        pub kind: u8,
        pub interlaced: bool,
    }

    impl Png {
        fn channels(&self) -> usize {
            match self.kind {
                GREY | PALETTE => 1,
                GREY_ALPHA => 2,
                RGB => 3,
                _ => 4,
            }
        }

        pub fn header(&self) -> Vec<u8> {
            let mut header = [self.width.to_be_bytes(), self.height.to_be_bytes()].concat();
            header.extend([self.depth, self.kind, 0, 0, self.interlaced as u8]);
            header
        }

        /// The rows of `samples`, each with its filter byte, before compression.
        pub fn rows(&self, samples: &[u16]) -> Vec<u8> {
            let passes: &[_] = if self.interlaced {
                &PASSES
            } else {
                &[(0, 0, 1, 1)]
            };
            let mut rows = vec![];
            for &(left, top, across, down) in passes {
                let columns: Vec<usize> = (left..self.width as usize).step_by(across).collect();
                // an empty pass has no rows, not even filter bytes
                if columns.is_empty() {
                    continue;
                }
                for y in (top..self.height as usize).step_by(down) {
                    rows.push(0);
                    let (mut bits, mut filled) = (0u32, 0);
                    for &x in &columns {
                        for channel in 0..self.channels() {
                            let sample =
                                samples[(y * self.width as usize + x) * self.channels() + channel];
                            bits = bits << self.depth | sample as u32;
                            filled += self.depth;
                            while filled >= 8 {
                                filled -= 8;
                                rows.push((bits >> filled) as u8);
                            }
                        }
                    }
                    if filled > 0 {
                        rows.push((bits << (8 - filled)) as u8);
                    }
                }
            }
            rows
        }

        /// The file, with chunks between header and pixels.
        pub fn file(&self, between: &[(&[u8; 4], &[u8])], samples: &[u16]) -> Vec<u8> {
            let pixels = zlib(&self.rows(samples));
            let mut chunks = vec![(b"IHDR", self.header())];
            chunks.extend(between.iter().map(|(name, data)| (*name, data.to_vec())));
            chunks.extend([(b"IDAT", pixels), (b"IEND", vec![])]);
            file(&chunks)
        }
    }

    pub fn file(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        for (name, data) in chunks {
            bytes.extend((data.len() as u32).to_be_bytes());
            let start = bytes.len();
            bytes.extend(*name);
            bytes.extend(data);
            let sum = crc(&bytes[start..]);
            bytes.extend(sum.to_be_bytes());
        }
        bytes
    }

    pub fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |sum, &byte| {
            (0..8).fold(sum ^ byte as u32, |sum, _| {
                sum >> 1 ^ (0xEDB8_8320 & (sum & 1).wrapping_neg())
            })
        })
    }

    fn adler(bytes: impl Iterator<Item = u8>) -> u32 {
        let (a, b) = bytes.fold((1, 0), |(a, b), byte| {
            let a = (a + byte as u32) % 65521;
            (a, (b + a) % 65521)
        });
        b << 16 | a
    }

    /// Stored, not compressed.
    pub fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0x78, 0x01];
        let mut blocks = bytes.chunks(0xFFFF).peekable();
        while let Some(block) = blocks.next() {
            out.push(blocks.peek().is_none() as u8);
            out.extend((block.len() as u16).to_le_bytes());
            out.extend((!(block.len() as u16)).to_le_bytes());
            out.extend(block);
        }
        out.extend(adler(bytes.iter().copied()).to_be_bytes());
        out
    }

    /// At least so many zeros, in a hundred and fiftieth of the bytes: a zero, then copies of the 258 bytes before.
    pub fn zlib_zeros(count: usize) -> Vec<u8> {
        let copies = count.div_ceil(258);
        let mut out = vec![0x78, 0x01];
        let (mut bits, mut filled) = (0u64, 0);
        let mut put = |value: u64, size: u32| {
            bits |= value << filled;
            filled += size;
            while filled >= 8 {
                out.push(bits as u8);
                bits >>= 8;
                filled -= 8;
            }
        };
        // the last block, with the fixed codes; those are written from their highest bit, as here in reverse
        put(0b011, 3);
        put(0b0000_1100, 8);
        for _ in 0..copies {
            put(0b1010_0011, 8);
            put(0, 5);
        }
        put(0, 7);
        put(0, 7);
        out.extend(adler(std::iter::repeat_n(0, 1 + 258 * copies)).to_be_bytes());
        out
    }
}

use png::Png;

/// Cuts at up to 400 places, and at each of the last 40 bytes: the same pixels, or a message. Answers how many of each.
#[track_caller]
fn cut(what: &str, bytes: &[u8]) -> (usize, usize) {
    let whole = decoded(bytes);
    let (mut same, mut told_so) = (0, 0);
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
                told(&format!("{what} cut at {end}: {error}"), &[]);
                told_so += 1;
            }
        }
    }
    (same, told_so)
}

#[test]
fn what_is_cut_off_is_never_decoded_to_other_pixels() {
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

#[test]
fn what_has_noise_in_it_is_decoded_or_refused_but_never_panics() {
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
                // half of the noise where sizes and kinds are told
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
                Err(message) => told(&message, &[]),
            }
        }
    }
}

#[test]
fn formats_are_told_apart_by_content_and_what_is_none_is_refused() {
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
        shows_blocks(
            name,
            &Picture::open(&path).unwrap(),
            if format == ImageFormat::Jpeg { 6 } else { 0 },
        );
    }
    let path = dir.path().join("empty.png");
    std::fs::write(&path, b"").unwrap();
    told(
        &Picture::open(&path).unwrap_err().to_string(),
        &["empty.png", "empty", "get it"],
    );
    refused(b"", &["empty"]);
    refused(
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        &[
            "not a picture in a format known here",
            "PNG, JPEG, WebP, GIF or BMP",
        ],
    );
    refused(b"II*\0\x08\0\0\0\0\0\0\0\0\0\0\0", &["format known here"]);
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
    // a screen with pixels, a frame without any
    let mut gif = b"GIF89a\x05\0\x05\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    gif.extend([0x2C, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 0x4C, 1, 0, 0x3B]);
    if let Err(error) = Picture::decode(&gif) {
        told(&error.to_string(), &[]);
    }
    // and no frame at all
    refused(b"GIF89a\x05\0\x05\0\x80\0\0\0\0\0\xff\xff\xff\x3B", &[]);
}

#[test]
fn too_many_pixels_are_refused_before_anything_is_decoded() {
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
        told(
            &answer.unwrap_err(),
            &[
                &format!("{width} x {height}"),
                "64000000",
                "65535",
                "make it smaller",
            ],
        );
        assert!(
            peak < 4 << 20,
            "{width} x {height}: {peak} bytes for nothing"
        );
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
                told(
                    &answer.unwrap_err(),
                    &[&format!("{width} x {height}"), "make it smaller"],
                );
                assert!(
                    peak < 4 << 20,
                    "{width} x {height}: {peak} bytes for nothing"
                );
            }
        }
    }
    // the canvas of an extended WebP may claim 2^24 pixels a side
    let mut canvas = b"RIFF\x22\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff".to_vec();
    canvas.extend(b"VP8L\x04\0\0\0\x2f\0\0\0");
    let (answer, peak) = measured(&canvas);
    told(&answer.unwrap_err(), &[]);
    assert!(peak < 4 << 20, "{peak}");
}

#[test]
fn the_largest_pictures_are_decoded_in_bounded_memory() {
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
            "the zeros are black, or nothing on white"
        );
        // all that is held at a time: what was decoded, and what it becomes
        assert!(
            peak <= 12 * MAX_PIXELS + (64 << 20),
            "{peak} bytes at {depth} bits"
        );
    }
    // a progressive JPEG is held as a whole before it is turned into colours, and turned
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
    near("CMYK", &pixel(&picture.unwrap(), 4000, 4000), &[181; 3], 3);
    assert!(
        peak <= 12 * MAX_PIXELS + (64 << 20),
        "{peak} bytes for a progressive JPEG"
    );
}

#[test]
fn a_picture_that_unpacks_to_more_than_it_shows_takes_no_more_memory() {
    // ten by ten pixels, and 300 MB behind them
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
            Err(message) => told(&message, &[]),
        }
        assert!(peak < 64 << 20, "{}: {peak} bytes", name.escape_ascii());
    }
}

#[test]
fn a_file_that_no_picture_fills_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("film.jpg");
    // a hole: it takes no room
    std::fs::File::create(&path)
        .unwrap()
        .set_len(MAX_BYTES + 1)
        .unwrap();
    let before = HELD.get();
    PEAK.set(before);
    told(
        &Picture::open(&path).unwrap_err().to_string(),
        &["film.jpg", "579108864", "make it smaller"],
    );
    assert!(PEAK.get() - before < 1 << 20);
}

#[test]
fn every_kind_of_png_has_its_colours() {
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
            near(
                &what("grey"),
                &decoded(&png(png::GREY).file(&[], &grey)).rgb,
                &want,
                u8::from(depth == 16),
            );
            // one shade is nothing, and lies on white
            let key = grey[5];
            let want: Vec<u8> = grey
                .iter()
                .flat_map(|&value| [if value == key { 255 } else { eight(value) }; 3])
                .collect();
            near(
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
                // the first colour transparent, the second half, the rest not told
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
                near(
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
                near(
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
                near(
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
fn interlaced_pictures_of_every_small_size_are_whole() {
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
fn a_palette_without_the_colour_of_a_pixel_does_not_panic() {
    let png = Png {
        width: 4,
        height: 1,
        depth: 8,
        kind: png::PALETTE,
        interlaced: false,
    };
    match Picture::decode(&png.file(&[(b"PLTE", &[9, 8, 7])], &[0, 1, 200, 255])) {
        Ok(picture) => assert_eq!(pixel(&picture, 0, 0), [9, 8, 7]),
        Err(error) => told(&error.to_string(), &[]),
    }
    refused(&png.file(&[], &[0, 1, 2, 3]), &[]);
}

#[test]
fn wrong_sums_are_refused_where_they_guard_pixels() {
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
    // a comment tells nothing of the pixels
    assert_eq!(decoded(&wrong(b"tEXt")).rgb, image.clone().into_raw());
    // the sum of what the pixels unpack to guards what the chunk's own sum does, and is not looked at
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
fn what_follows_a_picture_is_ignored() {
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
        for behind in [&garbage[..], &[0; 64], b"\xff", b"\xff\xd8\xff"] {
            bytes.extend(behind);
            assert!(decoded(&bytes) == whole, "{format:?}");
        }
    }
}

#[test]
fn jpegs_of_every_colour_space_have_their_colours() {
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
        shows_blocks(
            what,
            &decoded(&jpeg(&image, 32, 32, ColorType::Rgb, with)),
            8,
        );
        let grey: Vec<u8> = (0..32 * 32)
            .map(|i| if i % 32 < 16 { 30 } else { 200 })
            .collect();
        let picture = decoded(&jpeg(&grey, 32, 32, ColorType::Luma, with));
        near(
            what,
            &[pixel(&picture, 4, 8), pixel(&picture, 28, 8)].concat(),
            &[30, 30, 30, 200, 200, 200],
            4,
        );
        // ink, and so much black that it tells
        let ink: Vec<u8> = image
            .pixels()
            .flat_map(|Rgb(it)| [255 - it[0], 255 - it[1], 255 - it[2], 0])
            .collect();
        let dark: Vec<u8> = image
            .pixels()
            .flat_map(|Rgb(it)| [255 - it[0], 255 - it[1], 255 - it[2], 128])
            .collect();
        for (space, name) in [(ColorType::Cmyk, "CMYK"), (ColorType::CmykAsYcck, "YCCK")] {
            shows_blocks(
                &format!("{name}, {what}"),
                &decoded(&jpeg(&ink, 32, 32, space, with)),
                10,
            );
            let picture = decoded(&jpeg(&dark, 32, 32, space, with));
            near(
                &format!("dark {name}, {what}"),
                &pixel(&picture, 8, 8),
                &BLOCKS[0].map(|value| (value as u32 * 127 / 255) as u8),
                8,
            );
        }
    }
}

#[test]
fn jpegs_that_are_not_read_here_say_so() {
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
    // arithmetic coding, lossless, and twelve bits a sample
    for bytes in [changed(1, 0xC9), changed(1, 0xC3), changed(4, 12)] {
        refused(&bytes, &["JPEG", "save it"]);
    }
}

/// EXIF's orientation as an APP1 segment holds it, or a chunk of PNG and WebP, in either order of bytes.
fn exif(orientation: u8, little: bool) -> Vec<u8> {
    if little {
        [
            b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(),
            &[orientation, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat()
    } else {
        [
            b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".as_slice(),
            &[0, orientation, 0, 0, 0, 0, 0, 0],
        ]
        .concat()
    }
}

#[test]
fn all_orientations_turn_the_picture() {
    // red, green and blue along the top, yellow at the left of the bottom: every turn and mirror is another picture
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
    // the six blocks as they are seen, row by row
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
        // what is no orientation turns nothing
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
                near(
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
    // a segment that breaks off, and one that points outside itself, turn nothing
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

type WebpChunk = ([u8; 4], Vec<u8>);

/// The pixels of a WebP, without the file around them.
fn webp_pixels(image: &RgbImage) -> WebpChunk {
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

fn extended_webp(width: u32, height: u32, flags: u8, chunks: &[WebpChunk]) -> Vec<u8> {
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

/// The blocks first, then a black picture.
fn animated_webp() -> Vec<u8> {
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

/// The blocks first, then a black picture.
fn animated_png() -> Vec<u8> {
    let png = Png {
        width: 32,
        height: 32,
        depth: 8,
        kind: png::RGB,
        interlaced: false,
    };
    let samples: Vec<u16> = blocks().iter().map(|&value| value as u16).collect();
    let control = |number: u32| {
        let mut data = [number, 32, 32, 0, 0].map(u32::to_be_bytes).concat();
        data.extend([0, 1, 0, 10, 0, 0]);
        data
    };
    let second = [
        2u32.to_be_bytes().as_slice(),
        &png::zlib(&png.rows(&[0; 32 * 32 * 3])),
    ]
    .concat();
    png::file(&[
        (b"IHDR", png.header()),
        (b"acTL", [2u32, 0].map(u32::to_be_bytes).concat()),
        (b"fcTL", control(0)),
        (b"IDAT", png::zlib(&png.rows(&samples))),
        (b"fcTL", control(1)),
        (b"fdAT", second),
        (b"IEND", vec![]),
    ])
}

#[test]
fn of_what_moves_the_first_frame_is_seen() {
    // its frames are laid on each other in floating point
    shows_blocks("animated WebP", &decoded(&animated_webp()), 1);
    shows_blocks("animated PNG", &decoded(&animated_png()), 0);
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
    shows_blocks("animated GIF", &decoded(&gif), 2);
    // a frame smaller than its screen: what it leaves free is nothing, which is white
    let mut small = b"GIF89a\x03\0\x02\0\x80\0\0\x0a\x14\x1e\xff\xff\xff".to_vec();
    small.extend([0x2C, 1, 0, 1, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0, 0x3B]);
    let mut want = [255; 18];
    want[12..15].copy_from_slice(&[10, 20, 30]);
    assert_eq!(decoded(&small).rgb, want);
}

#[test]
fn lossy_webps_have_their_colours() {
    let picture = decoded(&lossy_webp(LOSSY_WEBP));
    assert_eq!((picture.width, picture.height), (48, 32));
    for (x, colour) in [(6, [220, 40, 40]), (24, [40, 60, 220]), (42, [30, 160, 60])] {
        near("lossy WebP", &pixel(&picture, x, 16), &colour, 12);
    }
    let picture = decoded(&lossy_webp(LOSSY_WEBP_ALPHA));
    for (x, colour) in [(6, [255; 3]), (24, [40, 60, 220]), (42, [30, 160, 60])] {
        near(
            "lossy WebP with alpha",
            &pixel(&picture, x, 16),
            &colour,
            12,
        );
    }
}

#[test]
fn bitmaps_of_every_kind_have_their_colours() {
    // two rows of three pixels in 24 bits, from below
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
    // run lengths: rows end with 0 0, the picture with 0 1
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
    // one bit a pixel, of two colours
    assert_eq!(
        decoded(&bmp(1, 1, 0, &table[..8], &[0b0100_0000, 0, 0, 0])).rgb,
        [a, b, a].concat()
    );
    refused(&bmp(2, 24, 77, &[], &[0; 24]), &["compression type 77"]);
    refused(&bmp(i32::MIN, 24, 0, &[], &[0; 24]), &[]);
}

/// The square around a line of 65,535 pixels would have 18 GB.
#[test]
fn a_thin_line_is_framed_in_little_memory() {
    for (width, height) in [(65_535, 2), (1, 65_535), (60_000, 1000)] {
        let picture = seemore::image::Picture {
            width,
            height,
            rgb: vec![200; 3 * width * height],
        };
        let frame = seemore::image::Preprocess {
            side: 32,
            crop: true,
        };
        assert_eq!(frame.shown(&picture).width, frame.shown(&picture).height);
        assert!(frame.shown(&picture).width <= 8000);
        assert_eq!(picture.framed(frame).rgb.len(), 3 * 32 * 32);
    }
}
