//! Small random changes, so that training never sees a picture twice in the same way.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Sample;
use super::picture::normalise;

/// How far each change goes. All are drawn uniformly; a drawing keeps its meaning under each of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Augment {
    /// Factors of size, least and most.
    pub scale: (f32, f32),
    /// Most factor of width over height, either way.
    pub aspect: f32,
    /// Most shift, as a share of the side.
    pub shift: f32,
    /// Most turn, in degrees.
    pub rotate: f32,
    /// Most change of hue, as a turn of the colour circle in degrees.
    pub hue: f32,
    /// Factors of saturation, least and most.
    pub saturation: (f32, f32),
    /// Factors of contrast, least and most.
    pub contrast: (f32, f32),
    /// Most change of brightness, as a share of white.
    pub brightness: f32,
}

impl Augment {
    /// No change at all.
    pub const fn none() -> Augment {
        Augment {
            scale: (1.0, 1.0),
            aspect: 1.0,
            shift: 0.0,
            rotate: 0.0,
            hue: 0.0,
            saturation: (1.0, 1.0),
            contrast: (1.0, 1.0),
            brightness: 0.0,
        }
    }

    /// Changes that the same drawing might have by another hand.
    pub const fn light() -> Augment {
        Augment {
            scale: (0.75, 1.1),
            aspect: 1.1,
            shift: 0.08,
            rotate: 12.0,
            hue: 8.0,
            saturation: (0.6, 1.3),
            contrast: (0.8, 1.15),
            brightness: 0.06,
        }
    }

    /// The sample's picture as model input `[3, side, side]`, changed by what (seed, step, draw) decide.
    pub fn apply(&self, sample: &Sample, side: usize, seed: u64, step: u64, draw: u64) -> Vec<f32> {
        if *self == Augment::none() {
            return normalise(&sample.rgb);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6175_676d_656e_7400);
        rng.set_stream(step.wrapping_mul(1 << 20).wrapping_add(draw));
        let mut uniform = |least: f32, most: f32| least + (most - least) * (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32;

        let scale = uniform(self.scale.0, self.scale.1);
        let aspect = uniform(-1.0, 1.0) * self.aspect.ln();
        let angle = uniform(-self.rotate, self.rotate).to_radians();
        let shift = [(); 2].map(|()| uniform(-self.shift, self.shift) * side as f32);
        // the place in the old picture that a place in the new one shows
        let (sin, cos) = angle.sin_cos();
        let (across, down) = (1.0 / (scale * (aspect / 2.0).exp()), 1.0 / (scale * (-aspect / 2.0).exp()));
        let middle = (side as f32 - 1.0) / 2.0;
        let source = |x: usize, y: usize| {
            let (dx, dy) = (x as f32 - middle - shift[0], y as f32 - middle - shift[1]);
            (middle + across * (cos * dx + sin * dy), middle + down * (cos * dy - sin * dx))
        };

        let colour = Colour::new(
            uniform(-self.hue, self.hue).to_radians(),
            uniform(self.saturation.0, self.saturation.1),
            uniform(self.contrast.0, self.contrast.1),
            255.0 * uniform(-self.brightness, self.brightness),
        );
        let mut rgb = vec![0; sample.rgb.len()];
        for y in 0..side {
            for x in 0..side {
                let pixel = colour.apply(bilinear(&sample.rgb, side, source(x, y)));
                rgb[3 * (y * side + x)..][..3].copy_from_slice(&pixel.map(|v| v.round().clamp(0.0, 255.0) as u8));
            }
        }
        normalise(&rgb)
    }
}

/// The colour at a place between pixels; white outside the picture.
fn bilinear(rgb: &[u8], side: usize, (x, y): (f32, f32)) -> [f32; 3] {
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (x - left, y - top);
    let mut sum = [0.0; 3];
    for (dx, dy, weight) in [(0, 0, (1.0 - fx) * (1.0 - fy)), (1, 0, fx * (1.0 - fy)), (0, 1, (1.0 - fx) * fy), (1, 1, fx * fy)] {
        let (x, y) = (left as i32 + dx, top as i32 + dy);
        let inside = (0..side as i32).contains(&x) && (0..side as i32).contains(&y);
        for (channel, sum) in sum.iter_mut().enumerate() {
            *sum += weight * if inside { rgb[3 * (y as usize * side + x as usize) + channel] as f32 } else { 255.0 };
        }
    }
    sum
}

/// A linear map of colours around mid grey.
struct Colour {
    matrix: [[f32; 3]; 3],
    offset: f32,
}

impl Colour {
    /// Turns hue about the grey axis (Rodrigues' formula), then scales the distance from grey, then contrast and brightness.
    fn new(hue: f32, saturation: f32, contrast: f32, brightness: f32) -> Colour {
        let (sin, cos) = hue.sin_cos();
        let (third, root) = ((1.0 - cos) / 3.0, sin / 3f32.sqrt());
        let turn = [
            [cos + third, third - root, third + root],
            [third + root, cos + third, third - root],
            [third - root, third + root, cos + third],
        ];
        let matrix = turn.map(|row| row.map(|v| contrast * (saturation * v + (1.0 - saturation) / 3.0)));
        // white stays white under contrast, as paper does
        Colour { matrix, offset: 255.0 * (1.0 - contrast) + brightness }
    }

    fn apply(&self, rgb: [f32; 3]) -> [f32; 3] {
        self.matrix.map(|row| row.iter().zip(rgb).map(|(a, b)| a * b).sum::<f32>() + self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(side: usize) -> Sample {
        let rgb = (0..side * side * 3).map(|i| (i * 7 % 256) as u8).collect();
        Sample::new("test", rgb, "")
    }

    #[test]
    fn without_changes_the_picture_is_its_normalised_self() {
        let sample = sample(8);
        assert_eq!(Augment::none().apply(&sample, 8, 1, 2, 3), normalise(&sample.rgb));
        let nearly = Augment { rotate: 1e-9, ..Augment::none() };
        let off = nearly.apply(&sample, 8, 1, 2, 3).iter().zip(normalise(&sample.rgb)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 0.02, "{off}");
    }

    #[test]
    fn draws_are_reproducible_and_differ() {
        let sample = sample(16);
        let draw = |seed, step, draw| Augment::light().apply(&sample, 16, seed, step, draw);
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        assert_ne!(draw(1, 2, 3), draw(1, 2, 4));
        assert_ne!(draw(1, 2, 3), draw(1, 3, 3));
        assert_ne!(draw(1, 2, 3), draw(2, 2, 3));
    }

    #[test]
    fn grey_keeps_no_colour_and_white_stays_white_under_contrast() {
        let colour = Colour::new(1.0, 0.5, 1.0, 0.0);
        let grey = colour.apply([90.0; 3]);
        assert!(grey.iter().all(|v| (v - 90.0).abs() < 1e-3), "{grey:?}");
        let white = Colour::new(0.3, 1.2, 0.8, 0.0).apply([255.0; 3]);
        assert!(white.iter().all(|v| (v - 255.0).abs() < 1e-2), "{white:?}");
    }
}
