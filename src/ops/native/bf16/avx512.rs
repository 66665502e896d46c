//! Blocks by vectors of bf16: AVX-512 BF16.

use std::arch::x86_64::*;

use super::{BLOCK, LANES, Sums};

/// Returns whether the processor has the instructions and they are faster than those of f32.
///
/// AMD's do two multiplications in the time of one. Intel's take twice as long as those of f32
/// (<https://uops.info>, VDPBF16PS).
pub fn available() -> bool {
    is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw") && is_amd()
}

fn is_amd() -> bool {
    let vendor = __cpuid(0);
    let name = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
    name.as_flattened() == b"AuthenticAMD"
}

/// Computes a block; see [`Multiplier::transposed`](super::Multiplier::transposed), which checks the
/// lengths.
#[inline]
#[allow(unsafe_code)]
pub fn transposed(weights: &[u32], panels: &[u32], pairs: usize, to: &mut [f32], row: usize) {
    // SAFETY: the instructions are available; 32 rows of `pairs` words are in `weights`, two panels
    // in `panels`
    unsafe {
        // 24 of 32 registers hold sums, the last time 16
        rows::<12>(weights, panels, pairs, to, row);
        rows::<12>(
            &weights[12 * pairs..],
            panels,
            pairs,
            &mut to[12 * row..],
            row,
        );
        rows::<8>(
            &weights[24 * pairs..],
            panels,
            pairs,
            &mut to[24 * row..],
            row,
        );
    }
}

/// Computes the sums of some rows of weights with two panels.
#[target_feature(enable = "avx512f,avx512bf16")]
#[allow(unsafe_code)]
fn rows<const ROWS: usize>(
    weights: &[u32],
    panels: &[u32],
    pairs: usize,
    to: &mut [f32],
    stride: usize,
) {
    let mut left = [_mm512_setzero_ps(); ROWS];
    let mut right = [_mm512_setzero_ps(); ROWS];
    let (first, second) = panels.split_at(pairs * LANES);
    let (first, second) = (first.as_chunks::<LANES>().0, second.as_chunks::<LANES>().0);
    let each: [&[u32]; ROWS] = std::array::from_fn(|row| &weights[row * pairs..][..pairs]);
    for pair in 0..pairs {
        // SAFETY: vectors of 16 words
        let (a, b): (__m512bh, __m512bh) = unsafe {
            (
                std::mem::transmute::<[u32; LANES], __m512bh>(first[pair]),
                std::mem::transmute::<[u32; LANES], __m512bh>(second[pair]),
            )
        };
        for row in 0..ROWS {
            // SAFETY: of the same size
            let weight: __m512bh =
                unsafe { std::mem::transmute(_mm512_set1_epi32(each[row][pair] as i32)) };
            left[row] = _mm512_dpbf16_ps(left[row], a, weight);
            right[row] = _mm512_dpbf16_ps(right[row], b, weight);
        }
    }
    for row in 0..ROWS {
        let sums = &mut to[row * stride..][..BLOCK];
        // SAFETY: 32 sums
        unsafe {
            _mm512_storeu_ps(sums.as_mut_ptr(), left[row]);
            _mm512_storeu_ps(sums[LANES..].as_mut_ptr(), right[row]);
        }
    }
}

/// Transposes 32 by 32 sums.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
pub fn transpose(from: &Sums, to: &mut Sums) {
    for top in [0, LANES] {
        for left in [0, LANES] {
            // SAFETY: 16 sums from there on
            let row =
                |i: usize| unsafe { _mm512_loadu_ps(from[(top + i) * BLOCK + left..].as_ptr()) };
            let columns = square(std::array::from_fn(row));
            for (j, column) in columns.into_iter().enumerate() {
                let to = &mut to[(left + j) * BLOCK + top..][..LANES];
                // SAFETY: 16 sums
                unsafe { _mm512_storeu_ps(to.as_mut_ptr(), column) };
            }
        }
    }
}

/// Transposes 16 by 16 lanes: pairs of lanes, of pairs, of quarters and of halves are exchanged.
#[target_feature(enable = "avx512f")]
#[inline]
fn square(rows: [__m512; 16]) -> [__m512; 16] {
    let zero = _mm512_setzero_ps();
    let (mut ones, mut twos, mut fours, mut all) = ([zero; 16], [zero; 16], [zero; 16], [zero; 16]);
    for i in 0..8 {
        ones[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        ones[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    for i in 0..4 {
        let of = |i: usize| _mm512_castps_pd(ones[i]);
        let low = |a, b| _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
        let high = |a, b| _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        let (a, b, c, d) = (of(4 * i), of(4 * i + 2), of(4 * i + 1), of(4 * i + 3));
        (twos[4 * i], twos[4 * i + 1]) = (low(a, b), high(a, b));
        (twos[4 * i + 2], twos[4 * i + 3]) = (low(c, d), high(c, d));
    }
    // 0x88 takes the quarters 0 and 2 of both, 0xdd the quarters 1 and 3
    for i in 0..4 {
        fours[i] = _mm512_shuffle_f32x4(twos[i], twos[4 + i], 0x88);
        fours[4 + i] = _mm512_shuffle_f32x4(twos[i], twos[4 + i], 0xdd);
        fours[8 + i] = _mm512_shuffle_f32x4(twos[8 + i], twos[12 + i], 0x88);
        fours[12 + i] = _mm512_shuffle_f32x4(twos[8 + i], twos[12 + i], 0xdd);
    }
    for i in 0..4 {
        all[i] = _mm512_shuffle_f32x4(fours[i], fours[8 + i], 0x88);
        all[8 + i] = _mm512_shuffle_f32x4(fours[i], fours[8 + i], 0xdd);
        all[4 + i] = _mm512_shuffle_f32x4(fours[4 + i], fours[12 + i], 0x88);
        all[12 + i] = _mm512_shuffle_f32x4(fours[4 + i], fours[12 + i], 0xdd);
    }
    all
}
