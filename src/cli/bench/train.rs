//! Benchmark of training.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;

use super::measure::{
    Case, Effort, Failure, Measurement, Times, expect, kernel_times, noise, time,
};
use crate::data::{Batches, Dataset, Sample};
use crate::device::Device;
use crate::graph::Precision;
use crate::image::Augment;
use crate::models::{Model, ModelConfig};
use crate::ops::{GradScaler, IGNORE};
use crate::train::{Decay, Optimizer, OptimizerConfig, Rule};
use crate::train::{Feed, Prefetcher, StepSizes, Text, TrainStep};

/// Floating-point operations of the matrix products in a forward pass, a multiply-add counted as
/// two.
fn forward_flops(config: &ModelConfig, batch: usize, text: usize) -> f64 {
    2.0 * batch as f64 * config.multiply_adds(text)
}

/// Measures a training step: forward, backward and update.
pub fn measure(
    device: &Device,
    config: &ModelConfig,
    sizes: &StepSizes,
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let StepSizes {
        batch,
        length: text,
        checkpoint,
        precision,
        ..
    } = *sizes;
    let model = Model::new(device, config, 0)?;
    let info = model.info();
    let hyper = OptimizerConfig {
        rule: Rule::Adamw,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        clip: 1.0,
        decay: Decay::All,
        ema: 0.0,
    };
    let optimizer = Optimizer::new(
        device,
        model.store(),
        hyper,
        GradScaler::of(precision),
        |_| true,
    )?;
    let (start, cpu) = (Instant::now(), ProcessTime::now());
    let step = TrainStep::record(device, &model, &optimizer, sizes, &|_| true)?.plan(device)?;
    let token = |i: usize| (i * 7 % info.vocab_size) as u32;
    let tokens = |from: usize| (from..from + text).map(token).collect();
    let pixels = noise(batch * 3 * info.image_size() * info.image_size(), 1);
    let pictures = pixels.chunks(pixels.len() / batch);
    let rgb = |picture: &[f32]| {
        picture
            .iter()
            .map(|pixel| (127.5 * (pixel + 1.0)) as u8)
            .collect()
    };
    let samples = pictures
        .map(|picture| Sample::new("", rgb(picture), ""))
        .collect();
    let data = Dataset {
        side: info.image_size(),
        samples,
    };
    let feed = Arc::new(Feed {
        train: &data,
        texts: (0..batch)
            .map(|row| {
                vec![Text {
                    ids: tokens(row * text),
                    targets: tokens(row * text + 1),
                }]
            })
            .collect(),
        classes: vec![if info.classes > 0 { 0 } else { IGNORE }; batch],
        order: Batches::new(batch, batch, 1),
        part: batch,
        length: text,
        pad: 0,
        count_pads: info.count_pads,
        augment: Augment::light(),
        seed: 1,
    });
    let (mut number, mut waits) = (0, vec![]);
    let (compile, times) = std::thread::scope(|scope| -> Result<_, Failure> {
        let mut input = Prefetcher::new(scope, feed, 0, None);
        let mut run = || {
            number += 1;
            let before = input.waited();
            let batches = input.next().map_err(Failure::msg)?;
            waits.push(input.waited() - before);
            step.run(&batches, number as u32, 1e-3, 0.0)?;
            Ok(device.wait()?)
        };
        run()?;
        let (first_step, first_cpu) = (start.elapsed(), cpu.elapsed());
        let first = step.loss()?;
        let classes = if info.classes > 0 {
            (info.classes as f64).ln()
        } else {
            0.0
        };
        // cosines times 20 are far from uniform before training
        let off = if info.uniform_start { 1.0 } else { 10.0 };
        expect(
            "the untrained model's loss",
            first,
            (info.vocab_size as f64).ln() + classes,
            off,
        )?;
        let times = time(effort, run)?;
        let last = step.loss()?;
        anyhow::ensure!(
            last < first,
            "the loss rose from {first} to {last} while one batch was trained"
        );
        Ok((
            Times {
                median: first_step,
                least: first_step,
                most: first_step,
                cpu: first_cpu,
            },
            times,
        ))
    })?;
    let waits = waits.split_off((1 + effort.warmup) as usize);
    let case = |variant: &str, flops| Case {
        device,
        bench: "train",
        case: format!(
            "batch {batch}, {text} characters, {} px{}{}",
            info.image_size(),
            if precision == Precision::F16 {
                ", f16"
            } else {
                ""
            },
            if checkpoint { ", checkpointed" } else { "" }
        ),
        variant: variant.into(),
        flops,
        bytes: None,
        peak_gpu_bytes: step.bytes(),
    };
    let mut steps = case("step", Some(3.0 * forward_flops(config, batch, text))).measured(times);
    steps.kernels = kernel_times(step.plan())?;
    Ok(vec![
        steps,
        case("waiting for input in a step", None).measured(Times::new(waits, Duration::ZERO)),
        case("first step, kernels compiled", None).measured(compile),
    ])
}
