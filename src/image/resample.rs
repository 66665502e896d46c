//! Resampling of 8-bit pixels, bit for bit as `Image.resize` of Pillow 12.3, and of floats, as
//! PyTorch's antialiased `interpolate`.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::filter::{Filter, Taps};

/// Channels of interleaved 8-bit pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Number of channels, 1 to 4.
    pub channels: usize,
    /// Whether the last channel is opacity. The others are then weighted by it, so that the colour
    /// of transparent pixels does not bleed into visible ones.
    pub alpha: bool,
}

impl Layout {
    /// One channel of grey.
    pub const GREY: Layout = Layout::opaque(1);
    /// Grey and opacity.
    pub const GREY_ALPHA: Layout = Layout::transparent(2);
    /// Red, green and blue.
    pub const RGB: Layout = Layout::opaque(3);
    /// Red, green, blue and opacity.
    pub const RGBA: Layout = Layout::transparent(4);

    const fn opaque(channels: usize) -> Layout {
        Layout {
            channels,
            alpha: false,
        }
    }

    const fn transparent(channels: usize) -> Layout {
        Layout {
            channels,
            alpha: true,
        }
    }
}

/// Fractional bits of a weight: 32, less 8 for the value and 2 for overshoot.
const PRECISION: u32 = 32 - 8 - 2;

/// Multiplications below which handing work to other threads costs more than it saves.
const PARALLEL: usize = 1 << 20;

/// Resamples pixels `[height, width, channels]` to another width and height.
///
/// Two passes, across and then down, in fixed point with 22 fractional bits, each rounded to 8
/// bits. A pass that keeps its size is left out. Pictures over 100 times as high as wide are shrunk
/// down first, as in Pillow 12.3; Pillow 13 does so more often.
///
/// # Panics
/// A size of 0, a number of channels other than 1 to 4, or pixels that do not fit `size`.
pub fn resample(
    pixels: &[u8],
    size: (usize, usize),
    layout: Layout,
    new_size: (usize, usize),
    filter: Filter,
) -> Vec<u8> {
    let whole = (0..new_size.0, 0..new_size.1);
    resample_window(pixels, size, layout, new_size, whole, filter)
}

/// Computes the pixels of [`resample`] in a range of columns and of rows only.
///
/// # Panics
/// As [`resample`]; a range outside of `new_size`.
pub fn resample_window(
    pixels: &[u8],
    size: (usize, usize),
    layout: Layout,
    new_size: (usize, usize),
    window: (Range<usize>, Range<usize>),
    filter: Filter,
) -> Vec<u8> {
    let (width, height) = size;
    assert!(
        new_size.0 > 0 && new_size.1 > 0 && !pixels.is_empty(),
        "cannot resample {width} x {height} pixels to {} x {}",
        new_size.0,
        new_size.1
    );
    assert_eq!(pixels.len(), width * height * layout.channels);
    assert!(window.0.end <= new_size.0 && window.1.end <= new_size.1);
    let passes = match layout.channels {
        1 => passes::<1>,
        2 => passes::<2>,
        3 => passes::<3>,
        4 => passes::<4>,
        channels => panic!("pixels have 1 to 4 channels, not {channels}"),
    };
    // colours of a picture that keeps its size are not rounded
    if layout.alpha && size != new_size {
        let mut pixels = pixels.to_vec();
        premultiply(&mut pixels, layout.channels);
        let mut resampled = passes(&pixels, size, new_size, window, filter);
        unpremultiply(&mut resampled, layout.channels);
        resampled
    } else {
        passes(pixels, size, new_size, window, filter)
    }
}

fn passes<const C: usize>(
    pixels: &[u8],
    (width, height): (usize, usize),
    (new_width, new_height): (usize, usize),
    (columns, rows): (Range<usize>, Range<usize>),
    filter: Filter,
) -> Vec<u8> {
    if columns.is_empty() || rows.is_empty() {
        return vec![];
    }
    let taps = |input: usize, output: usize, part: &Range<usize>| {
        let taps = || Taps::new(input, output, part.clone(), filter).map(fixed);
        (input != output).then(taps)
    };
    let across_taps = taps(width, new_width, &columns);
    let down_taps = taps(height, new_height, &rows);
    // only the rows that the output needs
    let needed = down_taps.as_ref().map_or(rows, Taps::inputs);
    let down_taps = down_taps.map(|taps| taps.counted_from(needed.start));
    let pixels = &pixels[needed.start * C * width..needed.end * C * width];
    let narrow = |pixels: Cow<[u8]>| match &across_taps {
        Some(taps) => across::<C>(&pixels, width, taps),
        None if columns == (0..width) => pixels.into_owned(),
        None => pixels
            .chunks_exact(C * width)
            .flat_map(|row| &row[C * columns.start..C * columns.end])
            .copied()
            .collect(),
    };
    match &down_taps {
        Some(taps) if height > 100 * width && new_height < height => {
            narrow(down(pixels, C * width, taps).into())
        }
        Some(taps) => down(&narrow(pixels.into()), C * columns.len(), taps),
        None => narrow(pixels.into()),
    }
}

/// Rounds a weight to fixed point, halves away from zero.
fn fixed(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION);
    (scaled + 0.5_f64.copysign(scaled)) as i32
}

/// Runs `work` on `out`, compiled for the widest vectors that the processor has. Everything that
/// `work` calls must be inlined.
#[inline(always)]
fn vectorized(out: &mut [u8], work: impl Fn(&mut [u8])) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            // a closure that consumes nothing would be called through a function that is compiled
            // for the least processor
            let out = out;
            work(out);
        },
    );
}

/// Resamples rows of `stride` bytes to the number of rows of `taps`.
fn down(pixels: &[u8], stride: usize, taps: &Taps<i32>) -> Vec<u8> {
    let mut out = vec![0; stride * taps.len()];
    let row = |(y, out): (usize, &mut [u8])| {
        vectorized(
            out,
            #[inline(always)]
            |out| {
                let (first, weights) = taps.of(y);
                weigh_row(&pixels[first * stride..], stride, weights, out);
            },
        );
    };
    if stride * taps.weight_count() < PARALLEL {
        out.chunks_exact_mut(stride).enumerate().for_each(row);
    } else {
        out.par_chunks_exact_mut(stride).enumerate().for_each(row);
    }
    out
}

/// Columns that are summed at once, in registers.
const COLUMNS: usize = 64;

#[inline(always)]
fn weigh_row(rows: &[u8], stride: usize, weights: &[i32], out: &mut [u8]) {
    if stride < COLUMNS {
        for (x, out) in out.iter_mut().enumerate() {
            weigh::<1>(&rows[x..], stride, weights, std::slice::from_mut(out));
        }
        return;
    }
    // the last columns overlap those before, which are computed again
    for x in (0..stride).step_by(COLUMNS) {
        let x = x.min(stride - COLUMNS);
        weigh::<COLUMNS>(&rows[x..], stride, weights, &mut out[x..x + COLUMNS]);
    }
}

/// Sums the first `N` bytes of rows that are `stride` bytes apart, each times its weight, and
/// rounds the sums to bytes.
#[inline(always)]
fn weigh<const N: usize>(rows: &[u8], stride: usize, weights: &[i32], out: &mut [u8]) {
    let mut sums = [1 << (PRECISION - 1); N];
    for (weight, row) in weights.iter().zip(rows.chunks(stride)) {
        for (sum, value) in sums.iter_mut().zip(&row[..N]) {
            *sum = i32::wrapping_add(*sum, weight.wrapping_mul(i32::from(*value)));
        }
    }
    for (out, sum) in out[..N].iter_mut().zip(sums) {
        *out = (sum >> PRECISION).clamp(0, 255) as u8;
    }
}

/// Rows that are resampled together.
const BLOCK: usize = 16;

/// Resamples rows of `width` pixels of `C` bytes to the width of `taps`.
fn across<const C: usize>(pixels: &[u8], width: usize, taps: &Taps<i32>) -> Vec<u8> {
    let (stride, new_stride) = (C * width, C * taps.len());
    let height = pixels.len() / stride;
    let mut out = vec![0; new_stride * height];
    // vectors run over a pixel of each row of a block: neighbours in a row have different weights
    let block = |turned: &mut Vec<u8>, index: usize, out: &mut [u8]| {
        let rows = out.len() / new_stride;
        let pixels = &pixels[index * BLOCK * stride..][..rows * stride];
        // one of the four is compiled: `C` is a constant
        match C {
            1 => weigh_block::<1, BLOCK>(pixels, width, taps, turned, out),
            2 => weigh_block::<2, { 2 * BLOCK }>(pixels, width, taps, turned, out),
            3 => weigh_block::<3, { 3 * BLOCK }>(pixels, width, taps, turned, out),
            _ => weigh_block::<4, { 4 * BLOCK }>(pixels, width, taps, turned, out),
        }
    };
    let start = || vec![0; BLOCK * stride];
    if C * height * taps.weight_count() < PARALLEL {
        let mut turned = start();
        for (index, out) in out.chunks_mut(BLOCK * new_stride).enumerate() {
            block(&mut turned, index, out);
        }
    } else {
        out.par_chunks_mut(BLOCK * new_stride)
            .enumerate()
            .for_each_init(start, |turned, (index, out)| block(turned, index, out));
    }
    out
}

/// Resamples up to [`BLOCK`] rows. `N` is the number of bytes of a column of a whole block, and
/// `turned` has room for all columns, one after another.
fn weigh_block<const C: usize, const N: usize>(
    pixels: &[u8],
    width: usize,
    taps: &Taps<i32>,
    turned: &mut [u8],
    out: &mut [u8],
) {
    for (x, column) in turned.chunks_exact_mut(N).enumerate() {
        for (row, pixel) in pixels
            .chunks_exact(C * width)
            .zip(column.chunks_exact_mut(C))
        {
            pixel.copy_from_slice(&row[C * x..][..C]);
        }
    }
    vectorized(
        out,
        #[inline(always)]
        |out| {
            let mut column = [0; N];
            for x in 0..taps.len() {
                let (first, weights) = taps.of(x);
                weigh::<N>(&turned[N * first..], N, weights, &mut column);
                let rows = out.chunks_exact_mut(C * taps.len());
                for (row, pixel) in rows.zip(column.chunks_exact(C)) {
                    row[C * x..][..C].copy_from_slice(pixel);
                }
            }
        },
    );
}

/// Multiplies colours by opacity.
fn premultiply(pixels: &mut [u8], channels: usize) {
    for pixel in pixels.chunks_exact_mut(channels) {
        if let Some((&mut alpha, colours)) = pixel.split_last_mut() {
            for colour in colours {
                // division by 255, rounded
                let product = u32::from(*colour) * u32::from(alpha) + 128;
                *colour = (((product >> 8) + product) >> 8) as u8;
            }
        }
    }
}

/// Divides colours by opacity, rounding down.
fn unpremultiply(pixels: &mut [u8], channels: usize) {
    for pixel in pixels.chunks_exact_mut(channels) {
        match pixel.split_last_mut() {
            Some((&mut alpha @ 1..=254, colours)) => {
                for colour in colours {
                    *colour = (255 * u32::from(*colour) / u32::from(alpha)).min(255) as u8;
                }
            }
            _ => continue,
        }
    }
}

/// Resamples planes `[.., height, width]` of floats to another width and height, across and then
/// down, as PyTorch's `interpolate` with `antialias=True, align_corners=False`.
///
/// # Panics
/// A size of 0, or planes that do not fit `size`.
pub fn resample_planes(
    planes: &[f32],
    (width, height): (usize, usize),
    (new_width, new_height): (usize, usize),
    filter: Filter,
) -> Vec<f32> {
    assert!(new_width > 0 && new_height > 0 && width > 0 && height > 0);
    assert_eq!(planes.len() % (width * height), 0);
    let taps =
        |input, output| Taps::new(input, output, 0..output, filter).map(|weight| weight as f32);
    let (columns, rows) = (taps(width, new_width), taps(height, new_height));
    let mut wide = vec![0.0; planes.len() / width * new_width];
    wide.par_chunks_exact_mut(new_width)
        .zip(planes.par_chunks_exact(width))
        .for_each(|(out, row)| {
            for (x, out) in out.iter_mut().enumerate() {
                let (first, weights) = columns.of(x);
                *out = weights.iter().zip(&row[first..]).map(|(w, v)| w * v).sum();
            }
        });
    let mut out = vec![0.0; planes.len() / (width * height) * new_width * new_height];
    out.par_chunks_exact_mut(new_width)
        .enumerate()
        .for_each(|(index, out)| {
            let (plane, y) = (index / new_height, index % new_height);
            let (first, weights) = rows.of(y);
            let inputs = wide[(plane * height + first) * new_width..].chunks_exact(new_width);
            for (weight, row) in weights.iter().zip(inputs) {
                for (out, value) in out.iter_mut().zip(row) {
                    *out += weight * value;
                }
            }
        });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels that differ everywhere.
    fn pixels(count: usize) -> Vec<u8> {
        (0..count as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect()
    }

    /// One pass across, written in the shortest way.
    fn across_plainly(pixels: &[u8], width: usize, channels: usize, taps: &Taps<i32>) -> Vec<u8> {
        let rows = pixels.chunks_exact(width * channels);
        rows.flat_map(|row| {
            (0..taps.len() * channels).map(|i| {
                let (first, weights) = taps.of(i / channels);
                let value = |j: usize| i64::from(row[(first + j) * channels + i % channels]);
                let terms = weights.iter().enumerate();
                let sum: i64 = terms.map(|(j, weight)| i64::from(*weight) * value(j)).sum();
                ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8
            })
        })
        .collect()
    }

    fn turned(pixels: &[u8], width: usize, channels: usize) -> Vec<u8> {
        let height = pixels.len() / width / channels;
        let places = (0..width).flat_map(|x| (0..height).map(move |y| y * width + x));
        places
            .flat_map(|place| pixels[place * channels..][..channels].to_vec())
            .collect()
    }

    #[test]
    fn blocks_and_vectors_change_nothing() {
        // sizes around the blocks of rows and columns, and one that runs on all threads
        for (width, height, new_width, new_height) in [
            (1, 1, 3, 2),
            (33, 15, 20, 16),
            (21, 17, 64, 9),
            (22, 33, 21, 34),
            (300, 250, 131, 170),
        ] {
            for channels in 1..=4 {
                let layout = Layout {
                    channels,
                    alpha: false,
                };
                let pixels = pixels(width * height * channels);
                for filter in Filter::ALL {
                    let taps =
                        |input, output| Taps::new(input, output, 0..output, filter).map(fixed);
                    let wide = across_plainly(&pixels, width, channels, &taps(width, new_width));
                    let high = turned(&wide, new_width, channels);
                    let high = across_plainly(&high, height, channels, &taps(height, new_height));
                    let want = turned(&high, new_height, channels);
                    let size = (new_width, new_height);
                    let got = resample(&pixels, (width, height), layout, size, filter);
                    assert!(
                        got == want,
                        "{width} x {height} to {size:?}, {channels}, {filter:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn very_tall_pictures_are_shrunk_down_first() {
        let size = (1, 101);
        let tall = pixels(101);
        let down = resample(&tall, size, Layout::GREY, (1, 7), Filter::Lanczos);
        let both = resample(&down, (1, 7), Layout::GREY, (5, 7), Filter::Lanczos);
        assert_eq!(
            resample(&tall, size, Layout::GREY, (5, 7), Filter::Lanczos),
            both
        );
    }

    #[test]
    fn windows_hold_the_pixels_of_the_whole() {
        let (width, height) = (23, 31);
        let pixels = pixels(4 * width * height);
        for new_size in [(40, 17), (23, 50), (9, 31), (23, 31)] {
            for filter in Filter::ALL {
                let (columns, rows) = (2..new_size.0 - 3, 5..9);
                let (size, layout) = ((width, height), Layout::RGBA);
                let window = (columns.clone(), rows.clone());
                let got = resample_window(&pixels, size, layout, new_size, window, filter);
                let all = resample(&pixels, size, layout, new_size, filter);
                let lines = all.chunks_exact(4 * new_size.0);
                let lines = lines.skip(rows.start).take(rows.len());
                let want = lines.flat_map(|line| &line[4 * columns.start..4 * columns.end]);
                assert!(got.iter().eq(want), "{new_size:?} {filter:?}");
            }
        }
        // of a picture that would take gigabytes
        let window = (0..3, 12_000_000..12_000_002);
        let size = (300, 400_000_000);
        let got = resample_window(
            &[1, 2, 3, 4],
            (1, 4),
            Layout::GREY,
            size,
            window,
            Filter::Bicubic,
        );
        assert_eq!(got, [1; 6]);
    }

    #[test]
    fn colours_of_transparent_pixels_do_not_show() {
        // a red pixel beside a transparent green one
        let pixels = [255, 0, 0, 255, 0, 255, 0, 0];
        let mixed = resample(&pixels, (2, 1), Layout::RGBA, (1, 1), Filter::Bilinear);
        assert_eq!(mixed, [255, 0, 0, 128]);
        let bled = Layout {
            channels: 4,
            alpha: false,
        };
        assert_eq!(
            resample(&pixels, (2, 1), bled, (1, 1), Filter::Bilinear),
            [128, 128, 0, 128]
        );
    }

    #[test]
    fn planes_of_floats_agree_with_bytes() {
        let (width, height, new) = (37, 29, (16, 40));
        let bytes = pixels(width * height);
        let floats: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte)).collect();
        let two = [floats.clone(), floats].concat();
        let planes = resample_planes(&two, (width, height), new, Filter::Bilinear);
        let want = resample(&bytes, (width, height), Layout::GREY, new, Filter::Bilinear);
        for plane in planes.chunks(new.0 * new.1) {
            assert_eq!(plane.len(), want.len());
            // bytes are rounded after each pass
            assert!(
                plane
                    .iter()
                    .zip(&want)
                    .all(|(got, want)| (got - f32::from(*want)).abs() <= 1.01)
            );
        }
    }
}
