//! Q5_1: `d * q + m` with `q` from 0 to 31. A block of a file is f16 d, f16 m, a word of the fifth
//! bits and 16 bytes of nibbles.

use super::format::{BLOCK, Format, Piece, Row};
use super::{halves, nibbles};
use crate::ops::native::vectors::{LANES, Vectors};

/// 5 bits, and a scale and a minimum every 32 columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Q51;

/// Words of the quants of a block.
const WORDS: usize = nibbles::LOW + 1;

impl Format for Q51 {
    const BLOCK: usize = BLOCK;
    const BLOCK_BYTES: usize = 24;
    const SHIFTED: bool = true;

    fn row_words(blocks: usize) -> usize {
        (WORDS + 1) * blocks
    }

    fn repack(bytes: &[u8], words: &mut [u32]) {
        let blocks = bytes.as_chunks::<{ Self::BLOCK_BYTES }>().0;
        let count = blocks.len();
        for (at, block) in blocks.iter().enumerate() {
            let upper = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
            let mut quants = nibbles::of_ggml(&block[8..]);
            nibbles::add_fifth(&mut quants, upper);
            nibbles::put_low(words, at, &quants);
            words[nibbles::LOW * count + at] = nibbles::fifth_bits(&quants);
            words[WORDS * count + at] =
                u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        }
    }

    #[inline(always)]
    fn quants<V: Vectors>(v: V, row: Row, piece: Piece, at: usize) -> [V::Floats; 2] {
        nibbles::to_floats(v, nibbles::five(v, row, piece, at))
    }

    #[inline(always)]
    fn scales<V: Vectors>(
        v: V,
        row: Row,
        piece: Piece,
        scales: &mut [f32; LANES],
        offsets: &mut [f32; LANES],
    ) {
        halves::pairs(v, row, WORDS * row.blocks, piece, scales, offsets);
    }
}
