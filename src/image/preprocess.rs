//! Pictures as model input.

use std::borrow::Cow;

use super::picture::Picture;

/// Mean of ImageNet's pixels by channel, as in torchvision's models; see [`normalise`].
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's pixels by channel, as in torchvision's models; see
/// [`normalise`].
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Converts pixels `[side, side, 3]` in 0..=255 to a model input `[3, side, side]`: scaled to 0..1,
/// less [`MEAN`], divided by [`STD`].
pub fn normalise(rgb: &[u8]) -> Vec<f32> {
    let pixels = rgb.len() / 3;
    let mut planes = vec![0.0; rgb.len()];
    for channel in 0..3 {
        // 256 possible values: exact and fast
        let table: Vec<f32> = (0..256)
            .map(|value| (value as f32 / 255.0 - MEAN[channel]) / STD[channel])
            .collect();
        for (out, pixel) in planes[channel * pixels..][..pixels]
            .iter_mut()
            .zip(rgb.chunks_exact(3))
        {
            *out = table[pixel[channel] as usize];
        }
    }
    planes
}

/// Conversion of pictures to a model's input size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preprocess {
    /// Width and height of the input, in pixels.
    pub side: usize,
    /// Whether pictures are first cropped to the drawing on their plain background.
    pub crop: bool,
}

impl Preprocess {
    /// Margin around a cropped drawing, as a share of its longer side.
    const MARGIN: f32 = 0.1;

    /// Returns the part of a picture that the model sees, at its own size.
    pub fn shown(self, picture: &Picture) -> Cow<'_, Picture> {
        if self.crop {
            Cow::Owned(picture.cropped(Preprocess::MARGIN))
        } else {
            Cow::Borrowed(picture)
        }
    }
}

impl From<usize> for Preprocess {
    /// Stretches the whole picture to a square of this side.
    fn from(side: usize) -> Preprocess {
        Preprocess { side, crop: false }
    }
}

impl Picture {
    /// Returns the picture at a model's input size.
    pub fn framed(&self, preprocess: Preprocess) -> Picture {
        preprocess.shown(self).resize(preprocess.side)
    }

    /// Returns the model input `[3, height, width]`; see [`normalise`].
    pub fn normalised(&self) -> Vec<f32> {
        normalise(&self.rgb)
    }
}
