//! Weights for checks and benchmarks.

use super::{Encoding, EncodingError};
use crate::ops::check::random_f32;

impl Encoding {
    /// Returns the words of reproducible weights between -2 and 2, some with subnormal scales.
    ///
    /// # Errors
    /// If a row is not a whole number of blocks.
    pub(crate) fn sample(
        self,
        rows: usize,
        cols: usize,
        seed: u64,
    ) -> Result<Vec<u32>, EncodingError> {
        let mut words = vec![0; rows * self.row_words(cols)?];
        if self.block() == 1 {
            let values = random_f32(rows * cols, seed);
            self.encode(&values, cols, &mut words)?;
            return Ok(words);
        }
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut byte = || {
            // xorshift64 (Marsaglia 2003)
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as u8
        };
        let count = rows * self.row_bytes(cols)?;
        let mut bytes: Vec<u8> = (0..count).map(|_| byte()).collect();
        // places of the halves of a block, and the exponent that keeps weights below 2
        let (halves, exponent): (&[usize], u8) = match self {
            Encoding::Q4_0 => (&[0], 12),
            Encoding::Q5_0 => (&[0], 11),
            Encoding::Q4_1 => (&[0, 2], 11),
            Encoding::Q5_1 => (&[0, 2], 10),
            Encoding::Q4K | Encoding::Q5K => (&[0, 2], 5),
            Encoding::Q6K => (&[208], 4),
            _ => (&[0], 8),
        };
        for (at, block) in bytes.chunks_mut(self.block_bytes()).enumerate() {
            for &half in halves {
                let exponent = if at % 7 == 3 { 0 } else { exponent };
                block[half + 1] = block[half + 1] & 0x83 | exponent << 2;
            }
        }
        self.from_ggml(&bytes, cols, &mut words)?;
        Ok(words)
    }
}
