//! Scales and minimums of the formats with blocks of 256 columns: eight of six bits each, times an
//! f16 scale and an f16 minimum.

use super::f16::f32_of_half;

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

/// Writes scales and offsets of the blocks from block `first` on, given the words of all.
#[inline(always)]
pub(super) fn decode(words: &[u32], first: usize, scales: &mut [f32], offsets: &mut [f32]) {
    let mut done = 0;
    while done < scales.len() {
        let (eight, at) = ((first + done) / BLOCKS, (first + done) % BLOCKS);
        let &[pair, low_scales, low_minimums, upper] = &words.as_chunks::<WORDS>().0[eight];
        let (scale, minimum) = (f32_of_half(pair as u16), f32_of_half((pair >> 16) as u16));
        let (mut all_scales, mut all_offsets) = ([0.0; BLOCKS], [0.0; BLOCKS]);
        for at in 0..BLOCKS as u32 {
            let factor = low_scales >> (4 * at) & 15 | (upper >> (2 * at) & 3) << 4;
            let times = low_minimums >> (4 * at) & 15 | (upper >> (16 + 2 * at) & 3) << 4;
            all_scales[at as usize] = scale * factor as i32 as f32;
            all_offsets[at as usize] = -minimum * times as i32 as f32;
        }
        let count = (BLOCKS - at).min(scales.len() - done);
        scales[done..][..count].copy_from_slice(&all_scales[at..][..count]);
        offsets[done..][..count].copy_from_slice(&all_offsets[at..][..count]);
        done += count;
    }
}
