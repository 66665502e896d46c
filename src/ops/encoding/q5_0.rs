//! Q5_0: `d * (q - 16)` with `q` from 0 to 31. A block of a file is f16 d, a word of the fifth bits
//! and 16 bytes of nibbles.

use super::format::{BLOCK, Format, Piece, Row};
use super::{halves, nibbles};
use crate::ops::native::vectors::{LANES, Vectors};

/// 5 bits, and a scale every 32 columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Q50;

/// Words of the quants of a block.
const WORDS: usize = nibbles::LOW + 1;

impl Format for Q50 {
    const BLOCK: usize = BLOCK;
    const BLOCK_BYTES: usize = 22;

    fn row_words(blocks: usize) -> usize {
        WORDS * blocks + blocks.div_ceil(2)
    }

    fn repack(bytes: &[u8], words: &mut [u32]) {
        let blocks = bytes.as_chunks::<{ Self::BLOCK_BYTES }>().0;
        let count = blocks.len();
        for (at, block) in blocks.iter().enumerate() {
            let upper = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
            let mut quants = nibbles::of_ggml(&block[6..]);
            nibbles::add_fifth(&mut quants, upper);
            nibbles::put_low(words, at, &quants);
            words[nibbles::LOW * count + at] = nibbles::fifth_bits(&quants);
            halves::put(words, 2 * WORDS * count + at, [block[0], block[1]]);
        }
    }

    #[inline(always)]
    fn quants<V: Vectors>(v: V, row: Row, piece: Piece, at: usize) -> [V::Floats; 2] {
        let quants = nibbles::five(v, row, piece, at);
        nibbles::less(v, quants, 16)
    }

    #[inline(always)]
    fn scales<V: Vectors>(
        v: V,
        row: Row,
        piece: Piece,
        scales: &mut [f32; LANES],
        _: &mut [f32; LANES],
    ) {
        halves::scales(v, row, WORDS * row.blocks, piece, scales);
    }
}
