//! Scales and minimums of the formats with blocks of 256 columns: eight of six bits each, times an
//! f16 scale and an f16 minimum.

use super::halves;
use crate::ops::native::vectors::{LANES, Vectors};

/// Blocks of 32 columns in one of 256.
pub(super) const BLOCKS: usize = 8;
/// Words for the scales of eight blocks.
pub(super) const WORDS: usize = 4;
/// Bytes of a file's block that hold them: f16 scale, f16 minimum, and 12 bytes.
pub(super) const BYTES: usize = 16;

/// Returns the four words of a file's scales.
///
/// The file has the first four scales in the lower six bits of bytes 0 to 3, the first four
/// minimums in those of bytes 4 to 7, the lower four bits of the others in bytes 8 to 11, scale
/// first, and their upper two bits in the upper bits of bytes 0 to 7.
pub(super) fn repack(bytes: &[u8]) -> [u32; WORDS] {
    let packed = &bytes[4..BYTES];
    let mut words = [
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        0,
        0,
        0,
    ];
    for at in 0..BLOCKS {
        let (scale, minimum) = match at {
            0..4 => (packed[at] & 63, packed[at + 4] & 63),
            _ => (
                packed[at + 4] & 15 | packed[at - 4] >> 6 << 4,
                packed[at + 4] >> 4 | packed[at] >> 6 << 4,
            ),
        };
        words[1] |= u32::from(scale & 15) << (4 * at);
        words[2] |= u32::from(minimum & 15) << (4 * at);
        words[3] |= u32::from(scale >> 4) << (2 * at) | u32::from(minimum >> 4) << (16 + 2 * at);
    }
    words
}

/// Writes scales and offsets of eight blocks, given the words of all.
#[inline(always)]
pub(super) fn decode<V: Vectors>(
    v: V,
    words: &[u32],
    piece: usize,
    scales: &mut [f32; LANES],
    offsets: &mut [f32; LANES],
) {
    // lanes 0 to 7 are scales, 8 to 15 minimums; a shift by 32 leaves nothing
    const SCALES: [u32; LANES] = [0, 4, 8, 12, 16, 20, 24, 28, 32, 32, 32, 32, 32, 32, 32, 32];
    const MINIMUMS: [u32; LANES] = [32, 32, 32, 32, 32, 32, 32, 32, 0, 4, 8, 12, 16, 20, 24, 28];
    const UPPER: [u32; LANES] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
    let &[pair, low_scales, low_minimums, upper] = &words.as_chunks::<WORDS>().0[piece];
    let low = v.or(
        v.shr_each(v.splat_int(low_scales), &SCALES),
        v.shr_each(v.splat_int(low_minimums), &MINIMUMS),
    );
    let upper = v.shr_each(v.splat_int(upper), &UPPER);
    let six = v.or(
        v.and(low, v.splat_int(15)),
        v.and(v.shl::<4>(upper), v.splat_int(48)),
    );
    let six = v.to_floats(six);
    v.store(v.mul(v.splat(halves::value(pair as u16)), six), scales);
    let mut minimums = [0.0; LANES];
    let minimum = -halves::value((pair >> 16) as u16);
    v.store(v.mul(v.splat(minimum), six), &mut minimums);
    offsets[..BLOCKS].copy_from_slice(&minimums[BLOCKS..]);
}
