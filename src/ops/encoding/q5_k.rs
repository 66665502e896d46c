//! Q5_K: `d * scale * q - dmin * minimum` with `q` from 0 to 31. A block of a file is the scales of
//! 256 columns, 32 bytes of fifth bits and 128 bytes of nibbles as in Q4_K. Bit `i` of byte `l` is
//! the fifth of column `32 i + l`.

use super::format::{self, Format, Piece, Row};
use super::q4_k::low_bits;
use super::{k_scales, nibbles};
use crate::ops::native::vectors::{LANES, Vectors};

/// 5 bits, with 6-bit scales and minimums every 32 columns of a block of 256.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Q5K;

/// Words of the quants of a block.
const WORDS: usize = nibbles::LOW + 1;

impl Format for Q5K {
    const BLOCK: usize = k_scales::BLOCKS * format::BLOCK;
    const BLOCK_BYTES: usize = 176;
    const SHIFTED: bool = true;

    fn row_words(blocks: usize) -> usize {
        WORDS * blocks + blocks / k_scales::BLOCKS * k_scales::WORDS
    }

    fn repack(bytes: &[u8], words: &mut [u32]) {
        let files = bytes.as_chunks::<{ Self::BLOCK_BYTES }>().0;
        let blocks = k_scales::BLOCKS * files.len();
        for (at, block) in files.iter().enumerate() {
            let (fifth, low) = block[k_scales::BYTES..].split_at(32);
            for part in 0..k_scales::BLOCKS {
                let mut quants = low_bits(low, part);
                for (quant, bits) in quants.iter_mut().zip(fifth) {
                    *quant |= (bits >> part & 1) << 4;
                }
                let to = k_scales::BLOCKS * at + part;
                nibbles::put_low(words, to, &quants);
                words[nibbles::LOW * blocks + to] = nibbles::fifth_bits(&quants);
            }
            words[WORDS * blocks + k_scales::WORDS * at..][..k_scales::WORDS]
                .copy_from_slice(&k_scales::repack(block));
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
        let words = &row.words[WORDS * row.blocks..];
        k_scales::decode(v, words, piece.first / k_scales::BLOCKS, scales, offsets);
    }
}
