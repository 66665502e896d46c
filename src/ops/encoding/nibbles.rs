//! Quants of four bits, and the fifth and sixth bits beside them.

use super::format::{BLOCK, Piece, Row};
use crate::ops::native::vectors::{LANES, Vectors};

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

/// Returns the lower four bits of a block's quants.
#[inline(always)]
pub(super) fn four<V: Vectors>(v: V, row: Row, piece: Piece, at: usize) -> [V::Ints; 2] {
    let bytes = v.bytes(bytemuck::cast_ref(row.block::<LOW>(0, piece, at)));
    [v.and(bytes, v.splat_int(15)), v.shr::<4>(bytes)]
}

/// Returns the values in a table of the lower four bits of a block's quants.
#[inline(always)]
pub(super) fn values_of_four<V: Vectors>(
    v: V,
    row: Row,
    piece: Piece,
    at: usize,
    table: &[f32; LANES],
) -> [V::Floats; 2] {
    let bytes = v.bytes(bytemuck::cast_ref(row.block::<LOW>(0, piece, at)));
    [v.lookup(table, bytes), v.lookup(table, v.shr::<4>(bytes))]
}

/// Returns the values of four bits, less the one that stands for zero.
pub(super) const fn values_less(zero: i32) -> [f32; LANES] {
    let mut values = [0.0; LANES];
    let mut at = 0;
    while at < LANES {
        values[at] = (at as i32 - zero) as f32;
        at += 1;
    }
    values
}

/// Shifts that bring the bits of 16 columns to the lowest place, given the distance from one word
/// of four columns to the next.
const fn shifts(step: usize) -> [u32; LANES] {
    let mut shifts = [0; LANES];
    let mut at = 0;
    while at < LANES {
        shifts[at] = (8 * (at % 4) + step * (at / 4)) as u32;
        at += 1;
    }
    shifts
}

/// Returns the quants of a block of five bits.
#[inline(always)]
pub(super) fn five<V: Vectors>(v: V, row: Row, piece: Piece, at: usize) -> [V::Ints; 2] {
    const SHIFTS: [u32; LANES] = shifts(1);
    let upper = v.splat_int(row.block::<1>(LOW * row.blocks, piece, at)[0]);
    // bit 0 belongs to the low half, bit 4 to the high one
    let upper = v.shr_each(upper, &SHIFTS);
    let [low, high] = four(v, row, piece, at);
    let bit = v.splat_int(16);
    [
        v.or(low, v.and(v.shl::<4>(upper), bit)),
        v.or(high, v.and(upper, bit)),
    ]
}

/// Returns the quants of a block of six bits.
#[inline(always)]
pub(super) fn six<V: Vectors>(v: V, row: Row, piece: Piece, at: usize) -> [V::Ints; 2] {
    const SHIFTS: [u32; LANES] = shifts(2);
    let upper = row.block::<2>(LOW * row.blocks, piece, at);
    let bits = v.splat_int(48);
    let first = v.shr_each(v.splat_int(upper[0]), &SHIFTS);
    let second = v.shr_each(v.splat_int(upper[1]), &SHIFTS);
    let [low, high] = four(v, row, piece, at);
    [
        v.or(low, v.and(v.shl::<4>(first), bits)),
        v.or(high, v.and(v.shl::<4>(second), bits)),
    ]
}

/// Converts quants.
#[inline(always)]
pub(super) fn to_floats<V: Vectors>(v: V, [low, high]: [V::Ints; 2]) -> [V::Floats; 2] {
    [v.to_floats(low), v.to_floats(high)]
}

/// Converts quants less the one that stands for zero.
#[inline(always)]
pub(super) fn less<V: Vectors>(v: V, [low, high]: [V::Ints; 2], zero: u32) -> [V::Floats; 2] {
    let zero = v.splat_int(zero);
    to_floats(v, [v.sub(low, zero), v.sub(high, zero)])
}
