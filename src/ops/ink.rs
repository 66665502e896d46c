//! Images as ink on white paper: 0 for white.

use crate::graph::{NativeCall, Tape, Var};
use crate::image::{MEAN, STD};
use crate::ops::native::rows;
use crate::ops::vector_width::{VectorWidth, vector_width};

static INK: VectorWidth = vector_width!("ink"; native: &[("forward", forward)]);

impl Tape {
    /// Records the ink of a [normalised](crate::image::normalise) `image: [b, 3, h, w]`: per
    /// channel 0 for white, 1 for black. It has no gradient.
    #[track_caller]
    pub fn ink(&mut self, image: Var) -> Var {
        let &[_, 3, height, width] = self.shape(image) else {
            panic!("ink: {:?}, want [b, 3, h, w]", self.shape(image))
        };
        assert!(!self.needs_grad(image), "ink has no gradient");
        let (kernel, pixels) = INK.of(height * width);
        let [red, green, blue] = STD;
        let white: Vec<f32> = MEAN
            .iter()
            .zip(STD)
            .map(|(mean, deviation)| (1.0 - mean) / deviation)
            .collect();
        let n = self.len(image) / (height * width) * pixels;
        let y = self.like(image);
        self.call(kernel, "forward")
            .bind("x", image)
            .bind("y", y)
            .param("n", n)
            .param("pixels", pixels)
            .param("white_red", white[0])
            .param("white_green", white[1])
            .param("white_blue", white[2])
            .param("red", red)
            .param("green", green)
            .param("blue", blue)
            .elements(n);
        y
    }
}

fn forward(call: &NativeCall) {
    let (x, y) = (call.read::<f32>("x"), call.write::<f32>("y"));
    let white = ["white_red", "white_green", "white_blue"].map(|name| call.float(name));
    let deviation = ["red", "green", "blue"].map(|name| call.float(name));
    let pixels = y.len() / (call.size("n") / call.size("pixels"));
    rows(
        call,
        y,
        pixels,
        #[inline(always)]
        |plane, y| {
            let (white, deviation) = (white[plane % 3], deviation[plane % 3]);
            for (y, x) in y.iter_mut().zip(&x[plane * pixels..]) {
                *y = deviation * (white - x);
            }
        },
    );
}

pub(super) mod checks {
    use crate::device::{Device, Plan, Tensor};

    use crate::image::normalise;
    use crate::ops::check::{Outcome, checks, close};

    checks![agrees_with_its_reference];

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for side in [1, 2, 3, 48] {
            let rgb: Vec<u8> = (0..side * side * 3)
                .map(|i| if i < 3 { 255 } else { (i * 37 % 256) as u8 })
                .collect();
            let mut tape = device.tape();
            let tensor = Tensor::new(device, &[1, 3, side, side], &normalise(&rgb))?;
            let image = tape.bind(&tensor);
            let ink = tape.ink(image);
            tape.hold(ink);
            let plan = Plan::new(device, tape)?;
            plan.run()?;
            let want: Vec<f64> = (0..3)
                .flat_map(|c| {
                    rgb.iter()
                        .skip(c)
                        .step_by(3)
                        .map(|&value| 1.0 - value as f64 / 255.0)
                        .collect::<Vec<_>>()
                })
                .collect();
            close(
                &format!("{side} x {side}"),
                &plan.read::<f32>(ink)?,
                &want,
                0..want.len(),
            )?;
        }
        Ok(())
    }
}
