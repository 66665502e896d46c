//! Benchmark of LayerNorm.

use super::measure::{Case, Effort, Failure, Measurement, bytes_of, expect, noise, time};
use crate::device::{Device, Plan};

/// Measures the forward pass of LayerNorm on `[rows, width]`.
pub fn measure(
    device: &Device,
    rows: usize,
    width: usize,
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let mut tape = device.tape();
    let (x, weight, bias) = (
        tape.input(&[rows, width]),
        tape.input(&[width]),
        tape.input(&[width]),
    );
    let y = tape.layernorm(x, weight, bias, 1e-5);
    tape.hold(y);
    let plan = Plan::new(device, tape)?;
    let data = noise(rows * width, 1);
    plan.write(x, &data);
    plan.write(weight, &vec![1.5f32; width]);
    plan.write(bias, &vec![0.25f32; width]);
    plan.run()?;
    let got: Vec<f32> = plan.read(y)?;
    let row = &data[(rows - 1) * width..];
    let mean = row.iter().map(|&v| v as f64).sum::<f64>() / width as f64;
    let variance = row.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / width as f64;
    expect(
        "layernorm",
        got[rows * width - 1],
        1.5 * (row[width - 1] as f64 - mean) / (variance + 1e-5).sqrt() + 0.25,
        1e-4,
    )?;
    let times = time(effort, || Ok(plan.run().and_then(|()| device.wait())?))?;
    let case = Case {
        device,
        bench: "layernorm",
        case: format!("{rows}x{width}"),
        variant: "forward".into(),
        flops: None,
        bytes: Some(8.0 * (rows * width) as f64),
        peak_gpu_bytes: bytes_of(&plan),
    };
    Ok(vec![case.measured(times)])
}
