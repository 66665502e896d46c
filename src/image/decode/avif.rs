//! AVIF (AV1 Image File Format 1.2): one picture coded with AV1, or a grid of them, in a container
//! of ISO/IEC 23008-12. `zenavif-parse` reads the container and `re_rav1d` the pictures.

mod grid;
mod yuv;

use image::error::{DecodingError, ImageFormatHint};
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageError, ImageFormat, RgbImage};
use re_rav1d::{Decoder, Picture as Frame, Settings};
use zenavif_parse::{AV1Metadata, AvifParser, ColorInformation, Error};

use self::grid::Grid;
use self::yuv::Coding;
use super::color::Conversion;
use super::{ColorProfiles, MAX_PIXELS, PictureError, check_size};
use crate::panics;

/// Name of the format in messages.
const NAME: &str = "AVIF";

/// A decoded picture before its colors are converted and it is turned upright.
pub struct Decoded {
    pub image: DynamicImage,
    pub orientation: Orientation,
    pub conversion: Option<Conversion>,
}

/// Decodes the picture of an AVIF file, or the first of an image sequence.
pub fn decode(bytes: &[u8], profiles: ColorProfiles) -> Result<Decoded, PictureError> {
    let read = || -> Result<_, PictureError> {
        let marked = with_major_brand(bytes);
        let parser =
            AvifParser::from_bytes(marked.as_deref().unwrap_or(bytes)).map_err(in_container)?;
        let orientation = orientation(&parser);
        let color = parser.color_info().cloned();
        Ok((Coded::new(&parser)?, orientation, color))
    };
    // the parser adds up positions of the file without checks
    let (coded, orientation, color) =
        panics::caught(read).unwrap_or_else(|| Err(damaged("its boxes contradict each other")))?;
    // the decoder panics on some damaged pictures, in functions that cannot unwind
    let (image, coding) = panics::contained(move || coded.decode())
        .unwrap_or(Err(PictureError::Failed { format: NAME }))?;
    let conversion = match (profiles, color) {
        (ColorProfiles::Ignored, _) => None,
        (_, Some(ColorInformation::IccProfile(icc))) => Conversion::new(&icc),
        _ => Conversion::of_code_points(coding.primaries, coding.transfer),
    };
    Ok(Decoded {
        image,
        orientation,
        conversion,
    })
}

/// The error of a file that violates the format.
fn damaged(reason: &str) -> PictureError {
    let format = ImageFormatHint::Exact(ImageFormat::Avif);
    PictureError::Damaged(ImageError::Decoding(DecodingError::new(format, reason)))
}

/// The error of a file of a variant that is not decoded.
fn unsupported(reason: impl Into<String>) -> PictureError {
    PictureError::Unsupported {
        format: NAME,
        reason: reason.into(),
    }
}

fn in_container(error: Error) -> PictureError {
    match error {
        Error::UnexpectedEOF => PictureError::CutOff,
        Error::Unsupported(reason) => unsupported(reason),
        other => damaged(&other.to_string()),
    }
}

/// A copy of the file with the brand that the parser asks for, if AVIF is only one of the
/// compatible brands.
fn with_major_brand(bytes: &[u8]) -> Option<Vec<u8>> {
    const MAJOR: std::ops::Range<usize> = 8..12;
    let own = bytes.get(MAJOR)?;
    (own != b"avif" && own != b"avis").then(|| {
        let mut bytes = bytes.to_vec();
        bytes[MAJOR].copy_from_slice(b"avif");
        bytes
    })
}

/// How the picture is turned and mirrored to be shown. `irot` turns counterclockwise, then `imir`
/// exchanges top and bottom (axis 0) or left and right (axis 1).
fn orientation(parser: &AvifParser) -> Orientation {
    let quarters = parser.rotation().map_or(0, |turn| turn.angle / 90 % 4);
    match (quarters, parser.mirror().map(|mirror| mirror.axis)) {
        (0, None) => Orientation::NoTransforms,
        (1, None) => Orientation::Rotate270,
        (2, None) => Orientation::Rotate180,
        (_, None) => Orientation::Rotate90,
        (0, Some(0)) | (2, Some(1)) => Orientation::FlipVertical,
        (0, Some(_)) | (2, Some(_)) => Orientation::FlipHorizontal,
        (1, Some(0)) | (3, Some(1)) => Orientation::Rotate90FlipH,
        (_, Some(_)) => Orientation::Rotate270FlipH,
    }
}

/// AV1 pictures of a file, and how they form one.
struct Coded {
    /// The picture, or the tiles of the grid in rows.
    tiles: Vec<Vec<u8>>,
    grid: Option<Grid>,
    alpha: Option<Vec<u8>>,
    /// Whether colors are multiplied by their opacity.
    premultiplied: bool,
    operating_point: u8,
    /// Coding of the colors according to the container, which precedes that of the AV1 pictures.
    coding: Option<Coding>,
}

impl Coded {
    fn new(parser: &AvifParser) -> Result<Coded, PictureError> {
        let item = |data: Result<std::borrow::Cow<[u8]>, Error>| {
            data.map(|data| data.into_owned()).map_err(in_container)
        };
        let (mut tiles, mut grid) = (vec![], None);
        let mut alpha = parser.alpha_data().map(item).transpose()?;
        if parser.grid_tile_count() > 0 {
            if alpha.is_some() {
                return Err(unsupported("its transparency is a grid of pictures"));
            }
            let found = Grid::parse(&item(parser.primary_data())?, parser.grid_tile_count());
            grid = Some(found.ok_or_else(grid::damaged)?);
            for tile in 0..parser.grid_tile_count() {
                tiles.push(item(parser.tile_data(tile))?);
            }
        } else {
            let picture = item(parser.primary_data())?;
            match parser.animation_info().is_some() && picture.is_empty() {
                // a sequence without a still picture
                true => {
                    let first = parser.frame(0).map_err(in_container)?;
                    tiles.push(first.data.into_owned());
                    alpha = first.alpha_data.map(|alpha| alpha.into_owned());
                }
                false => tiles.push(picture),
            }
        }
        let (width, height) = match &grid {
            Some(grid) => (grid.width, grid.height),
            None => size(&tiles[0])?,
        };
        check_size(width, height)?;
        for tile in &tiles[1..] {
            let (width, height) = size(tile)?;
            check_size(width, height)?;
        }
        let coding = match parser.color_info() {
            Some(&ColorInformation::Nclx {
                color_primaries,
                transfer_characteristics,
                matrix_coefficients,
                full_range,
            }) => Some(Coding {
                primaries: color_primaries,
                transfer: transfer_characteristics,
                matrix: matrix_coefficients,
                full_range,
            }),
            _ => None,
        };
        Ok(Coded {
            tiles,
            grid,
            alpha,
            premultiplied: parser.premultiplied_alpha(),
            operating_point: parser.operating_point().map_or(0, |point| point.op_index),
            coding,
        })
    }

    /// Decodes the picture; returns the coding of its colors, too.
    fn decode(self) -> Result<(DynamicImage, Coding), PictureError> {
        let tile = |av1: Vec<u8>| -> Result<(DynamicImage, Coding), PictureError> {
            let frame = frame(av1, self.operating_point)?;
            let coding = self.coding.unwrap_or_else(|| Coding::of(&frame));
            Ok((yuv::image(&frame, coding)?, coding))
        };
        let mut tiles = self.tiles.into_iter().map(tile);
        let (first, coding) = tiles.next().expect("a file has a picture")?;
        let image = match self.grid {
            None => first,
            Some(grid) => {
                let size = (first.width(), first.height());
                if !grid.fits(size.0, size.1) {
                    return Err(grid::damaged());
                }
                let mut picture = RgbImage::new(grid.width, grid.height);
                grid.place(&mut picture, &first.into_rgb8(), 0);
                for (number, tile) in (1..).zip(tiles) {
                    let (tile, _) = tile?;
                    if (tile.width(), tile.height()) != size {
                        return Err(grid::damaged());
                    }
                    grid.place(&mut picture, &tile.into_rgb8(), number);
                }
                picture.into()
            }
        };
        let image = match self.alpha {
            Some(alpha) => {
                let alpha = yuv::luma(&frame(alpha, self.operating_point)?)?;
                with_alpha(image, &alpha, self.premultiplied)?
            }
            None => image,
        };
        Ok((image, coding))
    }
}

/// Reads the size of an AV1 picture from its header, in pixels.
fn size(av1: &[u8]) -> Result<(u32, u32), PictureError> {
    let header = AV1Metadata::parse_av1_bitstream(av1).map_err(in_container)?;
    Ok((header.max_frame_width.get(), header.max_frame_height.get()))
}

/// Decodes an AV1 picture.
fn frame(av1: Vec<u8>, operating_point: u8) -> Result<Frame, PictureError> {
    let error = |error: re_rav1d::Error| match error {
        re_rav1d::Error::UnsupportedBitstream => {
            unsupported("its AV1 picture is of an unknown profile")
        }
        _ => damaged("its AV1 picture violates the format"),
    };
    let mut settings = Settings::new();
    // pictures are decoded side by side
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    settings.set_frame_size_limit(MAX_PIXELS as u32);
    settings.set_operating_point(operating_point.min(31).into());
    // of the layers of a progressive picture the best
    settings.set_all_layers(false);
    let mut decoder = Decoder::with_settings(&settings).map_err(error)?;
    match decoder.send_data(av1, None, None, None) {
        // data are left after the first picture
        Ok(()) | Err(re_rav1d::Error::Again) => {}
        Err(other) => return Err(error(other)),
    }
    decoder.get_picture().map_err(|failed| match failed {
        re_rav1d::Error::Again => damaged("its AV1 data hold no picture"),
        other => error(other),
    })
}

/// Adds transparency to colors.
fn with_alpha(
    image: DynamicImage,
    alpha: &GrayImage,
    premultiplied: bool,
) -> Result<DynamicImage, PictureError> {
    if (image.width(), image.height()) != (alpha.width(), alpha.height()) {
        return Err(unsupported("its transparency has another size"));
    }
    let mut image = image.into_rgba8();
    for (pixel, alpha) in image.pixels_mut().zip(alpha.pixels()) {
        let [red, green, blue, opacity] = &mut pixel.0;
        *opacity = alpha.0[0];
        if premultiplied {
            for value in [red, green, blue] {
                let plain = (255 * *value as u32 + *opacity as u32 / 2) / (*opacity as u32).max(1);
                *value = plain.min(255) as u8;
            }
        }
    }
    Ok(DynamicImage::ImageRgba8(image))
}
