//! Benchmark of loading a data set.

use std::io::Cursor;

use base64::Engine;
use image::{ImageFormat, Rgb, RgbImage};

use super::measure::{Case, Effort, Failure, Measurement, time};
use crate::data::{Dataset, Layout};
use crate::device::Device;
use crate::models::ModelConfig;

/// Measures reading a CSV file of `rows` PNG pictures of `side` pixels, decoded and resized to the
/// model's size.
pub fn measure(
    device: &Device,
    config: &ModelConfig,
    rows: usize,
    side: u32,
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let image_size = config.info().image_size();
    let dir = std::env::temp_dir().join(format!("seemore-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let path = dir.join("inputs.csv");
    let measured = (|| {
        let mut csv = csv::Writer::from_path(&path)?;
        csv.write_record(["b64string_images", "caption"])?;
        for row in 0..rows as u32 {
            let picture = RgbImage::from_fn(side, side, |x, y| {
                Rgb([(x * 3 + row) as u8, (y * 5) as u8, (x ^ y) as u8])
            });
            let mut png = Cursor::new(vec![]);
            picture.write_to(&mut png, ImageFormat::Png)?;
            csv.write_record([
                base64::engine::general_purpose::STANDARD.encode(png.into_inner()),
                format!("picture {row}"),
            ])?;
        }
        csv.flush()?;
        let read = || {
            Dataset::load(
                &path,
                image_size,
                &Layout::default(),
                true,
                &crate::progress::Silent,
            )
        };
        anyhow::ensure!(
            read()?.dataset.samples.len() == rows,
            "{} of {rows} rows were read",
            read()?.dataset.samples.len()
        );
        let bytes = std::fs::metadata(&path)?.len();
        let times = time(effort, || Ok(read().map(|_| ())?))?;
        let case = Case {
            device,
            bench: "load",
            case: format!("{rows} PNG of {side} px to {} px", image_size),
            variant: "csv".into(),
            flops: None,
            bytes: Some(bytes as f64),
            peak_gpu_bytes: 0,
        };
        Ok(vec![case.measured(times)])
    })();
    // a temporary folder that stays does not invalidate the measurement
    let _ = std::fs::remove_dir_all(&dir);
    measured
}
