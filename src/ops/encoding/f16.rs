//! F16: 16-bit IEEE floats.

use super::format::{BLOCK, Format, Row};

/// 16-bit IEEE floats.
pub(crate) struct F16;

impl Format for F16 {
    const BLOCK: usize = 1;
    const BLOCK_BYTES: usize = 2;
    const SCALED: bool = false;
    const SHIFTED: bool = false;

    fn row_words(blocks: usize) -> usize {
        16 * blocks
    }

    fn repack(bytes: &[u8], words: &mut [u32]) {
        repack_halves(bytes, words);
    }

    #[inline(always)]
    fn quants(row: Row, block: usize) -> [f32; BLOCK] {
        let halves = &row.halves(0).as_chunks::<BLOCK>().0[block];
        let mut values = [0.0; BLOCK];
        for (value, half) in values.iter_mut().zip(halves) {
            *value = f32_of_half(*half);
        }
        values
    }

    #[inline(always)]
    fn scales(_row: Row, _first: usize, _scales: &mut [f32], _offsets: &mut [f32]) {}
}

/// Packs 16-bit values, two in a word.
pub(super) fn repack_halves(bytes: &[u8], words: &mut [u32]) {
    for (at, bytes) in bytes.as_chunks().0.iter().enumerate() {
        words[at / 2] |= u32::from(u16::from_le_bytes(*bytes)) << (16 * (at % 2));
    }
}

/// Encodes a row, rounding to nearest, ties to even.
pub(super) fn encode(values: &[f32], words: &mut [u32]) {
    for (at, value) in values.iter().enumerate() {
        let half = half::f16::from_f32(*value).to_bits();
        words[at / 2] |= u32::from(half) << (16 * (at % 2));
    }
}

/// Returns the value of a half, in operations that compilers turn into vector instructions.
#[inline(always)]
pub(super) fn f32_of_half(half: u16) -> f32 {
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

/// Decodes halves.
#[inline(always)]
pub(super) fn decode_halves(halves: &[u16], values: &mut [f32]) {
    for (value, half) in values.iter_mut().zip(halves) {
        *value = f32_of_half(*half);
    }
}
