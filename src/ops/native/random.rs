//! Counter-based random numbers, bit for bit those of shaders/shared/random.wgsl.

/// The PCG hash of M. Jarzynski and M. Olano, "Hash Functions for GPU Rendering", Journal of
/// Computer Graphics Techniques 9 (2020).
#[inline(always)]
fn pcg(input: u32) -> u32 {
    let state = input.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

/// Returns 32 random bits: a pure function of the seed, which changes with every step, the site
/// that draws, and the index of the draw.
#[inline(always)]
pub fn random_bits(seed: u32, site: u32, index: u32) -> u32 {
    pcg(pcg(index).wrapping_add(pcg(site.wrapping_add(pcg(seed)))))
}

/// Returns the dropout factor of element `index`: 0 with probability `p`, else `1 / (1 - p)`.
#[inline(always)]
pub fn keep(seed: u32, site: u32, index: u32, p: f32) -> f32 {
    const UNIT: f32 = 1.0 / (1 << 24) as f32;
    // 24 bits are exact in f32, and vectors convert from i32 in one instruction
    let draw = (random_bits(seed, site, index) >> 8) as i32 as f32 * UNIT;
    if draw >= p { 1.0 / (1.0 - p) } else { 0.0 }
}
