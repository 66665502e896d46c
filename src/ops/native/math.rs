//! Vector arithmetic on slices of f32, written so that compilers turn it into vector instructions.

/// Number of partial sums of a reduction: a full vector of every processor.
const LANES: usize = 16;

/// Returns the sum of a term for each place of slices of one length, in a fixed order. `term` gets
/// the elements at the place.
#[inline(always)]
pub fn sum<const N: usize>(slices: [&[f32]; N], term: impl Fn([f32; N]) -> f32) -> f32 {
    let [sum] = sums(
        slices,
        #[inline(always)]
        |elements| [term(elements)],
    );
    sum
}

/// Returns several sums of terms, like [`sum`], in one pass.
#[inline(always)]
pub fn sums<const N: usize, const K: usize>(
    slices: [&[f32]; N],
    terms: impl Fn([f32; N]) -> [f32; K],
) -> [f32; K] {
    let count = slices[0].len();
    // the length of the others stands in the code too, else each access would be checked
    let slices = slices.map(
        #[inline(always)]
        |slice| slice[..count].as_chunks::<LANES>(),
    );
    let mut lanes = [[0f32; LANES]; K];
    for at in 0..count / LANES {
        for lane in 0..LANES {
            let terms = terms(slices.map(
                #[inline(always)]
                |(chunks, _)| chunks[at][lane],
            ));
            for (lanes, term) in lanes.iter_mut().zip(terms) {
                lanes[lane] += term;
            }
        }
    }
    for lane in 0..count % LANES {
        let terms = terms(slices.map(
            #[inline(always)]
            |(_, rest)| rest[lane],
        ));
        for (lanes, term) in lanes.iter_mut().zip(terms) {
            lanes[lane] += term;
        }
    }
    lanes.map(
        #[inline(always)]
        |lanes| {
            fold(
                lanes,
                #[inline(always)]
                |a, b| a + b,
            )
        },
    )
}

/// Returns the sum of products of two slices of one length.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum(
        [a, b],
        #[inline(always)]
        |[a, b]| a * b,
    )
}

/// Returns the largest element, or the lowest finite number for none. NaN is ignored.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::MIN; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (most, x) in lanes.iter_mut().zip(chunk) {
            *most = if *x > *most { *x } else { *most };
        }
    }
    let rest = chunks.remainder().iter().copied().fold(f32::MIN, f32::max);
    fold(lanes, f32::max).max(rest)
}

#[inline(always)]
fn fold(lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = lanes;
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = join(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Returns e to the power of `x`, within 2 units in the last place; 0 below -87.3.
///
/// Range reduction by powers of two and the polynomial of Cephes (Moshier), `expf`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.3;
    const HIGHEST: f32 = 88.72;
    // adding it rounds to a whole number, which then stands in the lowest bits
    const ROUND: f32 = 12_582_912.0;
    // comparisons instead of `clamp`, so that NaN stays
    let clamped = if x > HIGHEST { HIGHEST } else { x };
    let clamped = if clamped < LOWEST { LOWEST } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    // ln 2 in two parts
    let r = (clamped - whole * 0.693_359_4) + whole * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let y = p * (r * r) + r + 1.0;
    // 2^whole in two factors: at the upper end it is no f32
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = exponent >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    let result = y * power(half) * power(exponent - half);
    let result = if x < LOWEST { 0.0 } else { result };
    if x > HIGHEST { f32::INFINITY } else { result }
}

/// Returns the angle of the point `(x, y)` from -pi to pi, within 4e-7; 0 at the origin.
///
/// The polynomial of Cephes (Moshier), `atanf`.
#[inline(always)]
pub fn atan2(y: f32, x: f32) -> f32 {
    use std::f32::consts::{FRAC_PI_2, FRAC_PI_4, PI};
    /// Tangent of pi / 8.
    const MIDDLE: f32 = 0.414_213_57;
    let (across, up) = (x.abs(), y.abs());
    let steep = up > across;
    let (small, large) = if steep { (across, up) } else { (up, across) };
    // the tangent of an angle, or past pi / 8 of the angle less pi / 4
    let past = small > MIDDLE * large;
    let (base, above, below) = if past {
        (FRAC_PI_4, small - large, small + large)
    } else {
        (0.0, small, large)
    };
    let t = above / if below > 0.0 { below } else { 1.0 };
    let z = t * t;
    let mut p = 8.053_745e-2;
    p = p * z - 1.387_768_6e-1;
    p = p * z + 1.997_771_1e-1;
    p = p * z - 3.333_295e-1;
    let angle = base + (p * z * t + t);
    let angle = if steep { FRAC_PI_2 - angle } else { angle };
    let angle = if x < 0.0 { PI - angle } else { angle };
    angle.copysign(y)
}

/// Returns the value of a 16-bit IEEE float, in operations that compilers turn into vector
/// instructions.
#[inline(always)]
pub fn f32_of_half(half: u16) -> f32 {
    /// 2^-14, the least normal half.
    const LEAST: f32 = f32::from_bits(113 << 23);
    let bits = u32::from(half);
    let magnitude = (bits & 0x7fff) << 13;
    // the exponent's bias changes from 15 to 127
    let normal = magnitude + (112 << 23);
    let subnormal = (f32::from_bits(magnitude + (113 << 23)) - LEAST).to_bits();
    // infinity and NaN have the highest exponent of either format
    let special = magnitude + (224 << 23);
    let value = if magnitude < 1 << 23 {
        subnormal
    } else {
        normal
    };
    let value = if magnitude >= 31 << 23 {
        special
    } else {
        value
    };
    f32::from_bits(value | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::native::vectorized;

    #[test]
    fn exp_is_close_everywhere_and_keeps_special_values() {
        let mut worst = 0f64;
        for step in -87_000..=88_700 {
            let x = step as f32 / 1000.0 + 1.7e-4;
            let (got, want) = (exp(x) as f64, (x as f64).exp());
            worst = worst.max(((got - want) / want).abs());
        }
        assert!(
            worst < 2.0 * f32::EPSILON as f64,
            "relative error {worst:e}"
        );
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::MIN), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn atan2_is_close_in_every_direction() {
        let mut worst = 0f64;
        for step in 0..100_000 {
            let angle = step as f64 * 6.283_185e-5 - std::f64::consts::PI;
            for length in [1e-12, 1.0, 3e15] {
                let (y, x) = ((angle.sin() * length) as f32, (angle.cos() * length) as f32);
                let error = atan2(y, x) as f64 - (y as f64).atan2(x as f64);
                worst = worst.max(error.abs());
            }
        }
        assert!(worst < 4e-7, "error {worst:e}");
        assert_eq!(atan2(0.0, 0.0), 0.0);
        assert_eq!(atan2(0.0, -1.0), std::f32::consts::PI);
        assert_eq!(atan2(-2.0, 0.0), -std::f32::consts::FRAC_PI_2);
        assert!(atan2(f32::NAN, 1.0).is_nan());
    }

    #[test]
    fn every_half_has_its_value() {
        for bits in 0..=u16::MAX {
            let (got, want) = (f32_of_half(bits), half::f16::from_bits(bits).to_f32());
            let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
            assert!(same, "{bits:#x}: {got}, want {want}");
        }
    }

    #[test]
    fn wide_vectors_give_the_same_bits() {
        let x: Vec<f32> = (0..1037).map(|n| (n as f32 * 0.37).sin() * 9.0).collect();
        let both = || (sum([&x], |[x]| exp(x)), dot(&x, &x), max(&x));
        let wide = vectorized(
            #[inline(always)]
            || {
                (
                    sum(
                        [&x],
                        #[inline(always)]
                        |[x]| exp(x),
                    ),
                    dot(&x, &x),
                    max(&x),
                )
            },
        );
        assert_eq!(both(), wide);
    }
}
