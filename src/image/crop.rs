//! Cropping to the drawing on a plain background.

use super::filter::Filter;
use super::picture::Picture;

/// Largest side of the square around a drawing, in pixels. Models that see drawings cropped take in
/// a fraction of it.
const LARGEST: usize = 4096;

impl Picture {
    /// Crops to the square around the drawing, with a margin on every side that is a share of the
    /// drawing's longer side. Pixels beyond the picture are white.
    ///
    /// The drawing is the part that differs from the plain background. A blank picture counts as
    /// all drawing. If the square has more than 4096 pixels along a side, the picture is shrunk
    /// first.
    pub fn cropped(&self, margin: f32) -> Picture {
        let (centre, size) = Bounds::of(&self.rgb, self.width, self.height).square(margin);
        let side = (size.round() as usize).max(1);
        // the square of a thin line may be thousands of times as large as the line
        if side > LARGEST {
            // with its margin, the square around it stays below the limit
            const LONGEST: usize = LARGEST / 2;
            let shrunk = |length: usize| (length * LONGEST / self.width.max(self.height)).max(1);
            let (width, height) = (shrunk(self.width), shrunk(self.height));
            return self
                .resampled(width, height, Filter::Bilinear)
                .cropped(margin);
        }
        let first = |centre: f32| (centre - (side as f32 - 1.0) / 2.0).round() as isize;
        let (left, top) = (first(centre.0), first(centre.1));
        let mut rgb = vec![255; 3 * side * side];
        for (row, out) in rgb.chunks_exact_mut(3 * side).enumerate() {
            let y = top + row as isize;
            let columns = left.max(0)..(left + side as isize).min(self.width as isize);
            if (0..self.height as isize).contains(&y) && !columns.is_empty() {
                let (from, count) = (
                    3 * (y as usize * self.width + columns.start as usize),
                    3 * columns.len(),
                );
                out[3 * (columns.start - left) as usize..][..count]
                    .copy_from_slice(&self.rgb[from..][..count]);
            }
        }
        Picture {
            width: side,
            height: side,
            rgb,
        }
    }
}

/// Bounding box of the drawing in a picture; `right` and `bottom` are exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Bounds {
    /// Finds the pixels that differ from the background: the colour of the four corners, or white
    /// if the corners differ. If there are none, returns the whole picture.
    pub fn of(rgb: &[u8], width: usize, height: usize) -> Bounds {
        // above the compression artefacts of lossy formats
        const THRESHOLD: u8 = 20;
        let pixel = |x: usize, y: usize| &rgb[3 * (y * width + x)..][..3];
        let differ = |a: &[u8], b: &[u8]| a.iter().zip(b).any(|(a, b)| a.abs_diff(*b) > THRESHOLD);
        let corners = [
            (0, 0),
            (width - 1, 0),
            (0, height - 1),
            (width - 1, height - 1),
        ]
        .map(|(x, y)| pixel(x, y));
        let one = corners.iter().all(|corner| !differ(corner, corners[0]));
        let background = if one { corners[0] } else { &[255; 3] };
        let drawn = |x: usize, y: usize| differ(pixel(x, y), background);
        let mut rows = (0..height).filter(|&y| (0..width).any(|x| drawn(x, y)));
        let Some(top) = rows.next() else {
            return Bounds {
                left: 0,
                top: 0,
                right: width,
                bottom: height,
            };
        };
        let bottom = rows.next_back().unwrap_or(top) + 1;
        let column = |x: &usize| (top..bottom).any(|y| drawn(*x, y));
        let left = (0..width)
            .find(column)
            .expect("a row is drawn in some column");
        let right = (left..width).rfind(column).expect("at least the first") + 1;
        Bounds {
            left,
            top,
            right,
            bottom,
        }
    }

    /// Returns the centre, in pixel coordinates, and the side of the square around the drawing,
    /// with a share of its longer side as margin on every side.
    pub fn square(&self, margin: f32) -> ((f32, f32), f32) {
        let middle = |first: usize, end: usize| (first + end - 1) as f32 / 2.0;
        let longer = (self.right - self.left).max(self.bottom - self.top) as f32;
        (
            (middle(self.left, self.right), middle(self.top, self.bottom)),
            longer * (1.0 + 2.0 * margin),
        )
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    #[test]
    fn crops_to_the_square_around_the_drawing() {
        let draw = |width: u32, height: u32, background: u8, boxed: (u32, u32, u32, u32)| {
            let mut image = RgbImage::from_pixel(width, height, Rgb([background; 3]));
            let (left, top, wide, high) = boxed;
            (left..left + wide).for_each(|x| {
                (top..top + high).for_each(|y| image.put_pixel(x, y, Rgb([9, 120, 9])))
            });
            Picture {
                width: width as usize,
                height: height as usize,
                rgb: image.into_raw(),
            }
        };
        // four by two pixels, in the middle of four by four
        let cropped = draw(20, 9, 255, (3, 5, 4, 2)).cropped(0.0);
        assert_eq!(cropped, draw(4, 4, 255, (0, 1, 4, 2)));
        assert_eq!(cropped.cropped(0.0), cropped);
        assert_eq!(
            draw(20, 9, 255, (3, 5, 4, 2)).cropped(0.25),
            draw(6, 6, 255, (1, 2, 4, 2))
        );
        // white beyond the picture, the background within it
        assert_eq!(
            draw(5, 3, 60, (0, 0, 5, 3)).cropped(0.0),
            draw(5, 5, 255, (0, 1, 5, 3))
        );
        assert_eq!(
            draw(9, 9, 60, (3, 3, 3, 3)).cropped(0.0).rgb,
            draw(3, 3, 60, (0, 0, 3, 3)).rgb
        );
        // faint pixels are ignored, and a blank picture is kept whole
        let blank = draw(6, 6, 255, (0, 0, 0, 0));
        let mut traces = blank.clone();
        traces.rgb[40] = 240;
        assert_eq!(
            (blank.cropped(0.0), traces.cropped(0.0)),
            (blank, traces.clone())
        );
    }
}
