//! BF16: the upper halves of 32-bit floats.

use super::f16::repack_halves;
use super::format::{BLOCK, Format, Row};

/// 16-bit bfloat.
pub(crate) struct Bf16;

impl Format for Bf16 {
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
            *value = f32::from_bits(u32::from(*half) << 16);
        }
        values
    }

    #[inline(always)]
    fn scales(_row: Row, _first: usize, _scales: &mut [f32], _offsets: &mut [f32]) {}
}

/// Encodes a row, rounding to nearest, ties to even.
pub(super) fn encode(values: &[f32], words: &mut [u32]) {
    for (at, value) in values.iter().enumerate() {
        let half = half::bf16::from_f32(*value).to_bits();
        words[at / 2] |= u32::from(half) << (16 * (at % 2));
    }
}
