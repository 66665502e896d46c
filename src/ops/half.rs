//! Conversion to half precision, for kernels that read their operands at half the size.

use crate::graph::{Kernel, NativeCall, Tape, Var};
use crate::kernel;
use crate::ops::native::elements;

static HALF: Kernel = kernel!("half").native(&[("forward", forward)]);

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

fn forward(call: &NativeCall) {
    let (x, y) = (call.read::<f32>("x"), call.write::<u32>("y"));
    elements(
        call,
        y,
        #[inline(always)]
        |start, y| {
            let x = &x[2 * start..];
            let pairs = x.chunks_exact(2);
            let rest = pairs.remainder();
            let whole = y.len().min(pairs.len());
            let (full, padding) = y.split_at_mut(whole);
            for (y, pair) in full.iter_mut().zip(pairs) {
                *y = nearest_half(pair[0]) | nearest_half(pair[1]) << 16;
            }
            padding.fill(0);
            if let ([y, ..], [last]) = (padding, rest) {
                *y = nearest_half(*last);
            }
        },
    );
}

/// Returns the bits of the nearest half, ties to even.
#[inline(always)]
fn nearest_half(x: f32) -> u32 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // drops 13 bits of the mantissa; a carry goes into the exponent, whose bias changes from 127 to
    // 15
    let normal = magnitude
        .wrapping_add(0xfff + (magnitude >> 13 & 1))
        .wrapping_sub(112 << 23)
        >> 13;
    // below 2^-14 halves are multiples of 2^-24, the distance of two f32 next to 0.5
    let small = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0.5f32.to_bits());
    let half = if magnitude < 0x3880_0000 {
        small
    } else {
        normal
    };
    let half = if magnitude >= 0x477f_f000 {
        0x7c00
    } else {
        half
    };
    let half = if magnitude > 0x7f80_0000 {
        0x7e00
    } else {
        half
    };
    bits >> 16 & 0x8000 | half
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
