//! Bilinear resizing, bit for bit as in PIL (`Image.resize` with `BILINEAR`).

use super::picture::Picture;

impl Picture {
    /// Stretches the picture to a square. Gives the same bits as PIL's bilinear filter, which is
    /// antialiased when shrinking.
    pub fn resize(&self, side: usize) -> Picture {
        self.stretched(side, side)
    }

    /// Stretches the picture to the given size.
    pub(super) fn stretched(&self, width: usize, height: usize) -> Picture {
        if (self.width, self.height) == (width, height) {
            return self.clone();
        }
        let across = Taps::new(self.width, width);
        let mut wide = vec![0; self.height * width * 3];
        for (row, out) in self
            .rgb
            .chunks_exact(3 * self.width)
            .zip(wide.chunks_exact_mut(3 * width))
        {
            for (x, pixel) in out.chunks_exact_mut(3).enumerate() {
                across.apply(x, pixel, |i, channel| row[3 * i + channel]);
            }
        }
        let down = Taps::new(self.height, height);
        let mut rgb = vec![0; width * height * 3];
        for (y, out) in rgb.chunks_exact_mut(3 * width).enumerate() {
            for (x, pixel) in out.chunks_exact_mut(3).enumerate() {
                down.apply(y, pixel, |i, channel| wide[3 * (i * width + x) + channel]);
            }
        }
        Picture { width, height, rgb }
    }
}

/// Weights of the triangle filter along one axis, in PIL's fixed point.
struct Taps {
    /// First input and weights of the inputs from there, for each output.
    places: Vec<(usize, Vec<i32>)>,
}

/// Fractional bits of a weight: 32, less 8 for the value and 2 for overshoot.
const PRECISION: u32 = 32 - 8 - 2;

impl Taps {
    fn new(input: usize, output: usize) -> Taps {
        let scale = input as f64 / output as f64;
        // shrinking widens the triangle, so that every input counts
        let support = scale.max(1.0);
        let places = (0..output).map(|place| {
            let centre = (place as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(input);
            let triangle = |i: usize| (1.0 - ((i as f64 - centre + 0.5) / support).abs()).max(0.0);
            let weights: Vec<f64> = (first..last).map(triangle).collect();
            let total: f64 = weights.iter().sum();
            let fixed = |weight: f64| (weight / total * (1u32 << PRECISION) as f64 + 0.5) as i32;
            (first, weights.into_iter().map(fixed).collect())
        });
        Taps {
            places: places.collect(),
        }
    }

    fn apply(&self, place: usize, out: &mut [u8], input: impl Fn(usize, usize) -> u8) {
        let (first, weights) = &self.places[place];
        for (channel, out) in out.iter_mut().enumerate() {
            let sum: i32 = weights
                .iter()
                .enumerate()
                .map(|(i, weight)| input(first + i, channel) as i32 * weight)
                .sum();
            *out = ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn matches_pytorch() {
        let dir = std::env::var("SEEMORE_GOLDEN").unwrap_or("tests/golden".into());
        let mut checked = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_none_or(|extension| extension != "safetensors")
            {
                continue;
            }
            let bytes = std::fs::read(path).unwrap();
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            // only some recordings hold pictures to resize
            let Ok(raw) = tensors.tensor("preproc.raw_u8") else {
                continue;
            };
            let picture = Picture {
                width: raw.shape()[1],
                height: raw.shape()[0],
                rgb: raw.data().to_vec(),
            };
            for side in [32, 96] {
                let resized = picture.resize(side);
                assert_eq!(
                    resized.rgb,
                    tensors
                        .tensor(&format!("preproc.resized{side}_u8"))
                        .unwrap()
                        .data(),
                    "{side}"
                );
                let want: Vec<f32> = bytemuck::pod_collect_to_vec(
                    tensors
                        .tensor(&format!("preproc.normalised{side}"))
                        .unwrap()
                        .data(),
                );
                for (got, want) in resized.normalised().iter().zip(want) {
                    assert!((got - want).abs() < 1e-6, "{got} {want}");
                }
            }
            checked += 1;
        }
        assert!(checked > 0 || std::env::var("SEEMORE_GOLDEN").is_ok());
    }
}
