//! Vectors as arrays, for compilers to turn into instructions of any processor.

use super::{LANES, Vectors};
use crate::ops::native::math::f32_of_half;

/// Arrays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

#[inline(always)]
fn each<T: Copy, U: Copy + Default>(a: [T; LANES], f: impl Fn(T) -> U) -> [U; LANES] {
    let mut result = [U::default(); LANES];
    for lane in 0..LANES {
        result[lane] = f(a[lane]);
    }
    result
}

#[inline(always)]
fn both<T: Copy + Default>(a: [T; LANES], b: [T; LANES], f: impl Fn(T, T) -> T) -> [T; LANES] {
    let mut result = [T::default(); LANES];
    for lane in 0..LANES {
        result[lane] = f(a[lane], b[lane]);
    }
    result
}

impl Vectors for Portable {
    type Floats = [f32; LANES];
    type Ints = [u32; LANES];

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    fn floats(self, values: &[f32; LANES]) -> [f32; LANES] {
        *values
    }

    #[inline(always)]
    fn store(self, values: [f32; LANES], to: &mut [f32; LANES]) {
        *to = values;
    }

    #[inline(always)]
    fn add(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        both(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn mul(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        both(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn sum(self, a: [f32; LANES]) -> f32 {
        let mut lanes = a;
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
            half /= 2;
        }
        lanes[0]
    }

    #[inline(always)]
    fn to_floats(self, a: [u32; LANES]) -> [f32; LANES] {
        each(a, |a| a as i32 as f32)
    }

    #[inline(always)]
    fn of_bits(self, a: [u32; LANES]) -> [f32; LANES] {
        each(a, f32::from_bits)
    }

    #[inline(always)]
    fn halves(self, halves: &[u16; LANES]) -> [f32; LANES] {
        each(*halves, f32_of_half)
    }

    #[inline(always)]
    fn splat_int(self, value: u32) -> [u32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8; LANES]) -> [u32; LANES] {
        each(*bytes, u32::from)
    }

    #[inline(always)]
    fn signed_bytes(self, bytes: &[i8; LANES]) -> [u32; LANES] {
        // by way of unsigned bytes, which LLVM vectorises better
        each(*bytes, |byte| {
            (u32::from(byte as u8) ^ 128).wrapping_sub(128)
        })
    }

    #[inline(always)]
    fn shorts(self, shorts: &[u16; LANES]) -> [u32; LANES] {
        each(*shorts, u32::from)
    }

    #[inline(always)]
    fn and(self, a: [u32; LANES], b: [u32; LANES]) -> [u32; LANES] {
        both(a, b, |a, b| a & b)
    }

    #[inline(always)]
    fn or(self, a: [u32; LANES], b: [u32; LANES]) -> [u32; LANES] {
        both(a, b, |a, b| a | b)
    }

    #[inline(always)]
    fn sub(self, a: [u32; LANES], b: [u32; LANES]) -> [u32; LANES] {
        both(a, b, u32::wrapping_sub)
    }

    #[inline(always)]
    fn shl<const BY: u32>(self, a: [u32; LANES]) -> [u32; LANES] {
        each(a, |a| a << BY)
    }

    #[inline(always)]
    fn shr<const BY: u32>(self, a: [u32; LANES]) -> [u32; LANES] {
        each(a, |a| a >> BY)
    }

    #[inline(always)]
    fn lookup(self, table: &[f32; LANES], a: [u32; LANES]) -> [f32; LANES] {
        each(a, |a| table[(a & 15) as usize])
    }

    #[inline(always)]
    fn shr_each(self, a: [u32; LANES], by: &[u32; LANES]) -> [u32; LANES] {
        both(a, *by, |a, by| if by < 32 { a >> by } else { 0 })
    }
}
