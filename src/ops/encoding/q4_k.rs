//! Q4_K: `d * scale * q - dmin * minimum` with `q` from 0 to 15. A block of a file is the scales of
//! 256 columns and 128 bytes of nibbles: each 64 columns share 32 bytes, the first 32 columns in
//! the low halves.

use super::format::{self, Format, Piece, Row};
use super::{k_scales, nibbles};
use crate::ops::native::vectors::{LANES, Vectors};

/// 4 bits, with 6-bit scales and minimums every 32 columns of a block of 256.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Q4K;

impl Format for Q4K {
    const BLOCK: usize = k_scales::BLOCKS * format::BLOCK;
    const BLOCK_BYTES: usize = 144;
    const SHIFTED: bool = true;

    fn row_words(blocks: usize) -> usize {
        nibbles::LOW * blocks + blocks / k_scales::BLOCKS * k_scales::WORDS
    }

    fn repack(bytes: &[u8], words: &mut [u32]) {
        let files = bytes.as_chunks::<{ Self::BLOCK_BYTES }>().0;
        let scales = nibbles::LOW * k_scales::BLOCKS * files.len();
        for (at, block) in files.iter().enumerate() {
            for part in 0..k_scales::BLOCKS {
                let quants = low_bits(&block[k_scales::BYTES..], part);
                nibbles::put_low(words, k_scales::BLOCKS * at + part, &quants);
            }
            words[scales + k_scales::WORDS * at..][..k_scales::WORDS]
                .copy_from_slice(&k_scales::repack(block));
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
        let words = &row.words[nibbles::LOW * row.blocks..];
        k_scales::decode(v, words, piece.first / k_scales::BLOCKS, scales, offsets);
    }
}

/// Returns the lower four bits of 32 columns of 256, given the bytes of nibbles.
pub(super) fn low_bits(bytes: &[u8], part: usize) -> [u8; format::BLOCK] {
    let bytes = &bytes[part / 2 * 32..];
    std::array::from_fn(|at| bytes[at] >> (4 * (part % 2)) & 15)
}
