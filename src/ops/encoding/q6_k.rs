//! Q6_K: `d * scale * (q - 32)` with `q` from 0 to 63. A block of a file is 128 bytes of lower four
//! bits, 64 bytes of upper two bits, 16 signed scales and f16 d.
//!
//! Each 128 columns share 64 bytes of lower bits and 32 of upper ones. Of their four parts of 32
//! columns the first two are the low halves of the 64 bytes, the last two the high halves, and part
//! `i` has its upper bits in bits `2 i` and the next of the 32 bytes.

use super::format::{self, Format, Piece, Row};
use super::k_scales::BLOCKS;
use super::{halves, nibbles};
use crate::ops::native::vectors::{LANES, Vectors};

/// 6 bits, with 8-bit scales every 16 columns of a block of 256.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Q6K;

/// Words of the quants of a block.
const WORDS: usize = nibbles::LOW + 2;
/// Groups of 16 columns in a block of a file.
const GROUPS: usize = 16;

impl Format for Q6K {
    const BLOCK: usize = BLOCKS * format::BLOCK;
    const BLOCK_BYTES: usize = 210;
    const GROUP: usize = 16;

    fn row_words(blocks: usize) -> usize {
        WORDS * blocks + blocks / BLOCKS * GROUPS / 4 + (blocks / BLOCKS).div_ceil(2)
    }

    fn repack(bytes: &[u8], words: &mut [u32]) {
        let files = bytes.as_chunks::<{ Self::BLOCK_BYTES }>().0;
        let blocks = BLOCKS * files.len();
        let scales = WORDS * blocks;
        for (at, block) in files.iter().enumerate() {
            let (low, rest) = block.split_at(128);
            let (upper, rest) = rest.split_at(64);
            let (factors, scale) = rest.split_at(GROUPS);
            for part in 0..BLOCKS {
                let (half, part) = (part / 4, part % 4);
                let low = &low[64 * half + 32 * (part % 2)..];
                let upper = &upper[32 * half..];
                let quants = std::array::from_fn(|at| {
                    low[at] >> (4 * (part / 2)) & 15 | (upper[at] >> (2 * part) & 3) << 4
                });
                let to = BLOCKS * at + 4 * half + part;
                nibbles::put_low(words, to, &quants);
                words[nibbles::LOW * blocks + 2 * to..][..2]
                    .copy_from_slice(&nibbles::upper_bits(&quants));
            }
            for (word, factors) in words[scales + GROUPS / 4 * at..]
                .iter_mut()
                .zip(factors.as_chunks().0)
            {
                *word = u32::from_le_bytes(*factors);
            }
            let after = scales + GROUPS / 4 * files.len();
            halves::put(words, 2 * after + at, [scale[0], scale[1]]);
        }
    }

    #[inline(always)]
    fn quants<V: Vectors>(v: V, row: Row, piece: Piece, at: usize) -> [V::Floats; 2] {
        let quants = nibbles::six(v, row, piece, at);
        nibbles::less(v, quants, 32)
    }

    #[inline(always)]
    fn scales<V: Vectors>(
        v: V,
        row: Row,
        piece: Piece,
        scales: &mut [f32; LANES],
        _: &mut [f32; LANES],
    ) {
        let (start, at) = (WORDS * row.blocks, piece.first / BLOCKS);
        // a piece has 16 factors
        let factors = &row.words[start..].as_chunks::<{ GROUPS / 4 }>().0[at];
        let half = row.halves(start + row.blocks / BLOCKS * GROUPS / 4)[at];
        let factors = v.to_floats(v.signed_bytes(bytemuck::cast_ref(factors)));
        v.store(v.mul(v.splat(halves::value(half)), factors), scales);
    }
}
