//! Random numbers of augmentation.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The random numbers of one picture, determined by (seed, step, draw).
pub struct Draws(ChaCha8Rng);

impl Draws {
    pub fn new(seed: u64, step: u64, draw: u64) -> Draws {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6175_676d_656e_7400);
        rng.set_stream(step.wrapping_mul(1 << 20).wrapping_add(draw));
        Draws(rng)
    }

    /// Returns a number between `min` and `max`.
    pub fn uniform(&mut self, min: f32, max: f32) -> f32 {
        min + (max - min) * (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Returns true with the given probability.
    pub fn happens(&mut self, probability: f32) -> bool {
        self.uniform(0.0, 1.0) < probability
    }

    /// Returns an integer from 0 to `end - 1`.
    pub fn below(&mut self, end: usize) -> usize {
        ((self.0.next_u32() as u64 * end as u64) >> 32) as usize
    }

    /// Returns a nearly normal number of mean 0 and standard deviation 1: the scaled sum of four
    /// uniform bytes, whose absolute value never exceeds 3.5.
    pub fn normal(&mut self) -> f32 {
        // each byte has the variance (256^2 - 1) / 12
        const STD: f32 = 147.800_5;
        let sum: i32 = self
            .0
            .next_u32()
            .to_le_bytes()
            .into_iter()
            .map(i32::from)
            .sum();
        (sum - 510) as f32 / STD
    }
}
