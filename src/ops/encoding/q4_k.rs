//! Q4_K: `d * scale * q - dmin * minimum` with `q` from 0 to 15. A block of a file is the scales of
//! 256 columns and 128 bytes of nibbles: each 64 columns share 32 bytes, the first 32 columns in
//! the low halves.

use super::format::{self, Format, Row};
use super::k_scales;
use super::nibbles;

/// 4 bits, with 6-bit scales and minimums every 32 columns of a block of 256.
pub(crate) struct Q4K;

impl Format for Q4K {
    const BLOCK: usize = k_scales::BLOCKS * format::BLOCK;
    const BLOCK_BYTES: usize = 144;

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
    fn quants(row: Row, block: usize) -> [f32; format::BLOCK] {
        nibbles::four(row, block)
    }

    #[inline(always)]
    fn scales(row: Row, first: usize, scales: &mut [f32], offsets: &mut [f32]) {
        let words = &row.words[nibbles::LOW * row.blocks..];
        k_scales::decode(words, first, scales, offsets);
    }
}

/// Returns the lower four bits of 32 columns of 256, given the bytes of nibbles.
pub(super) fn low_bits(bytes: &[u8], part: usize) -> [u8; format::BLOCK] {
    let bytes = &bytes[part / 2 * 32..];
    std::array::from_fn(|at| bytes[at] >> (4 * (part % 2)) & 15)
}
