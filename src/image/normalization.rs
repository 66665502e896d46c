//! Pixels as the input of a pretrained image encoder.

/// Conversion of pixel values to the range that an encoder was trained on: each value times
/// `scale`, less the channel's mean, divided by its standard deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// Factor of the values 0 to 255, usually 1/255.
    pub scale: f64,
    /// Mean by channel.
    pub mean: [f32; 3],
    /// Standard deviation by channel.
    pub std: [f32; 3],
}

impl Normalization {
    /// Scales to 0..=1 and changes nothing else.
    pub const UNIT: Normalization = Normalization {
        scale: 1.0 / 255.0,
        mean: [0.0; 3],
        std: [1.0; 3],
    };

    /// Converts pixels `[height, width, 3]` to planes `[3, height, width]`, in the precision of
    /// Hugging Face's processors: the product in 64 bits, the rest in 32.
    pub fn apply(&self, rgb: &[u8]) -> Vec<f32> {
        let mut planes = vec![0.0; rgb.len()];
        for (channel, plane) in planes.chunks_exact_mut((rgb.len() / 3).max(1)).enumerate() {
            let value = |byte: usize| {
                let scaled = (byte as f64 * self.scale) as f32;
                (scaled - self.mean[channel]) / self.std[channel]
            };
            let table: [f32; 256] = std::array::from_fn(value);
            for (out, pixel) in plane.iter_mut().zip(rgb.chunks_exact(3)) {
                *out = table[usize::from(pixel[channel])];
            }
        }
        planes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_hold_normalised_channels() {
        let normalization = Normalization {
            scale: 1.0 / 255.0,
            mean: [0.5, 0.0, 0.2],
            std: [0.5, 1.0, 0.1],
        };
        let planes = normalization.apply(&[255, 0, 51, 0, 255, 0]);
        let want = [1.0, -1.0, 0.0, 1.0, 0.0, -2.0];
        assert!(
            planes
                .iter()
                .zip(want)
                .all(|(got, want)| (got - want).abs() < 1e-6)
        );
        assert!(Normalization::UNIT.apply(&[]).is_empty());
    }

    #[test]
    fn unit_values_are_correctly_rounded_quotients() {
        let grey: Vec<u8> = (0..=255).flat_map(|value| [value; 3]).collect();
        let planes = Normalization::UNIT.apply(&grey);
        assert!(
            planes
                .iter()
                .enumerate()
                .all(|(i, got)| *got == (i % 256) as f32 / 255.0)
        );
    }
}
