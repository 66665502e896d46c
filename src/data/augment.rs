//! Small random changes, so that training never sees a picture twice in the same way.

mod outline;
mod words;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Sample;
use crate::image::{Bounds, normalise};
use outline::Outline;

/// How far each change goes. All are drawn uniformly; a drawing keeps its meaning under each of them. In a file, what is left out does not
/// change.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Whether the caption limits what is done: no mirror images of writing and directions, and nearly its own colours for what is called
    /// by a colour.
    pub by_caption: bool,
    /// Fits the drawing into the picture first, so that its size there tells nothing, with this share of it as margin.
    pub crop: Option<f32>,
    /// Factors of size, least and most.
    pub scale: (f32, f32),
    /// Most factor of width over height, either way.
    pub aspect: f32,
    /// Most shift, as a share of the side.
    pub shift: f32,
    /// Most turn, in degrees.
    pub rotate: f32,
    /// Probability of the mirror image.
    pub flip: f32,
    /// Most change of hue, as a turn of the colour circle in degrees.
    pub hue: f32,
    /// With this probability, this change of hue at most instead.
    pub rare_hue: (f32, f32),
    /// Factors of saturation, least and most.
    pub saturation: (f32, f32),
    /// Probability of no colour at all.
    pub grey: f32,
    /// Factors of contrast, least and most.
    pub contrast: (f32, f32),
    /// Most change of brightness, as a share of white.
    pub brightness: f32,
    /// Probability of dark lines where the drawing's colours meet.
    pub outline: f32,
    /// Most exponent of the values from 0 to 1, either way: 1.2 is from 1 / 1.2 to 1.2.
    pub gamma: f32,
    /// Most deviation of noise, as a share of white.
    pub noise: f32,
    /// Probability of a rectangle over the picture, half of the time white, else of one random colour.
    pub erase: f32,
    /// Its width and height, least and most, as shares of the side.
    pub erase_side: (f32, f32),
    /// Probability of another picture showing through.
    pub mix: f32,
    /// The picture's own share then, least and most. At least one half, since the caption is its own.
    pub mix_share: (f32, f32),
}

/// Named choices of [`Augment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Strength {
    /// Every picture as it is.
    None,
    /// A little of size, place, turn and tint.
    Light,
    /// More of these, mirror images, grey, outlines, gamma and noise, as far as the caption allows.
    Strong,
}

impl Default for Augment {
    fn default() -> Augment {
        Augment::none()
    }
}

impl From<Strength> for Augment {
    fn from(strength: Strength) -> Augment {
        match strength {
            Strength::None => Augment::none(),
            Strength::Light => Augment::light(),
            Strength::Strong => Augment::strong(),
        }
    }
}

impl Augment {
    /// No change at all.
    pub const fn none() -> Augment {
        Augment {
            by_caption: false,
            crop: None,
            scale: (1.0, 1.0),
            aspect: 1.0,
            shift: 0.0,
            rotate: 0.0,
            flip: 0.0,
            hue: 0.0,
            rare_hue: (0.0, 0.0),
            saturation: (1.0, 1.0),
            grey: 0.0,
            contrast: (1.0, 1.0),
            brightness: 0.0,
            outline: 0.0,
            gamma: 1.0,
            noise: 0.0,
            erase: 0.0,
            erase_side: (0.15, 0.4),
            mix: 0.0,
            mix_share: (0.7, 1.0),
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
            ..Augment::none()
        }
    }

    /// Changes for long runs, which should not learn one artist's colours and places.
    pub const fn strong() -> Augment {
        Augment {
            by_caption: true,
            scale: (0.77, 1.23),
            aspect: 1.15,
            shift: 0.12,
            rotate: 15.0,
            flip: 0.4,
            hue: 14.3,
            rare_hue: (0.1, 90.0),
            saturation: (0.4, 1.6),
            grey: 0.12,
            contrast: (0.75, 1.2),
            outline: 0.35,
            gamma: 1.42,
            noise: 0.06,
            ..Augment::none()
        }
    }

    /// What is wrong with numbers that somebody wrote.
    pub fn check(&self) -> Result<(), String> {
        let probabilities = [
            ("flip", self.flip),
            ("rare_hue", self.rare_hue.0),
            ("grey", self.grey),
            ("outline", self.outline),
        ];
        for (name, value) in probabilities
            .into_iter()
            .chain([("erase", self.erase), ("mix", self.mix)])
        {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{name}: {value} is no probability"));
            }
        }
        let sizes = [
            ("shift", self.shift),
            ("rotate", self.rotate),
            ("hue", self.hue),
            ("rare_hue", self.rare_hue.1),
        ];
        let sizes = sizes.into_iter().chain([
            ("brightness", self.brightness),
            ("noise", self.noise),
            ("crop", self.crop.unwrap_or(0.0)),
        ]);
        for (name, value) in sizes {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(format!("{name}: {value} must be 0 or more"));
            }
        }
        for (name, value) in [("aspect", self.aspect), ("gamma", self.gamma)] {
            if !(value >= 1.0 && value.is_finite()) {
                return Err(format!("{name}: {value} must be 1 or more"));
            }
        }
        // the least and the most that each range may reach
        let ranges = [
            ("scale", self.scale, (0.05, 20.0)),
            ("saturation", self.saturation, (0.0, 100.0)),
            ("contrast", self.contrast, (0.0, 100.0)),
            ("erase_side", self.erase_side, (0.0, 1.0)),
            ("mix_share", self.mix_share, (0.5, 1.0)),
        ];
        for (name, (least, most), (from, to)) in ranges {
            if !(from <= least && least <= most && most <= to) {
                return Err(format!(
                    "{name}: {least} to {most} must lie between {from} and {to}, the least first"
                ));
            }
        }
        Ok(())
    }

    /// As much of it as a sample's caption allows, and the captions of its concept's variants where it has any: what makes a variant may
    /// not come by chance, and neighbouring tones of two artists lie closer than those of one.
    fn limited(self, sample: &Sample) -> Augment {
        let caption = &sample.caption;
        let mut it = self;
        if it.by_caption && (sample.varies || words::names_tone(caption)) {
            it.hue = it.hue.min(0.6);
            (it.rare_hue.0, it.grey) = (0.0, 0.0);
            it.saturation = (
                it.saturation.0.clamp(0.96, 1.04),
                it.saturation.1.clamp(0.96, 1.04),
            );
            it.contrast = (
                it.contrast.0.clamp(0.98, 1.02),
                it.contrast.1.clamp(0.98, 1.02),
            );
            it.gamma = it.gamma.min(1.02);
        }
        if it.by_caption && !words::may_flip(caption) {
            it.flip = 0.0;
        }
        if it.by_caption && words::names_colour(caption) {
            it.hue = it.hue.min(8.0);
            (it.rare_hue.0, it.grey) = (0.0, 0.0);
            it.saturation = (
                it.saturation.0.clamp(0.8, 1.25),
                it.saturation.1.clamp(0.8, 1.25),
            );
            it.contrast = (
                it.contrast.0.clamp(0.88, 1.12),
                it.contrast.1.clamp(0.88, 1.12),
            );
            it.gamma = it.gamma.min(1.16);
        }
        it
    }

    /// Which of `samples` samples shows through the picture of (seed, step, draw), if one does.
    pub fn partner(&self, samples: usize, seed: u64, step: u64, draw: u64) -> Option<usize> {
        let mut dice = Dice::new(seed ^ PARTNER, step, draw);
        (self.mix > 0.0 && dice.happens(self.mix)).then(|| dice.below(samples))
    }

    /// The sample's picture as model input `[3, side, side]`, changed by what (seed, step, draw) decide, with a second sample's showing
    /// through, if there is one: its [`partner`](Self::partner).
    pub fn apply(
        &self,
        sample: &Sample,
        second: Option<&Sample>,
        side: usize,
        seed: u64,
        step: u64,
        draw: u64,
    ) -> Vec<f32> {
        if *self == Augment::none() {
            return normalise(&sample.rgb);
        }
        let mut rgb = self
            .limited(sample)
            .change(&sample.rgb, side, Dice::new(seed, step, draw));
        if let Some(second) = second {
            let mut dice = Dice::new(seed ^ SECOND, step, draw);
            let share = dice.uniform(self.mix_share.0, self.mix_share.1);
            let other = self.limited(second).change(&second.rgb, side, dice);
            for (value, other) in rgb.iter_mut().zip(other) {
                *value = (share * *value as f32 + (1.0 - share) * other as f32).round() as u8;
            }
        }
        normalise(&rgb)
    }

    /// A changed picture `[side, side, 3]`.
    fn change(&self, rgb: &[u8], side: usize, mut dice: Dice) -> Vec<u8> {
        // the order of the draws down to brightness is part of what a seed means
        let scale = dice.uniform(self.scale.0, self.scale.1);
        let aspect = dice.uniform(-1.0, 1.0) * self.aspect.ln();
        let angle = dice.uniform(-self.rotate, self.rotate).to_radians();
        let shift = [(); 2].map(|()| dice.uniform(-self.shift, self.shift) * side as f32);
        let mut hue = dice.uniform(-self.hue, self.hue);
        let mut saturation = dice.uniform(self.saturation.0, self.saturation.1);
        let contrast = dice.uniform(self.contrast.0, self.contrast.1);
        let brightness = dice.uniform(-self.brightness, self.brightness);
        let flip = dice.happens(self.flip);
        if dice.happens(self.rare_hue.0) {
            hue = dice.uniform(-self.rare_hue.1, self.rare_hue.1);
        }
        if dice.happens(self.grey) {
            saturation = 0.0;
        }
        let gamma = (dice.uniform(-1.0, 1.0) * self.gamma.ln()).exp();
        let noise = 255.0 * dice.uniform(0.0, self.noise);

        // the place in the old picture that a place in the new one shows
        let (sin, cos) = angle.sin_cos();
        let (across, down) = (
            1.0 / (scale * (aspect / 2.0).exp()),
            1.0 / (scale * (-aspect / 2.0).exp()),
        );
        let middle = (side as f32 - 1.0) / 2.0;
        let source = |x: usize, y: usize| {
            let (dx, dy) = (x as f32 - middle - shift[0], y as f32 - middle - shift[1]);
            (
                middle + across * (cos * dx + sin * dy),
                middle + down * (cos * dy - sin * dx),
            )
        };
        let crop = self
            .crop
            .map(|margin| Bounds::of(rgb, side, side).square(margin));
        let place = |x: usize, y: usize| {
            let (mut x, y) = source(x, y);
            if flip {
                x = 2.0 * middle - x;
            }
            match crop {
                Some((centre, size)) => {
                    let step = size / side as f32;
                    (
                        centre.0 + step * (x - middle),
                        centre.1 + step * (y - middle),
                    )
                }
                None => (x, y),
            }
        };

        let colour = Colour::new(hue.to_radians(), saturation, contrast, 255.0 * brightness);
        let mut new = vec![0; rgb.len()];
        for y in 0..side {
            for x in 0..side {
                let pixel = colour.apply(bilinear(rgb, side, place(x, y)));
                new[3 * (y * side + x)..][..3]
                    .copy_from_slice(&pixel.map(|v| v.round().clamp(0.0, 255.0) as u8));
            }
        }
        // no draw without it, so that runs from before there were outlines see what they saw
        if self.outline > 0.0 && dice.happens(self.outline) {
            let outline = Outline {
                edge: dice.uniform(20.0, 100.0),
                opacity: dice.uniform(0.75, 1.0),
                ink: [(); 3].map(|()| dice.uniform(0.0, 50.0)),
                wide: dice.happens(0.5),
            };
            outline.draw(&mut new, side);
        }
        if self.gamma > 1.0 || self.noise > 0.0 {
            let curve: [f32; 256] =
                std::array::from_fn(|value| 255.0 * (value as f32 / 255.0).powf(gamma));
            for value in &mut new {
                let noisy = curve[*value as usize]
                    + if self.noise > 0.0 {
                        noise * dice.normal()
                    } else {
                        0.0
                    };
                *value = noisy.round().clamp(0.0, 255.0) as u8;
            }
        }
        if dice.happens(self.erase) {
            let [width, height] =
                [(); 2].map(|()| dice.uniform(self.erase_side.0, self.erase_side.1) * side as f32);
            let (width, height) = (width as usize, height as usize);
            let (left, top) = (dice.below(side - width + 1), dice.below(side - height + 1));
            let fill = if dice.happens(0.5) {
                [255; 3]
            } else {
                [(); 3].map(|()| dice.below(256) as u8)
            };
            for y in top..top + height {
                new[3 * (y * side + left)..][..3 * width]
                    .as_chunks_mut()
                    .0
                    .fill(fill);
            }
        }
        new
    }
}

/// Set the random numbers of the second picture, and of its choice, apart from those of the first.
const SECOND: u64 = 0x7365_636f_6e64_0000;
const PARTNER: u64 = 0x7061_7274_6e65_7200;

/// The random numbers of one picture.
struct Dice(ChaCha8Rng);

impl Dice {
    fn new(seed: u64, step: u64, draw: u64) -> Dice {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6175_676d_656e_7400);
        rng.set_stream(step.wrapping_mul(1 << 20).wrapping_add(draw));
        Dice(rng)
    }

    fn uniform(&mut self, least: f32, most: f32) -> f32 {
        least + (most - least) * (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    fn happens(&mut self, probability: f32) -> bool {
        self.uniform(0.0, 1.0) < probability
    }

    /// A number from 0 to `end - 1`.
    fn below(&mut self, end: usize) -> usize {
        ((self.0.next_u32() as u64 * end as u64) >> 32) as usize
    }

    /// Of mean 0 and deviation 1: nearly normal as the sum of four uniform bytes, never above 3.5.
    fn normal(&mut self) -> f32 {
        // each byte has the variance (256^2 - 1) / 12
        const DEVIATION: f32 = 147.800_5;
        let sum: i32 = self
            .0
            .next_u32()
            .to_le_bytes()
            .into_iter()
            .map(i32::from)
            .sum();
        (sum - 510) as f32 / DEVIATION
    }
}

/// The colour at a place between pixels; white outside the picture.
fn bilinear(rgb: &[u8], side: usize, (x, y): (f32, f32)) -> [f32; 3] {
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (x - left, y - top);
    let mut sum = [0.0; 3];
    for (dx, dy, weight) in [
        (0, 0, (1.0 - fx) * (1.0 - fy)),
        (1, 0, fx * (1.0 - fy)),
        (0, 1, (1.0 - fx) * fy),
        (1, 1, fx * fy),
    ] {
        let (x, y) = (left as i32 + dx, top as i32 + dy);
        let inside = (0..side as i32).contains(&x) && (0..side as i32).contains(&y);
        let pixel = if inside {
            &rgb[3 * (y as usize * side + x as usize)..][..3]
        } else {
            &[255; 3]
        };
        for (sum, &value) in sum.iter_mut().zip(pixel) {
            *sum += weight * value as f32;
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
        let matrix =
            turn.map(|row| row.map(|v| contrast * (saturation * v + (1.0 - saturation) / 3.0)));
        // white stays white under contrast, as paper does
        Colour {
            matrix,
            offset: 255.0 * (1.0 - contrast) + brightness,
        }
    }

    fn apply(&self, rgb: [f32; 3]) -> [f32; 3] {
        self.matrix
            .map(|row| row.iter().zip(rgb).map(|(a, b)| a * b).sum::<f32>() + self.offset)
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
        assert_eq!(
            Augment::none().apply(&sample, None, 8, 1, 2, 3),
            normalise(&sample.rgb)
        );
        let nearly = Augment {
            rotate: 1e-9,
            ..Augment::none()
        };
        let off = nearly
            .apply(&sample, None, 8, 1, 2, 3)
            .iter()
            .zip(normalise(&sample.rgb))
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(off < 0.02, "{off}");
    }

    #[test]
    fn draws_are_reproducible_and_differ() {
        let sample = sample(16);
        let draw = |seed, step, draw| Augment::light().apply(&sample, None, 16, seed, step, draw);
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

    /// A picture with a red left half and a white right half.
    fn half(caption: &str) -> Sample {
        let rgb = (0..16 * 16)
            .flat_map(|i| if i % 16 < 8 { [200, 40, 40] } else { [255; 3] })
            .collect();
        Sample::new("test", rgb, caption)
    }

    /// The changed values of many draws, back in 0..=255.
    fn draws(augment: Augment, sample: &Sample) -> Vec<Vec<u8>> {
        (0..200)
            .map(|draw| {
                augment
                    .limited(sample)
                    .change(&sample.rgb, 16, Dice::new(1, 2, draw))
            })
            .collect()
    }

    #[test]
    fn what_runs_saved_before_there_was_more_is_read_as_it_was() {
        let saved = r#"{"scale":[0.75,1.1],"aspect":1.1,"shift":0.08,"rotate":12.0,"hue":8.0,"saturation":[0.6,1.3],"contrast":[0.8,1.15],"brightness":0.06}"#;
        assert_eq!(
            serde_json::from_str::<Augment>(saved).unwrap(),
            Augment::light()
        );
        for strength in [Strength::None, Strength::Light, Strength::Strong].map(Augment::from) {
            strength.check().unwrap();
            assert_eq!(
                serde_json::from_str::<Augment>(&serde_json::to_string(&strength).unwrap())
                    .unwrap(),
                strength
            );
        }
    }

    #[test]
    fn numbers_without_sense_are_named() {
        let bad = [
            (
                "flip",
                Augment {
                    flip: 1.5,
                    ..Augment::none()
                },
            ),
            (
                "noise",
                Augment {
                    noise: f32::NAN,
                    ..Augment::none()
                },
            ),
            (
                "scale",
                Augment {
                    scale: (1.1, 0.9),
                    ..Augment::none()
                },
            ),
            (
                "gamma",
                Augment {
                    gamma: 0.5,
                    ..Augment::none()
                },
            ),
            (
                "mix_share",
                Augment {
                    mix_share: (0.2, 1.0),
                    ..Augment::none()
                },
            ),
        ];
        for (name, augment) in bad {
            assert!(augment.check().unwrap_err().starts_with(name));
        }
    }

    #[test]
    fn mirror_images_come_as_often_as_asked_and_the_caption_allows() {
        let flip = Augment {
            flip: 0.4,
            by_caption: true,
            ..Augment::none()
        };
        let flipped = |caption| {
            draws(flip, &half(caption))
                .iter()
                .filter(|rgb| rgb[0] == 255)
                .count()
        };
        assert!(
            (60..100).contains(&flipped("heart")),
            "{}",
            flipped("heart")
        );
        assert_eq!(flipped("left arrow"), 0);
        assert!(
            draws(flip, &half("heart"))
                .iter()
                .all(|rgb| rgb[0] != rgb[3 * 15])
        );
    }

    #[test]
    fn what_is_called_by_a_colour_keeps_it() {
        let strong = Augment {
            noise: 0.0,
            gamma: 1.0,
            scale: (1.0, 1.0),
            rotate: 0.0,
            flip: 0.0,
            ..Augment::strong()
        };
        // red less green where the drawing is, of values that were 200 and 40
        let red = |caption| {
            let drawn = draws(strong, &half(caption));
            drawn
                .iter()
                .map(|rgb| rgb[3 * (8 * 16 + 3)] as i32 - rgb[3 * (8 * 16 + 3) + 1] as i32)
                .min()
                .unwrap()
        };
        assert!(red("red heart") > 70, "{}", red("red heart"));
        assert!(red("heart") < 10, "{}", red("heart"));
    }

    #[test]
    fn noise_has_the_deviation_that_was_drawn() {
        let mut dice = Dice::new(5, 6, 7);
        let values: Vec<f64> = (0..40_000).map(|_| dice.normal() as f64).collect();
        let mean = values.iter().sum::<f64>() / 4e4;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 4e4;
        assert!(
            mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03,
            "{mean} {variance}"
        );
        let noisy = draws(
            Augment {
                noise: 0.06,
                ..Augment::none()
            },
            &half(""),
        );
        // of each draw another one, at most 0.06
        let spread = |rgb: &Vec<u8>| {
            (0..16)
                .flat_map(|y| (0..8).map(move |x| 3 * (16 * y + x)))
                .map(|at| (rgb[at] as f64 - 200.0).powi(2))
                .sum::<f64>()
                / 128.0
        };
        let most = noisy
            .iter()
            .map(|rgb| spread(rgb).sqrt())
            .fold(0.0, f64::max);
        assert!((0.04 * 255.0..0.075 * 255.0).contains(&most), "{most}");
    }

    #[test]
    fn outlines_come_as_often_as_asked() {
        let dark = |outline| {
            let augment = Augment {
                outline,
                ..Augment::none()
            };
            draws(augment, &half("tiger"))
                .iter()
                .filter(|rgb| rgb[3 * (8 * 16 + 7)] < 120)
                .count()
        };
        assert_eq!((dark(0.0), dark(1.0)), (0, 200));
        assert!((50..90).contains(&dark(0.35)), "{}", dark(0.35));
    }

    #[test]
    fn gamma_leaves_black_and_white() {
        let sample = Sample::new("", [[0; 3], [128; 3], [255; 3], [255; 3]].concat(), "");
        let augment = Augment {
            gamma: 1.4,
            ..Augment::none()
        };
        let drawn: Vec<Vec<u8>> = (0..100)
            .map(|draw| augment.change(&sample.rgb, 2, Dice::new(1, 2, draw)))
            .collect();
        assert!(drawn.iter().all(|rgb| rgb[0] == 0 && rgb[6] == 255));
        let (least, most) = (
            drawn.iter().map(|rgb| rgb[3]).min().unwrap(),
            drawn.iter().map(|rgb| rgb[3]).max().unwrap(),
        );
        assert!(
            (97..110).contains(&least) && (145..157).contains(&most),
            "{least} {most}"
        );
    }

    #[test]
    fn erasing_covers_one_rectangle() {
        let augment = Augment {
            erase: 1.0,
            erase_side: (0.25, 0.5),
            ..Augment::none()
        };
        let sample = Sample::new("", vec![77; 3 * 256], "");
        for rgb in draws(augment, &sample) {
            let gone: Vec<usize> = (0..256).filter(|i| rgb[3 * i..][..3] != [77; 3]).collect();
            let (rows, columns): (Vec<_>, Vec<_>) = gone.iter().map(|i| (i / 16, i % 16)).unzip();
            let span = |of: &[usize]| of.iter().max().unwrap() - of.iter().min().unwrap() + 1;
            assert_eq!(span(&rows) * span(&columns), gone.len());
            assert!((4..=8).contains(&span(&rows)) && (4..=8).contains(&span(&columns)));
        }
        let whole = Augment {
            erase: 1.0,
            erase_side: (1.0, 1.0),
            ..Augment::none()
        };
        assert!(
            draws(whole, &sample)
                .iter()
                .all(|rgb| rgb.chunks(3).all(|pixel| pixel == &rgb[..3]))
        );
    }

    #[test]
    fn a_second_picture_shows_through_by_its_share() {
        let mix = Augment {
            mix: 0.3,
            mix_share: (0.7, 0.9),
            ..Augment::none()
        };
        let (black, white) = (
            Sample::new("", vec![0; 3 * 64], ""),
            Sample::new("", vec![255; 3 * 64], ""),
        );
        let apply = |second, draw| mix.apply(&black, second, 8, 1, 2, draw);
        assert_eq!(apply(None, 5), normalise(&black.rgb));
        for draw in 0..50 {
            let mixed = apply(Some(&white), draw);
            assert_eq!(mixed, apply(Some(&white), draw));
            let level = |rgb: u8| normalise(&[rgb; 3 * 64])[0];
            assert!((level(25)..=level(77)).contains(&mixed[0]), "{}", mixed[0]);
        }
        let partners: Vec<Option<usize>> =
            (0..1000).map(|draw| mix.partner(7, 1, 2, draw)).collect();
        let some: Vec<usize> = partners.iter().copied().flatten().collect();
        assert!(
            (250..350).contains(&some.len())
                && (0..7).all(|i| some.contains(&i))
                && some.iter().all(|&i| i < 7)
        );
        assert!((0..1000).all(|draw| Augment::strong().partner(7, 1, 2, draw).is_none()));
    }

    #[test]
    fn a_cropped_drawing_fills_the_picture() {
        let mut rgb = vec![255; 3 * 256];
        // four by two pixels near a corner
        for (x, y) in (1..5).flat_map(|x| (2..4).map(move |y| (x, y))) {
            rgb[3 * (16 * y + x)..][..3].fill(0);
        }
        let drawn = Augment {
            crop: Some(0.0),
            ..Augment::none()
        }
        .change(&rgb, 16, Dice::new(1, 2, 3));
        let dark: Vec<usize> = (0..256).filter(|i| drawn[3 * i] < 128).collect();
        // all columns and half of the rows, but for the corners, which are between pixels
        assert_eq!(
            (dark.len(), dark[0], dark[123]),
            (16 * 8 - 4, 16 * 4 + 1, 16 * 12 - 2)
        );
    }
}
