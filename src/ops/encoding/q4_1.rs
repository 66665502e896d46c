//! Q4_1: `d * q + m` with `q` from 0 to 15. A block of a file is f16 d, f16 m and 16 bytes of
//! nibbles.

use super::f16::f32_of_half;
use super::format::{BLOCK, Format, Row};
use super::nibbles;

/// 4 bits, and a scale and a minimum every 32 columns.
pub(crate) struct Q41;

impl Format for Q41 {
    const BLOCK: usize = BLOCK;
    const BLOCK_BYTES: usize = 20;

    fn row_words(blocks: usize) -> usize {
        (nibbles::LOW + 1) * blocks
    }

    fn repack(bytes: &[u8], words: &mut [u32]) {
        let blocks = bytes.as_chunks::<{ Self::BLOCK_BYTES }>().0;
        let scales = nibbles::LOW * blocks.len();
        for (at, block) in blocks.iter().enumerate() {
            nibbles::put_low(words, at, &nibbles::of_ggml(&block[4..]));
            words[scales + at] = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        }
    }

    #[inline(always)]
    fn quants(row: Row, block: usize) -> [f32; BLOCK] {
        nibbles::four(row, block)
    }

    #[inline(always)]
    fn scales(row: Row, first: usize, scales: &mut [f32], offsets: &mut [f32]) {
        let pairs = &row.words[nibbles::LOW * row.blocks + first..];
        decode_pairs(pairs, scales, offsets);
    }
}

/// Decodes pairs of halves: scale and minimum.
#[inline(always)]
pub(super) fn decode_pairs(pairs: &[u32], scales: &mut [f32], offsets: &mut [f32]) {
    for ((scale, offset), pair) in scales.iter_mut().zip(offsets).zip(pairs) {
        *scale = f32_of_half(*pair as u16);
        *offset = f32_of_half((pair >> 16) as u16);
    }
}
