//! Decoding of untrusted picture files, within bounds of size and memory.

mod color;
mod jpeg;
mod tiff;

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use self::color::Conversion;
use super::picture::Picture;
use crate::file_kind::{FileKind, START};

pub use color::ColorProfiles;

/// Maximum number of pixels of a picture: 64 million.
pub const MAX_PIXELS: u64 = 64_000_000;

/// Maximum number of pixels along one side, the limit of JPEG. Resizing allocates a strip as long
/// as the longer side, and no picture may demand a strip of gigabytes.
pub const MAX_SIDE: u32 = 65_535;

/// Maximum size of a picture file, in bytes: 64 million incompressible pixels of 16-bit RGBA, and
/// 64 MiB for metadata.
pub const MAX_BYTES: u64 = 8 * MAX_PIXELS + (64 << 20);

/// Reason why a picture cannot be used. Messages include the cause, which is therefore not reported
/// as a source.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// Path of the file.
        path: String,
        /// Cause reported by the system.
        reason: io::Error,
    },
    /// The file cannot be decoded.
    #[error("{path}: {reason}")]
    InFile {
        /// Path of the file.
        path: String,
        /// Cause, without the path.
        reason: Box<PictureError>,
    },
    /// The file has no bytes.
    #[error("the file is empty; download it again or leave it out")]
    Empty,
    /// The content is in no supported format.
    #[error("it is not a picture in a supported format; use PNG, JPEG, WebP, GIF, BMP or TIFF")]
    Unknown,
    /// The content is in a known format that is not supported.
    #[error("it is {0}, not a picture in a supported format; save it again as PNG or JPEG")]
    Unreadable(&'static str),
    /// The file stands for the picture, which was not downloaded.
    #[error("it is {name}; {advice}")]
    Absent {
        /// Kind of the file, with its article.
        name: &'static str,
        /// What to do, in the imperative.
        advice: &'static str,
    },
    /// The format is supported, but not this variant of it.
    #[error(
        "it is an unsupported variant of {format}: {reason}; save it again, for example as PNG"
    )]
    Unsupported {
        /// Name of the format.
        format: &'static str,
        /// Description of the variant.
        reason: String,
    },
    /// The decoder gave up.
    #[error("the decoder of {format} failed; save it again, for example as PNG")]
    Failed {
        /// Name of the format.
        format: &'static str,
    },
    /// The content violates its format.
    #[error("the picture is damaged: {0}; download it again or leave it out")]
    Damaged(ImageError),
    /// The end of the file is missing.
    #[error("the picture is damaged: its end is missing; download it again or leave it out")]
    CutOff,
    /// The width or the height is 0.
    #[error(
        "the picture is damaged: its size is {width} x {height} pixels; download it again or leave it out"
    )]
    NoPixels {
        /// Width, in pixels.
        width: u32,
        /// Height, in pixels.
        height: u32,
    },
    /// The picture exceeds [`MAX_PIXELS`] or [`MAX_SIDE`].
    #[error(
        "the picture has {width} x {height} pixels; the limits are {MAX_PIXELS} in all and {MAX_SIDE} along a side; make it smaller"
    )]
    TooLarge {
        /// Width, in pixels.
        width: u32,
        /// Height, in pixels.
        height: u32,
    },
    /// Decoding would exceed the memory limit.
    #[error(
        "the picture takes too much memory to decode: {0}; make it smaller, or save it again without metadata"
    )]
    Memory(ImageError),
}

/// Reads a picture file of at most [`MAX_BYTES`], so that a renamed video cannot fill the memory.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    let file = File::open(path)?;
    let too_large = || {
        io::Error::other(format!(
            "the file has more than {MAX_BYTES} bytes; make it smaller or leave it out"
        ))
    };
    let size = file.metadata()?.len();
    if size > MAX_BYTES {
        return Err(too_large());
    }
    bytes.try_reserve_exact(size as usize)?;
    // pipes and devices report a size of 0
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        Err(too_large())
    } else {
        Ok(bytes)
    }
}

/// Returns the common name of a supported format.
fn name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Png => Some("PNG"),
        ImageFormat::Jpeg => Some("JPEG"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Gif => Some("GIF"),
        ImageFormat::Bmp => Some("BMP"),
        ImageFormat::Tiff => Some("TIFF"),
        _ => None,
    }
}

/// Says what bytes are that are in no supported format.
fn unknown(bytes: &[u8]) -> PictureError {
    match FileKind::of(&bytes[..bytes.len().min(START)]) {
        Some(kind @ (FileKind::LfsPointer | FileKind::Html)) => PictureError::Absent {
            name: kind.name(),
            advice: kind.advice(),
        },
        Some(kind) => PictureError::Unreadable(kind.name()),
        None => PictureError::Unknown,
    }
}

impl Picture {
    /// Reads and decodes a file; see [`decode`](Self::decode).
    ///
    /// # Errors
    /// A file that cannot be read or decoded; the message names it.
    pub fn open(path: &Path) -> Result<Picture, PictureError> {
        Picture::open_with(path, ColorProfiles::Converted)
    }

    /// Like [`open`](Self::open), with a choice about color profiles.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: &Path, profiles: ColorProfiles) -> Result<Picture, PictureError> {
        let name = || path.display().to_string();
        let bytes = read(path).map_err(|reason| PictureError::Read {
            path: name(),
            reason,
        })?;
        Self::decode_with(&bytes, profiles).map_err(|error| PictureError::InFile {
            path: name(),
            reason: Box::new(error),
        })
    }

    /// Decodes PNG, JPEG, WebP, GIF, BMP or TIFF, detected by content. Animations yield their first
    /// frame, and files of several pages their first. Colors are converted to sRGB by the color
    /// profile, the EXIF orientation is applied, and transparent pixels are blended with white.
    ///
    /// Takes at most 12 bytes a pixel and 64 MiB of memory besides `bytes`.
    ///
    /// # Errors
    /// Content that is not a supported picture, is damaged, or exceeds the size limits.
    pub fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
        Picture::decode_with(bytes, ColorProfiles::Converted)
    }

    /// Like [`decode`](Self::decode), with a choice about color profiles.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_with(bytes: &[u8], profiles: ColorProfiles) -> Result<Picture, PictureError> {
        if bytes.is_empty() {
            return Err(PictureError::Empty);
        }
        let mut reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|_| PictureError::Unknown)?;
        let Some(format) = reader.format() else {
            return Err(unknown(bytes));
        };
        let Some(name) = name(format) else {
            return Err(unknown(bytes));
        };
        let state = if format == ImageFormat::Jpeg {
            jpeg::state(bytes)
        } else {
            jpeg::State::Whole
        };
        if format == ImageFormat::Tiff
            && let Some(reason) = tiff::unsupported(bytes)
        {
            return Err(PictureError::Unsupported {
                format: name,
                reason: reason.into(),
            });
        }
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
        // until the size is known: enough for a row of pixels and for colour profiles and comments,
        // which may be compressed
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
        let icc = match profiles {
            ColorProfiles::Converted => decoder.icc_profile().ok().flatten(),
            ColorProfiles::Ignored => None,
        };
        let conversion = icc.and_then(|icc| Conversion::new(&icc));
        let image = match format {
            // the decoder panics on some damaged files, which must not end the program
            ImageFormat::Tiff => {
                catch_unwind(AssertUnwindSafe(|| DynamicImage::from_decoder(decoder)))
                    .map_err(|_| PictureError::Failed { format: name })?
            }
            _ => DynamicImage::from_decoder(decoder),
        };
        let image = image.map_err(into)?;
        let gray = |conversion: &Conversion| match image.color().has_color() {
            true => None,
            false => conversion.gray(&image.to_luma8()),
        };
        let rgb = if image.color().has_alpha() {
            let over_white = |value: u8, alpha: u8| {
                ((value as u32 * alpha as u32 + 255 * (255 - alpha as u32) + 127) / 255) as u8
            };
            let mut image = image.into_rgba8();
            if let Some(conversion) = &conversion {
                conversion.rgba(&mut image);
            }
            let rgb = image
                .pixels()
                .flat_map(|pixel| [0, 1, 2].map(|i| over_white(pixel.0[i], pixel.0[3])))
                .collect();
            image::RgbImage::from_raw(width, height, rgb).expect("three values a pixel")
        } else if let Some(rgb) = conversion.as_ref().and_then(gray) {
            rgb
        } else {
            let mut rgb = image.into_rgb8();
            if let Some(conversion) = &conversion {
                conversion.rgb(&mut rgb);
            }
            rgb
        };
        // last, when the picture is smallest: most orientations make a copy
        let mut image = DynamicImage::ImageRgb8(rgb);
        image.apply_orientation(orientation);
        let rgb = image.into_rgb8();
        Ok(Picture {
            width: rgb.width() as usize,
            height: rgb.height() as usize,
            rgb: rgb.into_raw(),
        })
    }
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

    use super::*;

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn decodes_all_six_formats() {
        let image = RgbImage::from_pixel(9, 5, Rgb([200, 40, 60]));
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::WebP,
            ImageFormat::Gif,
            ImageFormat::Bmp,
            ImageFormat::Tiff,
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
    fn blends_transparency_with_white() {
        let mut image = RgbaImage::from_pixel(2, 1, Rgba([0, 0, 0, 0]));
        image.put_pixel(1, 0, Rgba([100, 0, 255, 128]));
        let picture = Picture::decode(&encode(image, ImageFormat::Png)).unwrap();
        assert_eq!(picture.rgb, [255, 255, 255, 177, 127, 255]);
    }

    #[test]
    fn converts_sixteen_bit_grey_to_eight_bit_rgb() {
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
    fn applies_the_exif_orientation() {
        let mut image = RgbImage::from_pixel(16, 8, Rgb([250, 250, 250]));
        (0..8).for_each(|y| (0..8).for_each(|x| image.put_pixel(x, y, Rgb([5, 5, 5]))));
        let jpeg = encode(image, ImageFormat::Jpeg);
        // an APP1 segment with one EXIF entry: orientation 6, rotated by 90 degrees clockwise
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
    fn refuses_invalid_files_with_a_reason() {
        assert!(matches!(
            Picture::decode(b"hello"),
            Err(PictureError::Unknown)
        ));
        assert!(matches!(Picture::decode(b""), Err(PictureError::Empty)));
        let named: [(&[u8], &str); 4] = [
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
            (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif", "an AVIF picture"),
            (
                b"<svg xmlns='http://www.w3.org/2000/svg'/>",
                "an SVG drawing",
            ),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                "git lfs pull",
            ),
        ];
        for (bytes, name) in named {
            let error = Picture::decode(bytes).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
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
        // few pixels, but a strip of gigabytes while resizing
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
        // printed with its sources, the message repeats nothing
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
