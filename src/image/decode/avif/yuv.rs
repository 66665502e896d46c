//! Conversion of decoded planes to RGB (ITU-T H.273, sections 8.3 and 8.4).

use image::{DynamicImage, GrayImage, RgbImage};
use re_rav1d::pixel::YUVRange;
use re_rav1d::{Picture as Frame, PixelLayout, PlanarImageComponent};

use super::super::PictureError;
use super::{damaged, unsupported};

/// How colors are coded, in code points of H.273.
#[derive(Debug, Clone, Copy)]
pub struct Coding {
    pub primaries: u16,
    pub transfer: u16,
    pub matrix: u16,
    /// Whether values reach from 0 to the largest, not from 16 to 235 or 240 (of 8 bits).
    pub full_range: bool,
}

/// Matrix coefficients for colors that are stored as green, blue and red.
const IDENTITY: u16 = 0;

impl Coding {
    /// Returns the coding that an AV1 picture names itself.
    pub fn of(frame: &Frame) -> Coding {
        Coding {
            primaries: frame.color_primaries() as u16,
            transfer: frame.transfer_characteristic() as u16,
            matrix: frame.matrix_coefficients() as u16,
            full_range: is_full_range(frame),
        }
    }

    /// Returns the weights of blue-difference and red-difference chroma in red, green and blue;
    /// `None` for coefficients that no weights describe.
    fn weights(self) -> Option<[[f32; 2]; 3]> {
        // weights of red and blue in luma
        let (red, blue) = match self.matrix {
            1 => (0.2126, 0.0722),
            4 => (0.30, 0.11),
            // not specified: as BT.601, the default of libavif
            2 | 5 | 6 => (0.299, 0.114),
            7 => (0.212, 0.087),
            // YCgCo
            8 => return Some([[-1.0, 1.0], [1.0, 0.0], [-1.0, -1.0]]),
            9 => (0.2627, 0.0593),
            _ => return None,
        };
        let green = 1.0 - red - blue;
        let (of_blue, of_red) = (2.0 * (1.0 - blue), 2.0 * (1.0 - red));
        Some([
            [0.0, of_red],
            [-blue * of_blue / green, -red * of_red / green],
            [of_blue, 0.0],
        ])
    }
}

fn is_full_range(frame: &Frame) -> bool {
    frame.color_range() == YUVRange::Full
}

/// Offset and scale that bring the numbers of a plane to 0..1, or chroma to -0.5..0.5.
#[derive(Clone, Copy)]
struct Range {
    offset: f32,
    scale: f32,
}

impl Range {
    fn luma(depth: usize, full: bool) -> Range {
        let unit = (1u32 << (depth - 8)) as f32;
        match full {
            true => Range::new(0.0, ((1u32 << depth) - 1) as f32),
            false => Range::new(16.0 * unit, 219.0 * unit),
        }
    }

    fn chroma(depth: usize, full: bool) -> Range {
        let unit = (1u32 << (depth - 8)) as f32;
        match full {
            true => Range::new(128.0 * unit, ((1u32 << depth) - 1) as f32),
            false => Range::new(128.0 * unit, 224.0 * unit),
        }
    }

    fn new(offset: f32, span: f32) -> Range {
        Range {
            offset,
            scale: 1.0 / span,
        }
    }
}

/// A plane of a picture.
struct Plane {
    bytes: re_rav1d::Plane,
    /// Bytes from one row to the next.
    stride: usize,
    width: usize,
    height: usize,
    /// Whether values take two bytes.
    wide: bool,
    range: Range,
}

impl Plane {
    fn new(frame: &Frame, component: PlanarImageComponent, range: Range) -> Plane {
        let (mut width, mut height) = (frame.width() as usize, frame.height() as usize);
        if component != PlanarImageComponent::Y {
            let layout = frame.pixel_layout();
            if matches!(layout, PixelLayout::I420 | PixelLayout::I422) {
                width = width.div_ceil(2);
            }
            if layout == PixelLayout::I420 {
                height = height.div_ceil(2);
            }
        }
        Plane {
            stride: frame.stride(component) as usize,
            bytes: frame.plane(component),
            width,
            height,
            wide: frame.bit_depth() > 8,
            range,
        }
    }

    /// Reads a row.
    fn row(&self, row: usize, values: &mut [f32]) {
        let bytes = &self.bytes[row * self.stride..];
        let Range { offset, scale } = self.range;
        let of = |value: u16| (value as f32 - offset) * scale;
        match self.wide {
            true => {
                let pairs = bytes[..2 * self.width].as_chunks().0;
                for (to, pair) in values.iter_mut().zip(pairs) {
                    *to = of(u16::from_ne_bytes(*pair));
                }
            }
            false => {
                for (to, &value) in values.iter_mut().zip(&bytes[..self.width]) {
                    *to = of(value.into());
                }
            }
        }
    }
}

/// Reads the rows of a chroma plane at the size of luma, whose samples lie in between: a value has
/// three quarters of the sample that is nearest and one quarter of the next, in each direction
/// that is halved.
struct Upsampled {
    plane: Plane,
    halved: (bool, bool),
    near: Vec<f32>,
    far: Vec<f32>,
}

impl Upsampled {
    fn new(frame: &Frame, component: PlanarImageComponent, range: Range) -> Upsampled {
        let plane = Plane::new(frame, component, range);
        let layout = frame.pixel_layout();
        Upsampled {
            halved: (
                matches!(layout, PixelLayout::I420 | PixelLayout::I422),
                layout == PixelLayout::I420,
            ),
            near: vec![0.0; plane.width],
            far: vec![0.0; plane.width],
            plane,
        }
    }

    fn row(&mut self, row: usize, values: &mut [f32]) {
        let (across, down) = self.halved;
        if !across {
            return self.plane.row(row, values);
        }
        if down {
            let (near, far) = neighbors(row, self.plane.height);
            self.plane.row(near, &mut self.near);
            self.plane.row(far, &mut self.far);
            for (near, far) in self.near.iter_mut().zip(&self.far) {
                *near = 0.75 * *near + 0.25 * far;
            }
        } else {
            self.plane.row(row, &mut self.near);
        }
        for (column, value) in values.iter_mut().enumerate() {
            let (near, far) = neighbors(column, self.near.len());
            *value = 0.75 * self.near[near] + 0.25 * self.near[far];
        }
    }
}

/// The nearest of `count` halved samples, and the next on the other side.
fn neighbors(place: usize, count: usize) -> (usize, usize) {
    let near = place / 2;
    let far = match place % 2 {
        0 => near.saturating_sub(1),
        _ => (near + 1).min(count - 1),
    };
    (near, far)
}

/// Rounds a share of full intensity to 8 bits; what lies outside 0..1 becomes the nearest of both.
fn rounded(share: f32) -> u8 {
    (share * 255.0 + 0.5) as u8
}

/// Number of bits of a sample.
fn depth(frame: &Frame) -> Result<usize, PictureError> {
    let bits = frame.bits_per_component().map(|bits| bits.0);
    bits.ok_or_else(|| damaged("its number of bits is unknown"))
}

/// Returns the luma of a picture, which is all of a gray one and of transparency.
pub fn luma(frame: &Frame) -> Result<GrayImage, PictureError> {
    gray(frame, is_full_range(frame))
}

fn gray(frame: &Frame, full_range: bool) -> Result<GrayImage, PictureError> {
    let range = Range::luma(depth(frame)?, full_range);
    let plane = Plane::new(frame, PlanarImageComponent::Y, range);
    let mut values = vec![0.0; plane.width];
    let mut pixels = Vec::with_capacity(plane.width * plane.height);
    for row in 0..plane.height {
        plane.row(row, &mut values);
        pixels.extend(values.iter().map(|&value| rounded(value)));
    }
    let image = GrayImage::from_raw(frame.width(), frame.height(), pixels);
    Ok(image.expect("one value a pixel"))
}

/// Returns the colors of a picture, in 8 bits.
pub fn image(frame: &Frame, coding: Coding) -> Result<DynamicImage, PictureError> {
    let layout = frame.pixel_layout();
    if layout == PixelLayout::I400 {
        return gray(frame, coding.full_range).map(DynamicImage::ImageLuma8);
    }
    let depth = depth(frame)?;
    let luma = Range::luma(depth, coding.full_range);
    let chroma = match coding.matrix {
        IDENTITY if layout != PixelLayout::I444 => {
            return Err(damaged("its planes of red, green and blue differ in size"));
        }
        IDENTITY => luma,
        _ => Range::chroma(depth, coding.full_range),
    };
    let weights = coding.weights();
    if weights.is_none() && coding.matrix != IDENTITY {
        return Err(unsupported(format!(
            "its colors are coded with matrix {} of H.273",
            coding.matrix
        )));
    }
    let y_plane = Plane::new(frame, PlanarImageComponent::Y, luma);
    let mut u_plane = Upsampled::new(frame, PlanarImageComponent::U, chroma);
    let mut v_plane = Upsampled::new(frame, PlanarImageComponent::V, chroma);
    let width = y_plane.width;
    let [mut y_row, mut u_row, mut v_row] = [0; 3].map(|_| vec![0.0; width]);
    let mut pixels = Vec::with_capacity(3 * width * y_plane.height);
    for row in 0..y_plane.height {
        y_plane.row(row, &mut y_row);
        u_plane.row(row, &mut u_row);
        v_plane.row(row, &mut v_row);
        let row = y_row.iter().zip(&u_row).zip(&v_row);
        match weights {
            Some(weights) => pixels.extend(row.flat_map(|((y, u), v)| {
                weights.map(|[of_u, of_v]| rounded(y + of_u * u + of_v * v))
            })),
            None => pixels.extend(row.flat_map(|((y, u), v)| [*v, *y, *u].map(rounded))),
        }
    }
    let image = RgbImage::from_raw(frame.width(), frame.height(), pixels);
    Ok(DynamicImage::ImageRgb8(
        image.expect("three values a pixel"),
    ))
}
