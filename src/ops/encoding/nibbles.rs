//! Quants of four bits, and the fifth and sixth bits beside them.

use super::format::{BLOCK, Row};

/// Words of the lower four bits of a block.
pub(super) const LOW: usize = 4;

/// Stores the lower four bits of a block's quants.
pub(super) fn put_low(words: &mut [u32], block: usize, quants: &[u8; BLOCK]) {
    let words = &mut words[LOW * block..][..LOW];
    for (at, quant) in quants.iter().enumerate() {
        let (half, at) = (at / 16, at % 16);
        words[at / 4] |= u32::from(quant & 15) << (8 * (at % 4) + 4 * half);
    }
}

/// Returns the word of a block's fifth bits.
pub(super) fn fifth_bits(quants: &[u8; BLOCK]) -> u32 {
    let bit = |(at, quant): (usize, &u8)| {
        let (half, at) = (at / 16, at % 16);
        u32::from(quant >> 4 & 1) << (8 * (at % 4) + 4 * half + at / 4)
    };
    quants.iter().enumerate().map(bit).fold(0, |a, b| a | b)
}

/// Returns the two words of a block's fifth and sixth bits.
pub(super) fn upper_bits(quants: &[u8; BLOCK]) -> [u32; 2] {
    let mut words = [0; 2];
    for (at, quant) in quants.iter().enumerate() {
        let (half, at) = (at / 16, at % 16);
        words[half] |= u32::from(quant >> 4 & 3) << (8 * (at % 4) + 2 * (at / 4));
    }
    words
}

/// Unpacks the nibbles of 16 bytes as ggml orders them: low ones first, then high ones.
pub(super) fn of_ggml(bytes: &[u8]) -> [u8; BLOCK] {
    std::array::from_fn(|at| match at < 16 {
        true => bytes[at] & 15,
        false => bytes[at - 16] >> 4,
    })
}

/// Adds bit `at` of `bits` to quant `at` as its fifth.
pub(super) fn add_fifth(quants: &mut [u8; BLOCK], bits: u32) {
    for (at, quant) in quants.iter_mut().enumerate() {
        *quant |= ((bits >> at & 1) as u8) << 4;
    }
}

/// Returns the 16 bytes of a block's lower four bits.
#[inline(always)]
fn bytes<'a>(row: Row<'a>, block: usize) -> &'a [u8; 16] {
    &bytemuck::cast_slice(&row.words[..LOW * row.blocks])
        .as_chunks()
        .0[block]
}

/// Returns the quants of a block of four bits.
#[inline(always)]
pub(super) fn four(row: Row, block: usize) -> [f32; BLOCK] {
    let bytes = bytes(row, block);
    let mut quants = [0.0; BLOCK];
    for at in 0..16 {
        let byte = i32::from(bytes[at]);
        quants[at] = (byte & 15) as f32;
        quants[16 + at] = (byte >> 4) as f32;
    }
    quants
}

/// Shift of the fifth bit of the first 16 columns of a block.
const FIFTH: [u32; 16] = {
    let mut shifts = [0; 16];
    let mut at = 0;
    while at < 16 {
        shifts[at] = (8 * (at % 4) + at / 4) as u32;
        at += 1;
    }
    shifts
};

/// Returns the quants of a block of five bits.
#[inline(always)]
pub(super) fn five(row: Row, block: usize) -> [f32; BLOCK] {
    let bytes = bytes(row, block);
    let upper = row.words[LOW * row.blocks + block];
    let mut quants = [0.0; BLOCK];
    for at in 0..16 {
        let byte = u32::from(bytes[at]);
        let low = byte & 15 | (upper >> FIFTH[at] & 1) << 4;
        let high = byte >> 4 | (upper >> 4 >> FIFTH[at] & 1) << 4;
        quants[at] = low as i32 as f32;
        quants[16 + at] = high as i32 as f32;
    }
    quants
}

/// Shift of the fifth and sixth bits of 16 columns of a block.
const UPPER: [u32; 16] = {
    let mut shifts = [0; 16];
    let mut at = 0;
    while at < 16 {
        shifts[at] = (8 * (at % 4) + 2 * (at / 4)) as u32;
        at += 1;
    }
    shifts
};

/// Returns the quants of a block of six bits.
#[inline(always)]
pub(super) fn six(row: Row, block: usize) -> [f32; BLOCK] {
    let bytes = bytes(row, block);
    let upper = &row.words[LOW * row.blocks + 2 * block..][..2];
    let mut quants = [0.0; BLOCK];
    for at in 0..16 {
        let byte = u32::from(bytes[at]);
        let low = byte & 15 | (upper[0] >> UPPER[at] & 3) << 4;
        let high = byte >> 4 | (upper[1] >> UPPER[at] & 3) << 4;
        quants[at] = low as i32 as f32;
        quants[16 + at] = high as i32 as f32;
    }
    quants
}
