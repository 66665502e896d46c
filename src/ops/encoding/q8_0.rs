//! Q8_0: `d * q` with `q` from -128 to 127. A block of a file is f16 d and 32 signed bytes.

use super::format::{BLOCK, Format, Piece, Row};
use super::halves;
use crate::ops::native::vectors::{LANES, Vectors};

/// Words of the quants of a block.
const WORDS: usize = 8;

/// 8 bits, and a scale every 32 columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Q80;

impl Format for Q80 {
    const BLOCK: usize = BLOCK;
    const BLOCK_BYTES: usize = 34;

    fn row_words(blocks: usize) -> usize {
        WORDS * blocks + blocks.div_ceil(2)
    }

    fn repack(bytes: &[u8], words: &mut [u32]) {
        let blocks = bytes.as_chunks::<{ Self::BLOCK_BYTES }>().0;
        let scales = WORDS * blocks.len();
        for (at, block) in blocks.iter().enumerate() {
            for (word, quants) in words[WORDS * at..].iter_mut().zip(block[2..].as_chunks().0) {
                *word = u32::from_le_bytes(*quants);
            }
            halves::put(words, 2 * scales + at, [block[0], block[1]]);
        }
    }

    #[inline(always)]
    fn quants<V: Vectors>(v: V, row: Row, piece: Piece, at: usize) -> [V::Floats; 2] {
        let [low, high]: &[_; 2] = bytemuck::cast_ref(row.block::<WORDS>(0, piece, at));
        [
            v.to_floats(v.signed_bytes(low)),
            v.to_floats(v.signed_bytes(high)),
        ]
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

/// Encodes a row: the largest magnitude of a block becomes 127.
pub(super) fn encode(values: &[f32], words: &mut [u32]) {
    let blocks = values.as_chunks::<BLOCK>().0;
    let scales = WORDS * blocks.len();
    for (at, block) in blocks.iter().enumerate() {
        let largest = block.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let scale = largest / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        for (place, x) in block.iter().enumerate() {
            let quant = (x * inverse).round() as i8;
            words[WORDS * at + place / 4] |= u32::from(quant as u8) << (8 * (place % 4));
        }
        let scale = half::f16::from_f32(scale).to_le_bytes();
        halves::put(words, 2 * scales + at, scale);
    }
}
