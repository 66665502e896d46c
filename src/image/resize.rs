//! Resizing of pictures.

use std::ops::Range;

use super::filter::Filter;
use super::picture::Picture;
use super::resample::{Layout, resample, resample_window};

impl Picture {
    /// Stretches the picture to a square. Gives the same bits as Pillow's bilinear filter, which is
    /// antialiased when shrinking.
    pub fn resize(&self, side: usize) -> Picture {
        self.resampled(side, side, Filter::Bilinear)
    }

    /// Stretches the picture to the given size. Gives the same bits as `Image.resize` of Pillow
    /// 12.3; see [`resample`].
    ///
    /// # Panics
    /// A width or height of 0.
    pub fn resampled(&self, width: usize, height: usize, filter: Filter) -> Picture {
        let (size, new_size) = ((self.width, self.height), (width, height));
        Picture {
            width,
            height,
            rgb: resample(&self.rgb, size, Layout::RGB, new_size, filter),
        }
    }

    /// Computes a part of the picture stretched to the given size: these columns and rows of
    /// [`resampled`](Self::resampled).
    ///
    /// # Panics
    /// A width or height of 0, or a range outside of them.
    pub fn resampled_window(
        &self,
        (width, height): (usize, usize),
        columns: Range<usize>,
        rows: Range<usize>,
        filter: Filter,
    ) -> Picture {
        let (size, new_size) = ((self.width, self.height), (width, height));
        Picture {
            width: columns.len(),
            height: rows.len(),
            rgb: resample_window(
                &self.rgb,
                size,
                Layout::RGB,
                new_size,
                (columns, rows),
                filter,
            ),
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
