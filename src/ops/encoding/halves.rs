//! 16-bit values, two in a word, and scales among them.

use std::sync::LazyLock;

use super::format::{PIECE, Piece, Row};
use crate::ops::native::math::f32_of_half;
use crate::ops::native::vectors::{LANES, Vectors};

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
pub(super) fn scales<V: Vectors>(
    v: V,
    row: Row,
    start: usize,
    piece: Piece,
    scales: &mut [f32; LANES],
) {
    let halves = &row.halves(start)[piece.first..];
    // rows of devices are padded, so that eight follow
    match halves.first_chunk::<PIECE>() {
        Some(eight) => {
            let mut halves = [0; LANES];
            halves[..PIECE].copy_from_slice(eight);
            v.store(v.halves(&halves), scales);
        }
        None => fewer_scales(halves, scales),
    }
}

#[cold]
fn fewer_scales(halves: &[u16], scales: &mut [f32; LANES]) {
    for (scale, half) in scales.iter_mut().zip(halves) {
        *scale = value(*half);
    }
}

/// Writes the scales and offsets of a piece, which are pairs of halves from word `start` of the row
/// on.
#[inline(always)]
pub(super) fn pairs<V: Vectors>(
    v: V,
    row: Row,
    start: usize,
    piece: Piece,
    scales: &mut [f32; LANES],
    offsets: &mut [f32; LANES],
) {
    let pairs = &row.words[start + piece.first..][..piece.blocks];
    let mut halves = [0; LANES];
    for at in 0..piece.blocks {
        halves[at] = pairs[at] as u16;
        halves[PIECE + at] = (pairs[at] >> 16) as u16;
    }
    let mut values = [0.0; LANES];
    v.store(v.halves(&halves), &mut values);
    scales[..PIECE].copy_from_slice(&values[..PIECE]);
    offsets[..PIECE].copy_from_slice(&values[PIECE..]);
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
