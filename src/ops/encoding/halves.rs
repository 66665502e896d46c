//! 16-bit values, two in a word, and scales among them.

use std::sync::LazyLock;

use super::format::{PIECE, Piece, Row};
use crate::ops::native::math::f32_of_half;
use crate::ops::native::vectors::LANES;

/// The value of every half. A scale is one of some thousand values, which stay in the cache.
static VALUES: LazyLock<Box<[f32; 1 << 16]>> = LazyLock::new(|| {
    let values: Vec<f32> = (0..=u16::MAX).map(f32_of_half).collect();
    values.try_into().expect("there are 65,536 halves")
});

/// Returns the value of a half.
#[inline(always)]
pub(super) fn value(half: u16) -> f32 {
    VALUES[usize::from(half)]
}

/// Writes the scales of a piece, which are halves from word `start` of the row on.
#[inline(always)]
pub(super) fn scales(row: Row, start: usize, piece: Piece, scales: &mut [f32; LANES]) {
    let values = &**VALUES;
    let halves = &row.halves(start)[PIECE * piece.at..][..piece.blocks];
    for at in 0..piece.blocks {
        scales[at] = values[usize::from(halves[at])];
    }
}

/// Writes the scales and offsets of a piece, which are pairs of halves from word `start` of the row
/// on.
#[inline(always)]
pub(super) fn pairs(
    row: Row,
    start: usize,
    piece: Piece,
    scales: &mut [f32; LANES],
    offsets: &mut [f32; LANES],
) {
    let values = &**VALUES;
    let pairs = &row.words[start + PIECE * piece.at..][..piece.blocks];
    for at in 0..piece.blocks {
        scales[at] = values[pairs[at] as u16 as usize];
        offsets[at] = values[(pairs[at] >> 16) as usize];
    }
}

/// Packs the 16-bit values of a row of a file.
pub(super) fn pack(bytes: &[u8], words: &mut [u32]) {
    let (pairs, single) = bytes.as_chunks();
    for (word, pair) in words.iter_mut().zip(pairs) {
        *word = u32::from_le_bytes(*pair);
    }
    if let [low, high] = *single {
        words[pairs.len()] = u32::from(u16::from_le_bytes([low, high]));
    }
}

/// Stores half `at` of a row, whose words are zero.
pub(super) fn put(words: &mut [u32], at: usize, half: [u8; 2]) {
    words[at / 2] |= u32::from(u16::from_le_bytes(half)) << (16 * (at % 2));
}
