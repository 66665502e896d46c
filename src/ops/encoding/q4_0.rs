//! Q4_0: `d * (q - 8)` with `q` from 0 to 15. A block of a file is f16 d and 16 bytes of nibbles.

use super::format::{BLOCK, Format, Piece, Row};
use super::{halves, nibbles};
use crate::ops::native::vectors::{LANES, Vectors};

/// 4 bits, and a scale every 32 columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Q40;

impl Format for Q40 {
    const BLOCK: usize = BLOCK;
    const BLOCK_BYTES: usize = 18;

    fn row_words(blocks: usize) -> usize {
        nibbles::LOW * blocks + blocks.div_ceil(2)
    }

    fn repack(bytes: &[u8], words: &mut [u32]) {
        let blocks = bytes.as_chunks::<{ Self::BLOCK_BYTES }>().0;
        let scales = nibbles::LOW * blocks.len();
        for (at, block) in blocks.iter().enumerate() {
            nibbles::put_low(words, at, &nibbles::of_ggml(&block[2..]));
            halves::put(words, 2 * scales + at, [block[0], block[1]]);
        }
    }

    #[inline(always)]
    fn quants<V: Vectors>(v: V, row: Row, piece: Piece, at: usize) -> [V::Floats; 2] {
        nibbles::values_of_four(v, row, piece, at, &const { nibbles::values_less(8) })
    }

    #[inline(always)]
    fn scales<V: Vectors>(
        v: V,
        row: Row,
        piece: Piece,
        scales: &mut [f32; LANES],
        _: &mut [f32; LANES],
    ) {
        halves::scales(v, row, nibbles::LOW * row.blocks, piece, scales);
    }
}

/// Encodes a row: the value of largest magnitude of a block becomes quant 0, which stands for -8.
pub(super) fn encode(values: &[f32], words: &mut [u32]) {
    let blocks = values.as_chunks::<BLOCK>().0;
    let scales = nibbles::LOW * blocks.len();
    for (at, block) in blocks.iter().enumerate() {
        let largest = block.iter().fold(0f32, |largest, &x| {
            // the first of several, as ggml
            if x.abs() > largest.abs() { x } else { largest }
        });
        let scale = largest / -8.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let quants = block.map(|x| ((x * inverse + 8.5) as i8).min(15) as u8);
        nibbles::put_low(words, at, &quants);
        let scale = half::f16::from_f32(scale).to_le_bytes();
        halves::put(words, 2 * scales + at, scale);
    }
}
