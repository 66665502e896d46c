// Counter-based random numbers: a pure function of (seed, site, index), so that a mask is
// recomputed instead of stored. The seed changes with every step; the site is different for every
// place in the model that draws.

// The PCG hash of M. Jarzynski and M. Olano, "Hash Functions for GPU Rendering", Journal of
// Computer Graphics Techniques 9 (2020).
fn pcg(input: u32) -> u32 {
    let state = input * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

// 32 random bits. Hashing the index before the key is added keeps masks of two sites from being
// shifts of each other.
fn random_bits(seed: u32, site: u32, index: u32) -> u32 {
    return pcg(pcg(index) + pcg(site + pcg(seed)));
}

// Dropout factor of element `index`: 0 with probability p, else 1 / (1 - p).
fn keep(seed: u32, site: u32, index: u32, p: f32) -> f32 {
    // 24 bits are exact in f32
    return select(0.0, 1.0 / (1.0 - p), f32(random_bits(seed, site, index) >> 8u) * 0x1p-24 >= p);
}
