//! Color profiles (ICC.1) of pictures, converted to sRGB.

use image::{GrayImage, RgbImage, RgbaImage};
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformExecutor, TransformOptions};
use std::sync::Arc;

/// Treatment of the color profiles that pictures carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ColorProfiles {
    /// Convert colors to sRGB.
    #[default]
    Converted,
    /// Take the numbers of all pictures for sRGB, as Pillow does.
    Ignored,
}

impl ColorProfiles {
    /// Ignores profiles if `ignored`.
    pub fn unless(ignored: bool) -> ColorProfiles {
        match ignored {
            true => ColorProfiles::Ignored,
            false => ColorProfiles::Converted,
        }
    }
}

/// Pixels that are converted at once.
const CHUNK: usize = 4096;

/// Conversion of a picture's colors to sRGB.
pub struct Conversion {
    profile: ColorProfile,
}

type Transform = Arc<dyn TransformExecutor<u8> + Send + Sync>;

impl Conversion {
    /// Reads a profile; `None` for one that is damaged, which has no effect, as in other programs.
    pub fn new(icc: &[u8]) -> Option<Conversion> {
        let profile = ColorProfile::new_from_slice(icc).ok()?;
        Some(Conversion { profile })
    }

    fn transform(&self, from: Layout, to: Layout) -> Option<Transform> {
        let srgb = ColorProfile::new_srgb();
        let made = self
            .profile
            .create_transform_8bit(from, &srgb, to, TransformOptions::default());
        made.ok()
    }

    /// Converts colors in place. Profiles of other spaces than RGB, such as those of the inks that
    /// a JPEG was mixed from, have no effect.
    pub fn rgb(&self, image: &mut RgbImage) {
        if self.profile.color_space == DataColorSpace::Rgb
            && let Some(transform) = self.transform(Layout::Rgb, Layout::Rgb)
            && changes(&*transform)
        {
            in_place(image, 3, &*transform);
        }
    }

    /// Converts colors in place and leaves transparency as it is.
    pub fn rgba(&self, image: &mut RgbaImage) {
        if self.profile.color_space == DataColorSpace::Rgb
            && self
                .transform(Layout::Rgb, Layout::Rgb)
                .is_some_and(|rgb| changes(&*rgb))
            && let Some(transform) = self.transform(Layout::Rgba, Layout::Rgba)
        {
            in_place(image, 4, &*transform);
        }
    }

    /// Converts shades of gray; `None` if the profile is not one of them.
    pub fn gray(&self, image: &GrayImage) -> Option<RgbImage> {
        if self.profile.color_space != DataColorSpace::Gray {
            return None;
        }
        let transform = self.transform(Layout::Gray, Layout::Rgb)?;
        // one row of the 256 shades
        let shades: Vec<u8> = (0..=255).collect();
        let mut table = vec![0; 3 * shades.len()];
        transform.transform(&shades, &mut table).ok()?;
        let pixels = image.as_raw().iter();
        let rgb = pixels.flat_map(|&shade| {
            let at = 3 * shade as usize;
            [table[at], table[at + 1], table[at + 2]]
        });
        RgbImage::from_raw(image.width(), image.height(), rgb.collect())
    }
}

/// Whether a conversion changes colors by more than rounding, which those of sRGB itself do not.
fn changes(transform: &(dyn TransformExecutor<u8> + Send + Sync)) -> bool {
    // four values of each channel
    let value = |index: u8| 85 * (index % 4);
    let colors: Vec<u8> = (0..64u8)
        .flat_map(|color| [value(color / 16), value(color / 4), value(color)])
        .collect();
    let mut converted = vec![0; colors.len()];
    transform.transform(&colors, &mut converted).is_ok()
        && colors
            .iter()
            .zip(&converted)
            .any(|(a, b)| a.abs_diff(*b) > 1)
}

fn in_place(
    pixels: &mut [u8],
    channels: usize,
    transform: &(dyn TransformExecutor<u8> + Send + Sync),
) {
    let mut converted = vec![0; CHUNK * channels];
    for chunk in pixels.chunks_mut(CHUNK * channels) {
        let converted = &mut converted[..chunk.len()];
        if transform.transform(chunk, converted).is_ok() {
            chunk.copy_from_slice(converted);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    use super::*;
    use crate::image::Picture;

    fn png(pixels: &[u8], kind: ExtendedColorType, icc: Vec<u8>) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        let mut encoder = PngEncoder::new(&mut bytes);
        encoder.set_icc_profile(icc).unwrap();
        encoder.write_image(pixels, 2, 1, kind).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn wide_colors_become_srgb_unless_ignored() {
        let icc = || ColorProfile::new_display_p3().encode().unwrap();
        let colors = [200, 100, 50, 128, 128, 128];
        let picture = png(&colors, ExtendedColorType::Rgb8, icc());
        let ignored = Picture::decode_with(&picture, ColorProfiles::Ignored).unwrap();
        assert_eq!(ignored.rgb, colors);
        let converted = Picture::decode(&picture).unwrap().rgb;
        // by the matrices of CSS Color 4: 214.9, 92.6, 31.0
        for (value, wanted) in converted[..3].iter().zip([215u8, 93, 31]) {
            assert!(value.abs_diff(wanted) <= 1, "{converted:?}");
        }
        assert!(
            converted[3..].iter().all(|value| value.abs_diff(128) <= 1),
            "{converted:?}"
        );
        // beside transparency
        let colors = [200, 100, 50, 255, 1, 2, 3, 0];
        let picture = png(&colors, ExtendedColorType::Rgba8, icc());
        let rgb = Picture::decode(&picture).unwrap().rgb;
        assert_eq!((&rgb[..3], &rgb[3..]), (&converted[..3], &[255; 3][..]));
    }

    #[test]
    fn srgb_and_damaged_profiles_change_nothing() {
        let colors = [200, 100, 50, 1, 2, 3];
        for icc in [
            ColorProfile::new_srgb().encode().unwrap(),
            b"no profile".to_vec(),
            vec![0; 200],
        ] {
            let picture = png(&colors, ExtendedColorType::Rgb8, icc);
            assert_eq!(Picture::decode(&picture).unwrap().rgb, colors);
        }
    }

    #[test]
    fn shades_of_gray_follow_their_curve() {
        let icc = ColorProfile::new_gray_with_gamma(1.0).encode().unwrap();
        let picture = png(&[0, 55], ExtendedColorType::L8, icc);
        let rgb = Picture::decode(&picture).unwrap().rgb;
        // 55/255 of the light is 128 in sRGB
        assert!(
            rgb[..3] == [0; 3] && rgb[3..].iter().all(|value| value.abs_diff(128) <= 2),
            "{rgb:?}"
        );
    }
}
