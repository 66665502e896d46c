//! Histograms of oriented gradients (Dalal & Triggs 2005).

use std::f32::consts::PI;

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::native::{math, rows, rows_with_cost};

static HOG: Kernel = kernel!("hog").native(&[("orient", orient), ("blocks", blocks)]);

/// Returns the number of features that [`Tape::hog`] gives for a square patch with a side of
/// `patch` pixels: 8 orientations per cell, cells 2 pixels apart.
pub fn hog_values(patch: usize) -> usize {
    8 * (patch / 2).pow(2)
}

impl Tape {
    /// Records histograms of oriented gradients: `image: [b, ch, h, w]` with channels in 0 to 1 (or
    /// 1 to 0) becomes `[b, (h / patch) * (w / patch), (patch / 2)^2 * 8]`, for every patch its
    /// cells in row-major order with 8 orientations each.
    ///
    /// The formula is in shaders/hog.wgsl. It has no gradient.
    ///
    /// # Panics
    /// If `patch` is odd or does not divide the image, or a gradient of the image is wanted.
    #[track_caller]
    pub fn hog(&mut self, image: Var, patch: usize) -> Var {
        let &[batch, channels, height, width] = self.shape(image) else {
            panic!("hog: {:?}, want [b, ch, h, w]", self.shape(image))
        };
        assert!(
            patch.is_multiple_of(2) && height.is_multiple_of(patch) && width.is_multiple_of(patch),
            "hog: {height} x {width} pixels are not a whole number of patches of {patch}, an even number"
        );
        assert!(!self.needs_grad(image), "hog has no gradient");
        let params = [
            ("batch", batch.into()),
            ("channels", channels.into()),
            ("height", height.into()),
            ("width", width.into()),
            ("patch_cells", (patch / 2).into()),
        ];
        let count = batch * (height / 2) * (width / 2);
        let cells = self.output(&[batch, height / 2, width / 2, 8]);
        let y = self.output(&[batch, (height / patch) * (width / patch), hog_values(patch)]);
        self.call(&HOG, "orient")
            .bind("image", image)
            .bind("cells", cells)
            .params(&params)
            .elements(count);
        self.call(&HOG, "blocks")
            .bind("known", cells)
            .bind("y", y)
            .params(&params)
            .elements(count);
        y
    }
}

/// Orientations of a cell.
const BINS: usize = 8;

fn orient(call: &NativeCall) {
    /// Cost of a pixel, whose bins are added to 4 cells.
    const COST: usize = 32;
    let (image, cells) = (call.read::<f32>("image"), call.write::<f32>("cells"));
    let [channels, height, width] = ["channels", "height", "width"].map(|name| call.size(name));
    let (down, across, pixels) = (height / 2, width / 2, height * width);
    rows_with_cost(
        call,
        cells,
        down * across * BINS,
        COST * pixels,
        #[inline(always)]
        |batch, cells| {
            let image = &image[batch * channels * pixels..][..channels * pixels];
            let (mut lengths, mut orientations) = (vec![0f32; width], vec![0f32; width]);
            let mut padded = vec![0f32; width + 2];
            cells.fill(0.0);
            for row in 0..height {
                lengths.fill(0.0);
                orientations.fill(0.0);
                let (xs, ys) = (&mut lengths, &mut orientations);
                for plane in image.chunks_exact(pixels) {
                    let line = |row: usize| &plane[row * width..][..width];
                    let (above, below) = (row.saturating_sub(1), (row + 1).min(height - 1));
                    longest(line(row), [line(above), line(below)], &mut padded, xs, ys);
                }
                polar(xs, ys);
                for (col, (length, orientation)) in lengths.iter().zip(&orientations).enumerate() {
                    let shares = shares(*length, *orientation);
                    for r in covering(row, down) {
                        for s in covering(col, across) {
                            let cell = &mut cells[(r * across + s) * BINS..][..BINS];
                            for (bin, share) in cell.iter_mut().zip(shares) {
                                *bin += share;
                            }
                        }
                    }
                }
            }
            cells.iter_mut().for_each(|bin| *bin /= 16.0);
        },
    );
}

/// Replaces the gradients `(xs, ys)` of a line of pixels by those of another channel where these
/// are longer. `near` are the lines above and below.
#[inline(always)]
fn longest(line: &[f32], near: [&[f32]; 2], padded: &mut [f32], xs: &mut [f32], ys: &mut [f32]) {
    let width = line.len();
    padded[0] = line[0];
    padded[1..=width].copy_from_slice(line);
    padded[width + 1] = line[width - 1];
    let (before, after) = (&padded[..width], &padded[2..][..width]);
    let [above, below] = near.map(|line| &line[..width]);
    let (xs, ys) = (&mut xs[..width], &mut ys[..width]);
    for col in 0..width {
        let (x, y) = (after[col] - before[col], below[col] - above[col]);
        let longer = x * x + y * y > xs[col] * xs[col] + ys[col] * ys[col];
        xs[col] = if longer { x } else { xs[col] };
        ys[col] = if longer { y } else { ys[col] };
    }
}

/// Turns gradients into their lengths and orientations from 0 to 8.
#[inline(always)]
fn polar(xs: &mut [f32], ys: &mut [f32]) {
    for (x, y) in xs.iter_mut().zip(ys) {
        let angle = math::atan2(*y, *x);
        *x = (*x * *x + *y * *y).sqrt();
        *y = BINS as f32 / PI * if angle < 0.0 { angle + PI } else { angle };
    }
}

/// Returns what a gradient adds to each orientation.
#[inline(always)]
fn shares(length: f32, orientation: f32) -> [f32; BINS] {
    let mut shares = [0.0; BINS];
    for (k, share) in shares.iter_mut().enumerate() {
        let apart = (k as f32 - orientation).abs();
        let around = BINS as f32 - apart;
        let near = 1.0 - if apart < around { apart } else { around };
        *share = length * if near > 0.0 { near } else { 0.0 };
    }
    shares
}

/// Returns the cells along an axis of `count` that cover a pixel: each covers 4, 2 apart, the first
/// from -1.
#[inline(always)]
fn covering(pixel: usize, count: usize) -> std::ops::Range<usize> {
    pixel.saturating_sub(1) / 2..pixel.div_ceil(2).min(count - 1) + 1
}

fn blocks(call: &NativeCall) {
    let (known, y) = (call.read::<f32>("known"), call.write::<f32>("y"));
    let [height, width, side] = ["height", "width", "patch_cells"].map(|name| call.size(name));
    let (down, across) = (height / 2, width / 2);
    rows(
        call,
        y,
        down * across * BINS,
        #[inline(always)]
        |batch, y| {
            let known = &known[batch * y.len()..][..y.len()];
            let energies: Vec<f32> = known
                .chunks_exact(BINS)
                .map(
                    #[inline(always)]
                    |cell| cell.iter().map(|bin| bin * bin).sum(),
                )
                .collect();
            for (at, y) in y.chunks_exact_mut(BINS).enumerate() {
                let (patch, within) = (at / (side * side), at % (side * side));
                let r = patch / (across / side) * side + within / side;
                let s = patch % (across / side) * side + within % side;
                let mut energy = 0.0;
                for row in r.saturating_sub(1)..(r + 2).min(down) {
                    for col in s.saturating_sub(1)..(s + 2).min(across) {
                        energy += energies[row * across + col];
                    }
                }
                let scale = 1.0 / ((energy / 9.0).sqrt() + 0.02);
                let cell = &known[(r * across + s) * BINS..][..BINS];
                for (y, bin) in y.iter_mut().zip(cell) {
                    let bin = scale * bin;
                    *y = 2.0 * if bin < 1.0 { bin } else { 1.0 };
                }
            }
        },
    );
}

pub(super) mod checks {
    use super::hog_values;
    use crate::device::{Device, Plan, Tensor};
    use crate::ops::check::{Outcome, checks, close, ensure_eq, f32s, random};

    checks![agrees_with_its_reference, uniform_image_has_no_edges];

    /// The formula in f64.
    fn reference(
        image: &[f64],
        [batch, channels, height, width]: [usize; 4],
        patch: usize,
    ) -> Vec<f64> {
        let (down, across) = (height / 2, width / 2);
        let mut cells = vec![[0.0; 8]; batch * down * across];
        for (i, cell) in cells.iter_mut().enumerate() {
            let (b, r, s) = (i / across / down, i / across % down, i % across);
            for (y, x) in (0..4).flat_map(|y| (0..4).map(move |x| (2 * r + y, 2 * s + x))) {
                // one pixel over the border
                let (Some(y), Some(x)) = (
                    y.checked_sub(1).filter(|&y| y < height),
                    x.checked_sub(1).filter(|&x| x < width),
                ) else {
                    continue;
                };
                let at = |c: usize, y: usize, x: usize| {
                    image[((b * channels + c) * height + y) * width + x]
                };
                let gradient = |c: usize| {
                    let gx = at(c, y, (x + 1).min(width - 1)) - at(c, y, x.saturating_sub(1));
                    let gy = at(c, (y + 1).min(height - 1), x) - at(c, y.saturating_sub(1), x);
                    (gx, gy, gx.hypot(gy))
                };
                let (gx, gy, length) = (0..channels)
                    .map(gradient)
                    .max_by(|a, b| a.2.total_cmp(&b.2))
                    .unwrap();
                let orientation = (gy.atan2(gx) / std::f64::consts::PI * 8.0).rem_euclid(8.0);
                for (k, bin) in cell.iter_mut().enumerate() {
                    let apart = (orientation - k as f64).abs();
                    *bin += length * (1.0 - apart.min(8.0 - apart)).max(0.0) / 16.0;
                }
            }
        }
        let side = patch / 2;
        let mut result = vec![0.0; cells.len() * 8];
        for (i, cell) in cells.iter().enumerate() {
            let (b, r, s) = (i / across / down, i / across % down, i % across);
            let around = |at: usize, most: usize| at.saturating_sub(1)..(at + 2).min(most);
            let cells = &cells;
            let near = around(r, down)
                .flat_map(|r| around(s, across).map(move |s| cells[(b * down + r) * across + s]));
            let energy = near.flatten().map(|bin| bin * bin).sum::<f64>() / 9.0;
            let of = (b * (down / side) + r / side) * (across / side) + s / side;
            let place = (of * side + r % side) * side + s % side;
            for (k, bin) in cell.iter().enumerate() {
                result[place * 8 + k] = 2.0 * (bin / (energy.sqrt() + 0.02)).min(1.0);
            }
        }
        result
    }

    fn agrees(device: &Device, image: &[f64], shape: [usize; 4], patch: usize) -> Outcome {
        let mut tape = device.tape();
        let values: Vec<f32> = f32s(image);
        let tensor = Tensor::new(device, &shape, &values)?;
        let var = tape.bind(&tensor);
        let hog = tape.hog(var, patch);
        ensure_eq!(
            *tape.shape(hog),
            [
                shape[0],
                shape[2] / patch * (shape[3] / patch),
                hog_values(patch)
            ]
        );
        tape.hold(hog);
        let plan = Plan::new(device, tape)?;
        plan.run()?;
        let got: Vec<f32> = plan.read(hog)?;
        close(
            &format!("{shape:?} in patches of {patch}"),
            &got,
            &reference(image, shape, patch),
            0..got.len(),
        )
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for (shape, patch) in [
            ([1, 1, 2, 2], 2),
            ([2, 3, 16, 24], 8),
            ([1, 3, 12, 6], 6),
            ([3, 2, 8, 8], 4),
            ([5, 3, 48, 48], 8),
        ] {
            agrees(device, &random(shape.iter().product(), 5), shape, patch)?;
        }
        // more cells than one dimension of workgroups can take with one invocation each
        agrees(device, &random(1100 * 64 * 64, 6), [1100, 1, 64, 64], 64)
    }

    fn uniform_image_has_no_edges(device: &Device) -> Outcome {
        agrees(device, &[0.7; 192], [1, 3, 8, 8], 8)
    }
}
