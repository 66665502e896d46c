//! Q4_0: `d * (q - 8)` with `q` from 0 to 15. A block of a file is f16 d and 16 bytes of nibbles.

use super::f16::decode_halves;
use super::format::{BLOCK, Format, Row};
use super::nibbles;
use super::q8_0::put_half;

/// 4 bits, and a scale every 32 columns.
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
            put_half(words, 2 * scales + at, [block[0], block[1]]);
        }
    }

    #[inline(always)]
    fn quants(row: Row, block: usize) -> [f32; BLOCK] {
        nibbles::four(row, block)
    }

    #[inline(always)]
    fn scales(row: Row, first: usize, scales: &mut [f32], offsets: &mut [f32]) {
        decode_halves(&row.halves(nibbles::LOW * row.blocks)[first..], scales);
        shift(8.0, scales, offsets);
    }
}

/// Writes the offsets of quants whose zero is `zero`.
#[inline(always)]
pub(super) fn shift(zero: f32, scales: &[f32], offsets: &mut [f32]) {
    for (offset, scale) in offsets.iter_mut().zip(scales) {
        *offset = -zero * scale;
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
        put_half(words, 2 * scales + at, scale);
    }
}
