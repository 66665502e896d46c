//! Random changes to training pictures, so that training never sees a picture twice in the same
//! way.

mod caption_limits;
mod color;
mod outline;
mod random;
#[cfg(test)]
mod tests;
mod transform;

use serde::{Deserialize, Serialize};

use super::preprocess::normalise;
use random::Draws;

/// A picture to augment, and the facts that limit its changes.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Pixels `[side, side, 3]`.
    pub rgb: &'a [u8],
    /// Caption of the picture.
    pub caption: &'a str,
    /// Whether other pictures show variants of the same concept, such as other skin tones.
    pub varies: bool,
}

/// Ranges of the random changes to training pictures.
///
/// Every amount is drawn uniformly from its range, and changes keep the meaning of a drawing.
/// Fields that a JSON file omits make no change.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Whether the caption limits the changes: no mirror images of writing and directions, and only
    /// slight changes of colour where the caption names a colour.
    pub by_caption: bool,
    /// Margin for cropping to the drawing first, as a share of its longer side; `None` does not
    /// crop.
    pub crop: Option<f32>,
    /// Range of the size factor.
    pub scale: (f32, f32),
    /// Largest factor of width over height, or of height over width.
    pub aspect: f32,
    /// Largest shift in each direction, as a share of the side.
    pub shift: f32,
    /// Largest rotation in either direction, in degrees.
    pub rotate: f32,
    /// Probability of a horizontal flip.
    pub flip: f32,
    /// Largest rotation of the hue in either direction, in degrees.
    pub hue: f32,
    /// Probability of a larger hue rotation, and its limit in degrees.
    pub rare_hue: (f32, f32),
    /// Range of the saturation factor.
    pub saturation: (f32, f32),
    /// Probability of conversion to greyscale.
    pub grey: f32,
    /// Range of the contrast factor.
    pub contrast: (f32, f32),
    /// Largest change of brightness in either direction, as a share of white.
    pub brightness: f32,
    /// Probability of dark outlines along the edges between colours.
    pub outline: f32,
    /// Largest gamma exponent; 1.2 stands for the range from 1 / 1.2 to 1.2.
    pub gamma: f32,
    /// Largest standard deviation of the noise, as a share of white.
    pub noise: f32,
    /// Probability of erasing a rectangle, filled with white or, half of the time, a random colour.
    pub erase: f32,
    /// Range of the width and height of the erased rectangle, as shares of the side.
    pub erase_side: (f32, f32),
    /// Probability of blending with another picture.
    pub mix: f32,
    /// Range of the picture's own share when blended; at least one half, since its caption is kept.
    pub mix_share: (f32, f32),
}

/// Presets of [`Augment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// No changes.
    None,
    /// Slight changes of size, position, rotation and tint.
    Light,
    /// Larger changes, flips, greyscale, outlines, gamma and noise, within the limits of the
    /// caption.
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
    /// Returns ranges that make no change.
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

    /// Returns slight changes, such as another artist would make in the same drawing.
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

    /// Returns strong changes for long runs, which should not learn one artist's colours and
    /// layout.
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

    /// Checks that all values are in range.
    ///
    /// # Errors
    /// The name of the first invalid field, and its valid range.
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
                return Err(format!("{name}: {value} is not a probability"));
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
        // bounds of each range
        let ranges = [
            ("scale", self.scale, (0.05, 20.0)),
            ("saturation", self.saturation, (0.0, 100.0)),
            ("contrast", self.contrast, (0.0, 100.0)),
            ("erase_side", self.erase_side, (0.0, 1.0)),
            ("mix_share", self.mix_share, (0.5, 1.0)),
        ];
        for (name, (min, max), (from, to)) in ranges {
            if !(from <= min && min <= max && max <= to) {
                return Err(format!(
                    "{name}: {min} to {max} is not an increasing range within {from} to {to}"
                ));
            }
        }
        Ok(())
    }

    /// Returns the index of the sample to blend into the picture of (`seed`, `step`, `draw`), out
    /// of `samples` samples; `None` for no blending.
    pub fn partner(&self, samples: usize, seed: u64, step: u64, draw: u64) -> Option<usize> {
        let mut draws = Draws::new(seed ^ PARTNER, step, draw);
        (self.mix > 0.0 && draws.happens(self.mix)).then(|| draws.below(samples))
    }

    /// Returns the model input `[3, side, side]` of a changed picture. The changes depend only on
    /// (`seed`, `step`, `draw`) and the caption. `second`, if any, is the sample chosen by
    /// [`partner`](Self::partner), to be blended in.
    pub fn apply<'a>(
        &self,
        subject: impl Into<Subject<'a>>,
        second: Option<impl Into<Subject<'a>>>,
        side: usize,
        seed: u64,
        step: u64,
        draw: u64,
    ) -> Vec<f32> {
        normalise(&self.changed(subject, second, side, seed, step, draw))
    }

    /// Returns the pixels `[side, side, 3]` of a changed picture; see [`apply`](Self::apply).
    pub fn changed<'a>(
        &self,
        subject: impl Into<Subject<'a>>,
        second: Option<impl Into<Subject<'a>>>,
        side: usize,
        seed: u64,
        step: u64,
        draw: u64,
    ) -> Vec<u8> {
        let subject = subject.into();
        if *self == Augment::none() {
            return subject.rgb.to_vec();
        }
        let change = |subject: &Subject, draws| {
            transform::change(&self.limited(subject), subject.rgb, side, draws)
        };
        let mut rgb = change(&subject, Draws::new(seed, step, draw));
        if let Some(second) = second {
            let mut draws = Draws::new(seed ^ SECOND, step, draw);
            let share = draws.uniform(self.mix_share.0, self.mix_share.1);
            let other = change(&second.into(), draws);
            for (value, other) in rgb.iter_mut().zip(other) {
                *value = (share * *value as f32 + (1.0 - share) * other as f32).round() as u8;
            }
        }
        rgb
    }

    /// Returns the changes that the caption allows. Pictures whose concept has variants keep their
    /// colours: a change must not turn one variant into another, and neighbouring skin tones of two
    /// artists lie closer to each other than those of one artist.
    fn limited(self, subject: &Subject) -> Augment {
        let caption = subject.caption;
        let mut it = self;
        if it.by_caption && (subject.varies || caption_limits::names_tone(caption)) {
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
        if it.by_caption && !caption_limits::may_flip(caption) {
            it.flip = 0.0;
        }
        if it.by_caption && caption_limits::names_colour(caption) {
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
}

/// Separate the random numbers of the second picture, and of its choice, from those of the first.
const SECOND: u64 = 0x7365_636f_6e64_0000;
const PARTNER: u64 = 0x7061_7274_6e65_7200;
