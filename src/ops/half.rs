//! Conversion to half precision, for kernels that read their operands at half the size.

use crate::graph::Kernel;
use crate::graph::{Tape, Var};
use crate::kernel;

static HALF: Kernel = kernel!("half");

impl Tape {
    /// Records `x` rounded to halves, two in each element.
    ///
    /// Converting a variable again returns the earlier result unless it was written to in between.
    /// No gradient flows through the conversion: an op that reads halves adds the gradient of `x`
    /// itself.
    pub(crate) fn half(&mut self, x: Var) -> Var {
        self.once("half", x, |t| {
            let fours = t.len(x).div_ceil(4);
            let y = t.output(&[2 * fours]);
            t.call(&HALF, "forward")
                .bind("x", x)
                .bind("y", y)
                .param("n", fours)
                .elements(fours);
            y
        })
    }
}

pub(crate) mod checks {
    use crate::device::{Device, Plan};

    use crate::ops::check::{Failure, Outcome, checks, ensure, ensure_eq};

    checks![rounds_to_nearest_even, nan_stays_nan];

    /// Rounds `x` to the nearest half, ties to even.
    pub(crate) fn nearest(x: f64) -> f64 {
        if x.is_infinite() {
            return x;
        }
        let exponent = if x == 0.0 {
            0
        } else {
            (x.abs().log2().floor() as i32).max(-14)
        };
        let unit = 2f64.powi(exponent - 10);
        let rounded = (x / unit).round_ties_even() * unit;
        if rounded.abs() > 65504.0 {
            f64::INFINITY.copysign(x)
        } else {
            rounded
        }
    }

    fn value(half: u16) -> f64 {
        let (sign, exponent, mantissa) =
            (half >> 15, (half >> 10 & 31) as i32, (half & 1023) as f64);
        let magnitude = match exponent {
            31 if mantissa > 0.0 => f64::NAN,
            31 => f64::INFINITY,
            0 => mantissa * 2f64.powi(-24),
            _ => (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15),
        };
        if sign == 1 { -magnitude } else { magnitude }
    }

    fn halves(device: &Device, x: &[f32]) -> Result<Vec<f64>, Failure> {
        let mut t = device.tape();
        let v = t.input(&[x.len()]);
        let y = t.half(v);
        ensure_eq!(t.half(v), y);
        t.hold(y);
        let plan = Plan::new(device, t)?;
        plan.write(v, x);
        plan.run()?;
        let words: Vec<u32> = plan.read(y)?;
        Ok(words
            .into_iter()
            .flat_map(|word| [word as u16, (word >> 16) as u16])
            .map(value)
            .take(x.len())
            .collect())
    }

    fn rounds_to_nearest_even(device: &Device) -> Outcome {
        // halves from 2^-24 to 65504, the middle between each and the next, and its two neighbours
        let mut x = vec![
            0.0f32,
            -0.0,
            65519.0,
            65520.0,
            -1e30,
            f32::INFINITY,
            1e-9,
            2f32.powi(-25),
            1.5 * 2f32.powi(-25),
        ];
        for half in (1..0x7bffu16).step_by(7) {
            let middle = (value(half) + value(half + 1)) as f32 / 2.0;
            x.extend([
                value(half) as f32,
                middle,
                middle.next_up(),
                -middle.next_down(),
            ]);
        }
        let want: Vec<f64> = x.iter().map(|&x| nearest(x as f64)).collect();
        for ((x, got), want) in x.iter().zip(halves(device, &x)?).zip(want) {
            ensure!(got == want, "{x:e}: got {got:e}, want {want:e}");
        }
        Ok(())
    }

    fn nan_stays_nan(device: &Device) -> Outcome {
        let got = halves(
            device,
            &[1.0, f32::NAN, 2.0, f32::from_bits(0x7fff_ffff), -3.0],
        )?;
        ensure!(got[1].is_nan() && got[3].is_nan());
        ensure_eq!([got[0], got[2], got[4]], [1.0, 2.0, -3.0]);
        Ok(())
    }
}
