//! Colour histograms of images (Swain & Ballard 1991).

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::native::rows_with_cost;

static COLOR_HISTOGRAM: Kernel = kernel!("color_histogram").native(&[("forward", forward)]);

impl Tape {
    /// Records the colour histogram `[b, levels^3]` of `image: [b, 3, h, w]`, whose channels go
    /// from the first value of `range` to the second one; values beyond are clamped.
    ///
    /// A bin's value is 4 times the square root of its share of the pixels; a pixel between bins
    /// counts in its neighbours by linear interpolation. Bins are ordered by red, green, blue, blue
    /// fastest. It has no gradient.
    ///
    /// # Panics
    /// If `levels` is not a multiple of 4, the range is empty, or a gradient of the image is wanted.
    #[track_caller]
    pub fn color_histogram(&mut self, image: Var, levels: usize, range: [f32; 2]) -> Var {
        let &[batch, 3, height, width] = self.shape(image) else {
            panic!(
                "color_histogram: {:?}, want [b, 3, h, w]",
                self.shape(image)
            )
        };
        assert!(
            levels > 0 && levels.is_multiple_of(4),
            "color_histogram: {levels} levels, want a multiple of 4"
        );
        let [low, high] = range;
        assert!(low < high, "color_histogram: a range from {low} to {high}");
        assert!(!self.needs_grad(image), "color_histogram has no gradient");
        let y = self.output(&[batch, levels.pow(3)]);
        let quads = batch * levels.pow(3) / 4;
        self.call(&COLOR_HISTOGRAM, "forward")
            .bind("image", image)
            .bind("y", y)
            .param("quads", quads)
            .param("levels", levels)
            .param("pixels", height * width)
            .param("low", low)
            .param("scale", 1.0 / (high - low))
            .elements(quads);
        y
    }
}

fn forward(call: &NativeCall) {
    /// Cost of a pixel, which is added to 8 bins one after another.
    const COST: usize = 32;
    let (image, y) = (call.read::<f32>("image"), call.write::<f32>("y"));
    let (levels, pixels) = (call.size("levels"), call.size("pixels"));
    let (low, scale) = (call.float("low"), call.float("scale"));
    let last = levels - 1;
    rows_with_cost(
        call,
        y,
        levels.pow(3),
        COST * pixels,
        #[inline(always)]
        |batch, y| {
            let image = &image[batch * 3 * pixels..][..3 * pixels];
            let (red, rest) = image.split_at(pixels);
            let (green, blue) = rest.split_at(pixels);
            y.fill(0.0);
            let near = |x: f32| near((x - low) * scale, last);
            for ((red, green), blue) in red.iter().zip(green).zip(blue) {
                let blues = near(*blue);
                let greens = near(*green);
                for (red, red_share) in near(*red) {
                    for (green, green_share) in greens {
                        let row = (red * levels + green) * levels;
                        for (blue, blue_share) in blues {
                            y[row + blue] += red_share * green_share * blue_share;
                        }
                    }
                }
            }
            for y in y {
                *y = 4.0 * (*y / pixels as f32).sqrt();
            }
        },
    );
}

/// Returns the levels below and above a value, with their shares of it.
#[inline(always)]
fn near(x: f32, last: usize) -> [(usize, f32); 2] {
    // NaN becomes 0
    let x = if x > 0.0 { x } else { 0.0 };
    let place = last as f32 * if x < 1.0 { x } else { 1.0 };
    let low = place as usize;
    let above = place - low as f32;
    [(low, 1.0 - above), ((low + 1).min(last), above)]
}

pub(super) mod checks {
    use crate::device::{Device, Plan, Tensor};
    use crate::ops::check::{Failure, Outcome, checks, close, ensure, ensure_eq, f32s, random};

    checks![
        agrees_with_its_reference,
        color_at_the_center_of_a_bin_counts_in_that_bin_only
    ];

    /// Distributes each pixel over its up to eight neighbouring bins, in f64.
    fn reference(
        image: &[f64],
        [batch, height, width]: [usize; 3],
        levels: usize,
        [low, high]: [f32; 2],
    ) -> Vec<f64> {
        let (low, high) = (f64::from(low), f64::from(high));
        let pixels = height * width;
        let mut shares = vec![0.0; batch * levels.pow(3)];
        for (b, at) in (0..batch).flat_map(|b| (0..pixels).map(move |at| (b, at))) {
            let place: Vec<f64> = (0..3)
                .map(|c| {
                    let value = image[(b * 3 + c) * pixels + at].clamp(low, high);
                    (value - low) / (high - low) * (levels - 1) as f64
                })
                .collect();
            for corner in 0..8 {
                let (mut bin, mut weight) = (b, 1.0 / pixels as f64);
                for (c, place) in place.iter().enumerate() {
                    let upper = corner >> c & 1;
                    let low = place.floor();
                    weight *= if upper == 1 {
                        place - low
                    } else {
                        1.0 - (place - low)
                    };
                    bin = bin * levels + (low as usize + upper).min(levels - 1);
                }
                shares[bin] += weight;
            }
        }
        shares.iter().map(|share| 4.0 * share.sqrt()).collect()
    }

    fn agrees(
        device: &Device,
        image: &[f64],
        shape: [usize; 3],
        levels: usize,
        range: [f32; 2],
    ) -> Result<Vec<f32>, Failure> {
        let mut tape = device.tape();
        let values: Vec<f32> = f32s(image);
        let tensor = Tensor::new(device, &[shape[0], 3, shape[1], shape[2]], &values)?;
        let var = tape.bind(&tensor);
        let histogram = tape.color_histogram(var, levels, range);
        tape.hold(histogram);
        let plan = Plan::new(device, tape)?;
        plan.run()?;
        let got: Vec<f32> = plan.read(histogram)?;
        close(
            &format!("{shape:?} at {levels} levels of {range:?}"),
            &got,
            &reference(image, shape, levels, range),
            0..got.len(),
        )?;
        Ok(got)
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for (shape, levels) in [
            ([1, 1, 1], 4),
            ([2, 3, 5], 4),
            ([3, 16, 16], 8),
            ([5, 48, 48], 8),
            ([1, 7, 2], 12),
        ] {
            // some values lie outside 0 to 1
            let image: Vec<f64> = random(shape.iter().product::<usize>() * 3, 5)
                .iter()
                .map(|x| 0.5 + 0.4 * x)
                .collect();
            let histogram = agrees(device, &image, shape, levels, [0.0, 1.0])?;
            agrees(device, &image, shape, levels, [-0.7, 1.3])?;
            for bins in histogram.chunks(levels.pow(3)) {
                let whole: f32 = bins.iter().map(|bin| (bin / 4.0).powi(2)).sum();
                ensure!(
                    (whole - 1.0).abs() < 1e-5,
                    "the shares sum to {whole}, not 1"
                );
            }
        }
        Ok(())
    }

    fn color_at_the_center_of_a_bin_counts_in_that_bin_only(device: &Device) -> Outcome {
        // red 1, green 2/3, blue 1/3 at 4 levels
        let image: Vec<f64> = [1.0, 2.0 / 3.0, 1.0 / 3.0]
            .iter()
            .flat_map(|&x| [x; 6])
            .collect();
        let histogram = agrees(device, &image, [1, 2, 3], 4, [0.0, 1.0])?;
        ensure_eq!(
            histogram.iter().position(|&bin| bin > 3.99),
            Some((3 * 4 + 2) * 4 + 1)
        );
        Ok(())
    }
}
