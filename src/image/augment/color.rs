//! Linear changes of colour.

/// An affine map of RGB colours in 0..=255.
pub struct ColorMatrix {
    matrix: [[f32; 3]; 3],
    offset: f32,
}

impl ColorMatrix {
    /// Rotates the hue by `hue` radians about the grey axis (Rodrigues' formula), scales the
    /// distance from grey by `saturation`, scales the distance from white by `contrast`, and adds
    /// `brightness`.
    pub fn new(hue: f32, saturation: f32, contrast: f32, brightness: f32) -> ColorMatrix {
        let (sin, cos) = hue.sin_cos();
        let (third, root) = ((1.0 - cos) / 3.0, sin / 3f32.sqrt());
        let turn = [
            [cos + third, third - root, third + root],
            [third + root, cos + third, third - root],
            [third - root, third + root, cos + third],
        ];
        let matrix =
            turn.map(|row| row.map(|v| contrast * (saturation * v + (1.0 - saturation) / 3.0)));
        // contrast keeps white, as paper does
        ColorMatrix {
            matrix,
            offset: 255.0 * (1.0 - contrast) + brightness,
        }
    }

    /// Maps a colour.
    pub fn apply(&self, rgb: [f32; 3]) -> [f32; 3] {
        self.matrix
            .map(|row| row.iter().zip(rgb).map(|(a, b)| a * b).sum::<f32>() + self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_grey_under_hue_and_white_under_contrast() {
        let grey = ColorMatrix::new(1.0, 0.5, 1.0, 0.0).apply([90.0; 3]);
        assert!(grey.iter().all(|v| (v - 90.0).abs() < 1e-3), "{grey:?}");
        let white = ColorMatrix::new(0.3, 1.2, 0.8, 0.0).apply([255.0; 3]);
        assert!(white.iter().all(|v| (v - 255.0).abs() < 1e-2), "{white:?}");
    }
}
