//! BF16: the upper halves of 32-bit floats.

use super::format::{Format, Piece, Row};
use super::halves;
use crate::ops::native::vectors::{LANES, Vectors};

/// 16-bit bfloat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bf16;

impl Format for Bf16 {
    const BLOCK: usize = 1;
    const BLOCK_BYTES: usize = 2;
    const SCALED: bool = false;

    fn row_words(blocks: usize) -> usize {
        LANES * blocks
    }

    fn repack(bytes: &[u8], words: &mut [u32]) {
        halves::pack(bytes, words);
    }

    #[inline(always)]
    fn quants<V: Vectors>(v: V, row: Row, piece: Piece, at: usize) -> [V::Floats; 2] {
        let [low, high]: &[_; 2] = bytemuck::cast_ref(row.block::<LANES>(0, piece, at));
        let (low, high) = (v.shorts(low), v.shorts(high));
        [v.of_bits(v.shl::<16>(low)), v.of_bits(v.shl::<16>(high))]
    }

    #[inline(always)]
    fn scales<V: Vectors>(_: V, _: Row, _: Piece, _: &mut [f32; LANES], _: &mut [f32; LANES]) {}
}

/// Encodes a row, rounding to nearest, ties to even.
pub(super) fn encode(values: &[f32], words: &mut [u32]) {
    for (at, value) in values.iter().enumerate() {
        halves::put(words, at, half::bf16::from_f32(*value).to_le_bytes());
    }
}
