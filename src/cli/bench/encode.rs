//! Benchmark of the image encoder alone.

use super::measure::{
    Case, Effort, Failure, Measurement, bytes_of, expect, kernel_times, noise, time,
};
use crate::device::{Device, Plan};
use crate::graph::Var;
use crate::models::{Model, ModelConfig};
use crate::nn::Context;

/// Measures encoding a batch of images.
pub fn measure(
    device: &Device,
    config: &ModelConfig,
    batch: usize,
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let model = Model::new(device, config, 0)?;
    let info = model.info();
    let Some(stack) = info.encoder else {
        return Ok(vec![]);
    };
    let side = info.image_size();
    let images = noise(batch * 3 * side * side, 1);
    let encoder = |batch: usize| -> Result<(Plan, Var, Var), Failure> {
        let mut tape = device.tape();
        let image = tape.input(&[batch, 3, side, side]);
        let rows = model.encode(&mut Context::inference(&mut tape), image).rows;
        tape.hold(rows);
        Ok((Plan::new(device, tape)?, image, rows))
    };

    let (plan, image, rows) = encoder(batch)?;
    plan.write(image, &images);
    plan.run()?;
    let got: Vec<f32> = plan.read(rows)?;
    let (single, one, one_row) = encoder(1)?;
    let last = (batch - 1) * 3 * side * side;
    single.write(one, &images[last..]);
    single.run()?;
    let want: Vec<f32> = single.read(one_row)?;
    for (got, want) in got[got.len() - want.len()..].iter().zip(want) {
        expect("the last of a batch of images", *got, want as f64, 1e-3)?;
    }

    let times = time(effort, || {
        plan.run()
            .and_then(|()| device.wait())
            .map_err(Failure::from)
    })?;
    let (tokens, width) = (info.encoder_rows() as f64, stack.width as f64);
    let pixels = (3 * side * side) as f64;
    // products of the blocks, scores and weighted values, patch embedding
    let one = stack.layers as f64 * (24.0 * tokens * width * width + 4.0 * tokens * tokens * width)
        + 2.0 * pixels * width;
    let mut measured = Case {
        device,
        bench: "encode",
        case: format!("batch {batch}, {side} px"),
        variant: "images to features".into(),
        flops: Some(batch as f64 * one),
        bytes: None,
        peak_gpu_bytes: bytes_of(&plan),
    }
    .measured(times);
    measured.kernels = kernel_times(&plan)?;
    Ok(vec![measured])
}
