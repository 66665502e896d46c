//! Q4_1: `d * q + m` with `q` from 0 to 15. A block of a file is f16 d, f16 m and 16 bytes of
//! nibbles.

use super::format::{BLOCK, Format, Piece, Row};
use super::{halves, nibbles};
use crate::ops::native::vectors::{LANES, Vectors};

/// 4 bits, and a scale and a minimum every 32 columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Q41;

impl Format for Q41 {
    const BLOCK: usize = BLOCK;
    const BLOCK_BYTES: usize = 20;
    const SHIFTED: bool = true;

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
    fn quants<V: Vectors>(v: V, row: Row, piece: Piece, at: usize) -> [V::Floats; 2] {
        nibbles::values_of_four(v, row, piece, at, &const { nibbles::values_less(0) })
    }

    #[inline(always)]
    fn scales<V: Vectors>(
        v: V,
        row: Row,
        piece: Piece,
        scales: &mut [f32; LANES],
        offsets: &mut [f32; LANES],
    ) {
        let start = nibbles::LOW * row.blocks;
        halves::pairs(v, row, start, piece, scales, offsets);
    }
}
