//! Exact and near duplicates among pictures.
//!
//! Near duplicates are found by comparing thumbnails of 16 x 16 pixels.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use rayon::prelude::*;
use serde::Serialize;

use crate::image::Picture;

/// Degree of similarity of two pictures that count as duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Likeness {
    /// All pixels are equal.
    Exact,
    /// Equal up to the changes of scaling, compression and slight retouching.
    Near,
}

/// A picture of one list that is also in another list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Twin {
    /// Index in the first list.
    pub left: usize,
    /// Index in the other list: of the first exact duplicate, else of the most similar picture.
    pub right: usize,
    /// Degree of similarity.
    pub likeness: Likeness,
}

/// Side of the thumbnails, in pixels.
const SIDE: usize = 16;
const VALUES: usize = SIDE * SIDE * 3;

/// Largest difference of a single thumbnail value between near duplicates, of 255. The hands of two
/// clocks differ by more.
const MAX_DIFFERENCE: u8 = 24;

/// Largest sum of squared differences between near duplicates, as a share of the summed contrast of
/// both thumbnails.
///
/// Scaling a drawing of 64 pixels to half or one and a half of its size and saving it as JPEG of
/// quality 75 stays below (99 of 100). Drawings of one thing by two artists lie above, except for
/// plain circles and squares.
const SHARE: f64 = 0.005;

/// Features by which pictures are compared.
#[derive(Debug, Clone)]
pub(super) struct Fingerprint {
    /// Hash of size and pixels.
    hash: u64,
    /// Thumbnail `[16, 16, 3]`, rotated to start at the middle row, where pictures differ most.
    thumbnail: Vec<u8>,
    /// Sum of the thumbnail's values.
    sum: i64,
    /// Sum of the squared differences from each channel's mean.
    contrast: f64,
}

impl Fingerprint {
    pub fn new(picture: &Picture) -> Fingerprint {
        let mut hasher = DefaultHasher::new();
        (picture.width, picture.height, &picture.rgb).hash(&mut hasher);
        let mut thumbnail = picture.resize(SIDE).rgb;
        thumbnail.rotate_left(VALUES / 2);
        let contrast = |channel: usize| {
            let values = thumbnail
                .iter()
                .skip(channel)
                .step_by(3)
                .map(|&value| value as f64);
            let mean = values.clone().sum::<f64>() / (SIDE * SIDE) as f64;
            values.map(|value| (value - mean).powi(2)).sum::<f64>()
        };
        let contrast = (0..3).map(contrast).sum();
        Fingerprint {
            hash: hasher.finish(),
            sum: thumbnail.iter().map(|&value| value as i64).sum(),
            contrast,
            thumbnail,
        }
    }

    /// Returns the squared difference as a share of the contrast, if it is small enough for near
    /// duplicates.
    fn distance(&self, other: &Fingerprint) -> Option<f64> {
        // rounding makes equal plain pictures differ by 1
        let contrast = self.contrast + other.contrast + VALUES as f64 / SHARE;
        let max_squares = (SHARE * contrast) as u32;
        let mut squares = 0;
        for (row, others) in self
            .thumbnail
            .chunks_exact(3 * SIDE)
            .zip(other.thumbnail.chunks_exact(3 * SIDE))
        {
            let mut largest = 0;
            for (&value, &others) in row.iter().zip(others) {
                let off = value.abs_diff(others);
                largest = largest.max(off);
                squares += off as u32 * off as u32;
            }
            if largest > MAX_DIFFERENCE || squares > max_squares {
                return None;
            }
        }
        Some(squares as f64 / contrast)
    }
}

/// Finds the pictures that are also in `others`.
pub(super) fn twins(prints: &[Fingerprint], others: &[Fingerprint]) -> Vec<Twin> {
    search(prints, others, |_, _| true)
}

/// Finds the pictures that also occur earlier in the same list.
pub(super) fn repeats(prints: &[Fingerprint]) -> Vec<Twin> {
    search(prints, prints, |left, right| right < left)
}

fn search(
    prints: &[Fingerprint],
    others: &[Fingerprint],
    counts: impl Fn(usize, usize) -> bool + Sync,
) -> Vec<Twin> {
    let mut first: BTreeMap<u64, usize> = BTreeMap::new();
    for (index, other) in others.iter().enumerate() {
        first.entry(other.hash).or_insert(index);
    }
    // near duplicates have similar sums: by the Cauchy-Schwarz inequality, the sum of n differences
    // is at most sqrt(n) times their norm
    let mut by_sum: Vec<usize> = (0..others.len()).collect();
    by_sum.sort_by_key(|&index| others[index].sum);
    let contrast = others
        .iter()
        .map(|other| other.contrast)
        .fold(0.0, f64::max);
    let twin = |left: usize| {
        let print = &prints[left];
        if let Some(&right) = first.get(&print.hash).filter(|&&right| counts(left, right)) {
            return Some(Twin {
                left,
                right,
                likeness: Likeness::Exact,
            });
        }
        let room = (VALUES as f64 * (SHARE * (print.contrast + contrast) + VALUES as f64)).sqrt()
            as i64
            + 1;
        let from = by_sum.partition_point(|&index| others[index].sum < print.sum - room);
        let near = by_sum[from..]
            .iter()
            .take_while(|&&index| others[index].sum <= print.sum + room);
        let near = near
            .filter(|&&right| counts(left, right))
            .filter_map(|&right| Some((print.distance(&others[right])?, right)));
        let (_, right) = near.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
        Some(Twin {
            left,
            right,
            likeness: Likeness::Near,
        })
    };
    (0..prints.len()).into_par_iter().filter_map(twin).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::codecs::jpeg::JpegEncoder;
    use image::imageops::{FilterType, resize};
    use image::{ImageFormat, Rgb, RgbImage};

    use super::*;

    /// Draws a disc on white, with a smaller disc at `x`, `y` (from 0 to 1) in it.
    fn drawing(side: u32, x: f64, y: f64, colour: [u8; 3]) -> RgbImage {
        let inside = |px: u32, py: u32, x: f64, y: f64, radius: f64| {
            (px as f64 / side as f64 - x).hypot(py as f64 / side as f64 - y) < radius
        };
        RgbImage::from_fn(side, side, |px, py| match () {
            _ if inside(px, py, x, y, 0.12) => Rgb([40, 30, 30]),
            _ if inside(px, py, 0.5, 0.5, 0.4) => Rgb(colour),
            _ => Rgb([255; 3]),
        })
    }

    fn print(image: &RgbImage) -> Fingerprint {
        Fingerprint::new(&Picture {
            width: image.width() as usize,
            height: image.height() as usize,
            rgb: image.as_raw().clone(),
        })
    }

    fn jpeg(image: &RgbImage) -> RgbImage {
        let mut bytes = Cursor::new(vec![]);
        image
            .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 75))
            .unwrap();
        image::load_from_memory_with_format(bytes.get_ref(), ImageFormat::Jpeg)
            .unwrap()
            .into_rgb8()
    }

    #[test]
    fn finds_copies_but_not_other_drawings() {
        let yellow = [250, 200, 60];
        let original = drawing(64, 0.5, 0.3, yellow);
        let copies = [
            original.clone(),
            jpeg(&original),
            drawing(96, 0.5, 0.3, yellow),
            jpeg(&resize(&original, 40, 40, FilterType::Triangle)),
        ];
        // a shifted small disc, another colour, and a blank picture
        let others = [
            drawing(64, 0.58, 0.3, yellow),
            drawing(64, 0.5, 0.3, [220, 160, 60]),
            RgbImage::from_pixel(64, 64, Rgb([255; 3])),
        ];
        let prints = |images: &[RgbImage]| images.iter().map(print).collect::<Vec<_>>();
        let found = twins(&prints(&copies), &[print(&original)]);
        let likeness: Vec<_> = found
            .iter()
            .map(|twin| (twin.left, twin.likeness))
            .collect();
        assert_eq!(
            likeness,
            [
                (0, Likeness::Exact),
                (1, Likeness::Near),
                (2, Likeness::Near),
                (3, Likeness::Near)
            ]
        );
        assert_eq!(twins(&prints(&others), &[print(&original)]), []);
    }

    #[test]
    fn tells_plain_pictures_of_two_shades_apart() {
        let plain = |shade: u8| print(&RgbImage::from_pixel(20, 20, Rgb([shade, 20, 20])));
        assert_eq!(twins(&[plain(200)], &[plain(203)]), []);
        assert_eq!(
            twins(&[plain(200)], &[plain(204), plain(200)])[0],
            Twin {
                left: 0,
                right: 1,
                likeness: Likeness::Exact
            }
        );
    }

    #[test]
    fn pairs_repeats_with_the_first_occurrence() {
        let prints: Vec<Fingerprint> = [0.3, 0.6, 0.3, 0.3]
            .map(|y| print(&drawing(64, 0.5, y, [90, 120, 220])))
            .to_vec();
        let twin = |left| Twin {
            left,
            right: 0,
            likeness: Likeness::Exact,
        };
        assert_eq!(repeats(&prints), [twin(2), twin(3)]);
    }

    #[test]
    fn searching_by_sums_misses_no_duplicate() {
        // gratings of slowly growing phase, so that many pairs lie close to the limit
        let grating = |i: usize| {
            RgbImage::from_fn(24, 24, |x, y| {
                Rgb(
                    [(128.0 + 100.0 * ((x + 2 * y) as f64 / 5.0 + i as f64 / 80.0).sin()) as u8
                        + (i % 3) as u8; 3],
                )
            })
        };
        let prints: Vec<Fingerprint> = (0..60).map(|i| print(&grating(i))).collect();
        let (left, right) = prints.split_at(30);
        let nearest = |print: &Fingerprint| {
            right
                .iter()
                .enumerate()
                .filter_map(|(i, other)| Some((print.distance(other)?, i)))
                .min_by(|a, b| a.partial_cmp(b).unwrap())
        };
        let wanted: Vec<_> = left
            .iter()
            .enumerate()
            .filter_map(|(i, print)| Some((i, nearest(print)?.1)))
            .collect();
        assert!(wanted.len() > 3 && wanted.len() < 30, "{}", wanted.len());
        assert_eq!(
            twins(left, right)
                .iter()
                .map(|twin| (twin.left, twin.right))
                .collect::<Vec<_>>(),
            wanted
        );
    }
}
