//! Decoded pictures, and how they become the model's input.

mod jpeg;

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

/// Most pixels of a picture that is decoded: 64 million.
pub const MAX_PIXELS: u64 = 64_000_000;

/// Most pixels along one side, as in JPEG: resizing holds a strip as long as the longer side, and no picture may ask for a
/// strip of gigabytes.
pub const MAX_SIDE: u32 = 65_535;

/// Most bytes of a file that is read: 64 million pixels of the widest kind, 16-bit RGBA, that nothing could compress, and 64 MiB for all
/// that lies around them.
pub const MAX_BYTES: u64 = 8 * MAX_PIXELS + (64 << 20);

/// Why a picture cannot be used, and what to do. Messages contain the reason, which is therefore not a source.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("cannot read {path}: {reason}")]
    Read { path: String, reason: io::Error },
    #[error("{path}: {reason}")]
    InFile {
        path: String,
        reason: Box<PictureError>,
    },
    #[error("the file is empty; get it again or leave it out")]
    Empty,
    #[error("it is not a picture in a format known here; use PNG, JPEG, WebP, GIF or BMP")]
    Unknown,
    #[error(
        "it is a {format} of a kind that is not known here: {reason}; save it again, as PNG or in the usual way"
    )]
    Unsupported {
        format: &'static str,
        reason: String,
    },
    #[error("the picture is damaged: {0}; get it again or leave it out")]
    Damaged(ImageError),
    #[error("the picture is damaged: it is cut off before its end; get it again or leave it out")]
    CutOff,
    #[error(
        "the picture is damaged: it has {width} x {height} pixels, which are none; get it again or leave it out"
    )]
    NoPixels { width: u32, height: u32 },
    #[error(
        "the picture has {width} x {height} pixels, and {MAX_PIXELS} together and {MAX_SIDE} along a side are the most; make it smaller"
    )]
    TooLarge { width: u32, height: u32 },
    #[error(
        "the picture takes too much memory to decode: {0}; make it smaller, or save it again without what lies around the pixels"
    )]
    Memory(ImageError),
}

/// A picture in 8-bit RGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// `[height, width, 3]`
    pub rgb: Vec<u8>,
}

/// Mean and [`DEVIATION`] of ImageNet's pixels, by channel, as torchvision's models use them.
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// See [`MEAN`].
pub const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// `rgb: [side, side, 3]` in 0..=255 to `[3, side, side]` with ImageNet's mean and deviation taken out.
pub fn normalise(rgb: &[u8]) -> Vec<f32> {
    let pixels = rgb.len() / 3;
    let mut planes = vec![0.0; rgb.len()];
    for channel in 0..3 {
        // 256 possible values: exact and fast
        let table: Vec<f32> = (0..256)
            .map(|value| (value as f32 / 255.0 - MEAN[channel]) / DEVIATION[channel])
            .collect();
        for (out, pixel) in planes[channel * pixels..][..pixels]
            .iter_mut()
            .zip(rgb.chunks_exact(3))
        {
            *out = table[pixel[channel] as usize];
        }
    }
    planes
}

/// How a model wants its pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preprocess {
    /// Width and height, in pixels.
    pub side: usize,
    /// Whether they are first cropped to what is drawn on a plain background.
    pub crop: bool,
}

impl Preprocess {
    /// Share of the drawing's longer side that is left free on every side of it.
    const MARGIN: f32 = 0.1;

    /// The part of a picture that is framed, at its own size.
    pub fn shown(self, picture: &Picture) -> Picture {
        if self.crop {
            picture.cropped(Preprocess::MARGIN)
        } else {
            picture.clone()
        }
    }
}

impl From<usize> for Preprocess {
    /// The whole picture.
    fn from(side: usize) -> Preprocess {
        Preprocess { side, crop: false }
    }
}

/// The bytes of a picture's file, unless it is larger than any picture may be: a film that someone renamed would fill the memory.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    let file = File::open(path)?;
    let too_large = || {
        io::Error::other(format!(
            "it has more than {MAX_BYTES} bytes; make it smaller or leave it out"
        ))
    };
    let size = file.metadata()?.len();
    if size > MAX_BYTES {
        return Err(too_large());
    }
    bytes.try_reserve_exact(size as usize)?;
    // what is no file has no size
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        Err(too_large())
    } else {
        Ok(bytes)
    }
}

/// What people call a format, of those that are decoded.
fn name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Png => Some("PNG"),
        ImageFormat::Jpeg => Some("JPEG"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Gif => Some("GIF"),
        ImageFormat::Bmp => Some("BMP"),
        _ => None,
    }
}

impl Picture {
    /// Reads and decodes a file: see [`decode`](Self::decode).
    pub fn open(path: &Path) -> Result<Picture, PictureError> {
        let name = || path.display().to_string();
        let bytes = read(path).map_err(|reason| PictureError::Read {
            path: name(),
            reason,
        })?;
        Self::decode(&bytes).map_err(|error| PictureError::InFile {
            path: name(),
            reason: Box::new(error),
        })
    }

    /// Decodes PNG, JPEG, WebP, GIF or BMP, told apart by content; of what moves, the first frame. The picture is turned as its EXIF
    /// orientation says, and laid on white where it is transparent. It takes up to 12 bytes a pixel, and 64 MiB, beside `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
        if bytes.is_empty() {
            return Err(PictureError::Empty);
        }
        let mut reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|_| PictureError::Unknown)?;
        let Some(format) = reader.format() else {
            return Err(PictureError::Unknown);
        };
        let Some(name) = name(format) else {
            return Err(PictureError::Unknown);
        };
        let state = if format == ImageFormat::Jpeg {
            jpeg::state(bytes)
        } else {
            jpeg::State::Whole
        };
        if let jpeg::State::Unsupported(reason) = state {
            return Err(PictureError::Unsupported {
                format: name,
                reason: reason.into(),
            });
        }
        let into = |error: ImageError| match error {
            ImageError::Unsupported(error) => PictureError::Unsupported {
                format: name,
                reason: error.to_string(),
            },
            ImageError::Limits(_) => PictureError::Memory(error),
            _ => PictureError::Damaged(error),
        };
        let limits = |bytes: u64| {
            let mut limits = Limits::no_limits();
            limits.max_alloc = Some(bytes);
            limits
        };
        // until the size is known: for a row of pixels, and colour profiles and comments, which may be compressed
        reader.limits(limits(32 << 20));
        let mut decoder = reader.into_decoder().map_err(into)?;
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 {
            return Err(PictureError::NoPixels { width, height });
        }
        if width as u64 * height as u64 > MAX_PIXELS || width.max(height) > MAX_SIDE {
            return Err(PictureError::TooLarge { width, height });
        }
        if state == jpeg::State::CutOff {
            return Err(PictureError::CutOff);
        }
        decoder.set_limits(limits(MAX_BYTES)).map_err(into)?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let image = DynamicImage::from_decoder(decoder).map_err(into)?;
        let rgb = if image.color().has_alpha() {
            let over_white = |value: u8, alpha: u8| {
                ((value as u32 * alpha as u32 + 255 * (255 - alpha as u32) + 127) / 255) as u8
            };
            let rgb = image
                .into_rgba8()
                .pixels()
                .flat_map(|pixel| [0, 1, 2].map(|i| over_white(pixel.0[i], pixel.0[3])))
                .collect();
            image::RgbImage::from_raw(width, height, rgb).expect("three values a pixel")
        } else {
            image.into_rgb8()
        };
        // last, when it is smallest: most turns make a copy
        let mut image = DynamicImage::ImageRgb8(rgb);
        image.apply_orientation(orientation);
        let rgb = image.into_rgb8();
        Ok(Picture {
            width: rgb.width() as usize,
            height: rgb.height() as usize,
            rgb: rgb.into_raw(),
        })
    }

    /// Stretches to a square as PIL's bilinear filter does (antialiased when shrinking), to the bit.
    pub fn resize(&self, side: usize) -> Picture {
        self.stretched(side, side)
    }

    fn stretched(&self, width: usize, height: usize) -> Picture {
        if (self.width, self.height) == (width, height) {
            return self.clone();
        }
        let across = Taps::new(self.width, width);
        let mut wide = vec![0; self.height * width * 3];
        for (row, out) in self
            .rgb
            .chunks_exact(3 * self.width)
            .zip(wide.chunks_exact_mut(3 * width))
        {
            for (x, pixel) in out.chunks_exact_mut(3).enumerate() {
                across.apply(x, pixel, |i, channel| row[3 * i + channel]);
            }
        }
        let down = Taps::new(self.height, height);
        let mut rgb = vec![0; width * height * 3];
        for (y, out) in rgb.chunks_exact_mut(3 * width).enumerate() {
            for (x, pixel) in out.chunks_exact_mut(3).enumerate() {
                down.apply(y, pixel, |i, channel| wide[3 * (i * width + x) + channel]);
            }
        }
        Picture { width, height, rgb }
    }

    /// The picture as a model sees it.
    pub fn framed(&self, frame: Preprocess) -> Picture {
        frame.shown(self).resize(frame.side)
    }

    /// The square around the drawing, with a share of its longer side as margin on every side; white beyond the picture. The drawing is what
    /// differs from the background; a picture without any is all drawing.
    pub fn cropped(&self, margin: f32) -> Picture {
        let (centre, size) = Bounds::of(&self.rgb, self.width, self.height).square(margin);
        let side = (size.round() as usize).max(1);
        // the square of a thin line may be thousands of times as large as the line: it is made smaller first
        if (side * side) as u64 > MAX_PIXELS {
            const LONGEST: usize = 4096;
            let shrunk = |length: usize| (length * LONGEST / self.width.max(self.height)).max(1);
            return self
                .stretched(shrunk(self.width), shrunk(self.height))
                .cropped(margin);
        }
        let first = |centre: f32| (centre - (side as f32 - 1.0) / 2.0).round() as isize;
        let (left, top) = (first(centre.0), first(centre.1));
        let mut rgb = vec![255; 3 * side * side];
        for (row, out) in rgb.chunks_exact_mut(3 * side).enumerate() {
            let y = top + row as isize;
            let columns = left.max(0)..(left + side as isize).min(self.width as isize);
            if (0..self.height as isize).contains(&y) && !columns.is_empty() {
                let (from, count) = (
                    3 * (y as usize * self.width + columns.start as usize),
                    3 * columns.len(),
                );
                out[3 * (columns.start - left) as usize..][..count]
                    .copy_from_slice(&self.rgb[from..][..count]);
            }
        }
        Picture {
            width: side,
            height: side,
            rgb,
        }
    }

    /// The model's input `[3, height, width]`: see [`normalise`].
    pub fn normalised(&self) -> Vec<f32> {
        normalise(&self.rgb)
    }
}

/// Where the drawing is in a picture: its first column and row, and those after its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Bounds {
    /// Of what differs from the background, which is the colour of all four corners, or white where they are not of one colour. Of a
    /// picture that is all background, the whole.
    pub fn of(rgb: &[u8], width: usize, height: usize) -> Bounds {
        // what lossy pictures have around edges does not count
        const THRESHOLD: u8 = 20;
        let pixel = |x: usize, y: usize| &rgb[3 * (y * width + x)..][..3];
        let differ = |a: &[u8], b: &[u8]| a.iter().zip(b).any(|(a, b)| a.abs_diff(*b) > THRESHOLD);
        let corners = [
            (0, 0),
            (width - 1, 0),
            (0, height - 1),
            (width - 1, height - 1),
        ]
        .map(|(x, y)| pixel(x, y));
        let one = corners.iter().all(|corner| !differ(corner, corners[0]));
        let background = if one { corners[0] } else { &[255; 3] };
        let drawn = |x: usize, y: usize| differ(pixel(x, y), background);
        let mut rows = (0..height).filter(|&y| (0..width).any(|x| drawn(x, y)));
        let Some(top) = rows.next() else {
            return Bounds {
                left: 0,
                top: 0,
                right: width,
                bottom: height,
            };
        };
        let bottom = rows.next_back().unwrap_or(top) + 1;
        let column = |x: &usize| (top..bottom).any(|y| drawn(*x, y));
        let left = (0..width)
            .find(column)
            .expect("a row is drawn in some column");
        let right = (left..width).rfind(column).expect("at least the first") + 1;
        Bounds {
            left,
            top,
            right,
            bottom,
        }
    }

    /// Centre, as a place among pixels, and side of the square around it, with a share of its longer side as margin on every side.
    pub fn square(&self, margin: f32) -> ((f32, f32), f32) {
        let middle = |first: usize, end: usize| (first + end - 1) as f32 / 2.0;
        let longer = (self.right - self.left).max(self.bottom - self.top) as f32;
        (
            (middle(self.left, self.right), middle(self.top, self.bottom)),
            longer * (1.0 + 2.0 * margin),
        )
    }
}

/// The triangle filter's weights along one axis, in the fixed point that PIL computes with.
struct Taps {
    /// For every output place: the first input, and the weights of the inputs from there.
    places: Vec<(usize, Vec<i32>)>,
}

/// Bits after the point: 32, less 8 for the value and 2 for overshoot.
const PRECISION: u32 = 32 - 8 - 2;

impl Taps {
    fn new(input: usize, output: usize) -> Taps {
        let scale = input as f64 / output as f64;
        // shrinking widens the triangle so that every input counts
        let support = scale.max(1.0);
        let places = (0..output).map(|place| {
            let centre = (place as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(input);
            let triangle = |i: usize| (1.0 - ((i as f64 - centre + 0.5) / support).abs()).max(0.0);
            let weights: Vec<f64> = (first..last).map(triangle).collect();
            let total: f64 = weights.iter().sum();
            let fixed = |weight: f64| (weight / total * (1u32 << PRECISION) as f64 + 0.5) as i32;
            (first, weights.into_iter().map(fixed).collect())
        });
        Taps {
            places: places.collect(),
        }
    }

    fn apply(&self, place: usize, out: &mut [u8], input: impl Fn(usize, usize) -> u8) {
        let (first, weights) = &self.places[place];
        for (channel, out) in out.iter_mut().enumerate() {
            let sum: i32 = weights
                .iter()
                .enumerate()
                .map(|(i, weight)| input(first + i, channel) as i32 * weight)
                .sum();
            *out = ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
    use safetensors::SafeTensors;

    use super::*;

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn resizing_and_normalising_are_pytorchs() {
        let dir = std::env::var("SEEMORE_GOLDEN").unwrap_or("tests/golden".into());
        let mut checked = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_none_or(|extension| extension != "safetensors")
            {
                continue;
            }
            let bytes = std::fs::read(path).unwrap();
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            // only some of the recordings hold pictures to resize
            let Ok(raw) = tensors.tensor("preproc.raw_u8") else {
                continue;
            };
            let picture = Picture {
                width: raw.shape()[1],
                height: raw.shape()[0],
                rgb: raw.data().to_vec(),
            };
            for side in [32, 96] {
                let resized = picture.resize(side);
                assert_eq!(
                    resized.rgb,
                    tensors
                        .tensor(&format!("preproc.resized{side}_u8"))
                        .unwrap()
                        .data(),
                    "{side}"
                );
                let want: Vec<f32> = bytemuck::pod_collect_to_vec(
                    tensors
                        .tensor(&format!("preproc.normalised{side}"))
                        .unwrap()
                        .data(),
                );
                for (got, want) in resized.normalised().iter().zip(want) {
                    assert!((got - want).abs() < 1e-6, "{got} {want}");
                }
            }
            checked += 1;
        }
        assert!(checked > 0 || std::env::var("SEEMORE_GOLDEN").is_ok());
    }

    #[test]
    fn all_five_formats_are_decoded() {
        let image = RgbImage::from_pixel(9, 5, Rgb([200, 40, 60]));
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::WebP,
            ImageFormat::Gif,
            ImageFormat::Bmp,
        ] {
            let picture = Picture::decode(&encode(image.clone(), format)).unwrap();
            assert_eq!((picture.width, picture.height), (9, 5), "{format:?}");
            let off = picture
                .rgb
                .chunks(3)
                .flat_map(|p| [p[0].abs_diff(200), p[1].abs_diff(40), p[2].abs_diff(60)])
                .max()
                .unwrap();
            assert!(off <= 6, "{format:?} is off by {off}");
        }
    }

    #[test]
    fn the_square_around_a_drawing_is_cut_out() {
        let draw = |width: u32, height: u32, background: u8, boxed: (u32, u32, u32, u32)| {
            let mut image = RgbImage::from_pixel(width, height, Rgb([background; 3]));
            let (left, top, wide, high) = boxed;
            (left..left + wide).for_each(|x| {
                (top..top + high).for_each(|y| image.put_pixel(x, y, Rgb([9, 120, 9])))
            });
            Picture {
                width: width as usize,
                height: height as usize,
                rgb: image.into_raw(),
            }
        };
        // four by two pixels, in the middle of four by four
        let cropped = draw(20, 9, 255, (3, 5, 4, 2)).cropped(0.0);
        assert_eq!(cropped, draw(4, 4, 255, (0, 1, 4, 2)));
        assert_eq!(cropped.cropped(0.0), cropped);
        assert_eq!(
            draw(20, 9, 255, (3, 5, 4, 2)).cropped(0.25),
            draw(6, 6, 255, (1, 2, 4, 2))
        );
        // white beyond the picture, the background within it
        assert_eq!(
            draw(5, 3, 60, (0, 0, 5, 3)).cropped(0.0),
            draw(5, 5, 255, (0, 1, 5, 3))
        );
        assert_eq!(
            draw(9, 9, 60, (3, 3, 3, 3)).cropped(0.0).rgb,
            draw(3, 3, 60, (0, 0, 3, 3)).rgb
        );
        // faint traces do not count, and a picture without a drawing stays
        let blank = draw(6, 6, 255, (0, 0, 0, 0));
        let mut traces = blank.clone();
        traces.rgb[40] = 240;
        assert_eq!(
            (blank.cropped(0.0), traces.cropped(0.0)),
            (blank, traces.clone())
        );
    }

    #[test]
    fn transparency_is_laid_on_white() {
        let mut image = RgbaImage::from_pixel(2, 1, Rgba([0, 0, 0, 0]));
        image.put_pixel(1, 0, Rgba([100, 0, 255, 128]));
        let picture = Picture::decode(&encode(image, ImageFormat::Png)).unwrap();
        assert_eq!(picture.rgb, [255, 255, 255, 177, 127, 255]);
    }

    #[test]
    fn sixteen_bits_and_grey_become_eight_bit_colours() {
        let grey =
            image::ImageBuffer::<image::Luma<u16>, _>::from_pixel(3, 2, image::Luma([0x80ff]));
        let picture =
            Picture::decode(&encode(DynamicImage::ImageLuma16(grey), ImageFormat::Png)).unwrap();
        assert!(
            picture.rgb.len() == 18 && picture.rgb.iter().all(|&v| v.abs_diff(128) <= 1),
            "{:?}",
            picture.rgb
        );
    }

    #[test]
    fn the_exif_orientation_turns_the_picture() {
        let mut image = RgbImage::from_pixel(16, 8, Rgb([250, 250, 250]));
        (0..8).for_each(|y| (0..8).for_each(|x| image.put_pixel(x, y, Rgb([5, 5, 5]))));
        let jpeg = encode(image, ImageFormat::Jpeg);
        // an APP1 segment with one EXIF entry: orientation 6, turn by 90 degrees to the right
        let mut exif =
            b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        let mut turned = jpeg[..2].to_vec();
        turned.extend([0xff, 0xe1]);
        turned.extend((exif.len() as u16 + 2).to_be_bytes());
        turned.append(&mut exif);
        turned.extend(&jpeg[2..]);
        let picture = Picture::decode(&turned).unwrap();
        assert_eq!((picture.width, picture.height), (8, 16));
        assert!(
            picture.rgb[0] < 60 && picture.rgb[3 * 8 * 15] > 200,
            "the dark half is on top"
        );
    }

    #[test]
    fn what_cannot_be_decoded_says_why() {
        assert!(matches!(
            Picture::decode(b"hello"),
            Err(PictureError::Unknown)
        ));
        assert!(matches!(Picture::decode(b""), Err(PictureError::Empty)));
        let png = encode(RgbImage::new(40, 40), ImageFormat::Png);
        assert!(matches!(
            Picture::decode(&png[..png.len() / 2]),
            Err(PictureError::Damaged(_))
        ));
        // a PNG whose header claims 65,535 x 65,535 pixels
        let mut huge = png.clone();
        huge[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        let error = Picture::decode(&huge).unwrap_err();
        assert!(
            matches!(
                error,
                PictureError::TooLarge { .. } | PictureError::Damaged(_)
            ),
            "{error}"
        );
        // few pixels, but a strip of gigabytes when it is stretched
        let thin = encode(image::GrayImage::new(1, MAX_SIDE + 1), ImageFormat::Png);
        let error = Picture::decode(&thin).unwrap_err();
        assert!(
            error.to_string().contains("1 x 65536") && error.to_string().contains("65535"),
            "{error}"
        );
        assert!(
            Picture::decode(&encode(
                image::GrayImage::new(1, MAX_SIDE),
                ImageFormat::Png
            ))
            .is_ok()
        );
        let error = Picture::open(Path::new("absent.png")).unwrap_err();
        // printed with its sources, it says nothing twice
        assert_eq!(
            format!("{:#}", anyhow::Error::new(error))
                .matches("os error")
                .count(),
            1
        );
        let error = Picture::open(Path::new("Cargo.toml")).unwrap_err();
        assert_eq!(
            format!("{:#}", anyhow::Error::new(error))
                .matches("not a picture")
                .count(),
            1
        );
    }
}
