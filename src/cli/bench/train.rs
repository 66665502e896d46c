//! Benchmark of training.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;

use super::measure::{
    Case, Effort, Failure, KernelTime, Measurement, Times, expect, kernel_times, noise, time,
};
use crate::data::{Batches, Dataset, Sample};
use crate::device::{Device, Plan};
use crate::graph::Precision;
use crate::image::Augment;
use crate::models::{Model, ModelConfig};
use crate::ops::{GradScaler, IGNORE};
use crate::train::{Feed, Prefetcher, StepSizes, Text, TrainStep};
use crate::train::{Optimizer, OptimizerConfig};

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
    let optimizer = Optimizer::new(
        device,
        model.store(),
        OptimizerConfig::default(),
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
        rank: (0, 1),
        length: text,
        pad: 0,
        count_pads: info.count_pads,
        augment: Augment::light(),
        seed: 1,
        answers: None,
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
    let products = products(step.plan(), effort)?;
    let products = products.map(|(flops, times, kernels)| Measurement {
        kernels,
        gflops_per_cpu_s: None,
        ..case("matrix products of a step", Some(flops)).measured(times)
    });
    let mut measured = vec![steps];
    measured.extend(products);
    measured.extend([
        case("waiting for input in a step", None).measured(Times::new(waits, Duration::ZERO)),
        case("first step, kernels compiled", None).measured(compile),
    ]);
    Ok(measured)
}

/// Operations and times of the matrix products of a program, with the time of those of each shape
/// `MxNxK`; `None` without timestamps. Operands and results are whole matrices.
fn products(plan: &Plan, effort: Effort) -> Result<Option<(f64, Times, Vec<KernelTime>)>, Failure> {
    let count = |shape: Option<&Vec<usize>>| {
        shape.map_or(0.0, |shape| shape.iter().product::<usize>() as f64)
    };
    let shapes: Vec<Option<[f64; 3]>> = plan
        .calls()
        .map(|call| {
            let [a, b, c] = [call.reads.first(), call.reads.get(1), call.writes.last()].map(count);
            // a = m k, b = k n, c = m n
            let side = |x: f64, y: f64, z: f64| (x * y / z).sqrt();
            let product = call.kernel.starts_with("matmul");
            product.then(|| [side(a, c, b), side(b, c, a), side(a, b, c)])
        })
        .collect();
    let flops = shapes.iter().flatten().map(|[m, n, k]| 2.0 * m * n * k);
    let flops = flops.sum();
    let (mut sums, mut by_shape) = (vec![], BTreeMap::<String, (usize, Duration)>::new());
    let runs = effort.runs.max(1);
    for _ in 0..runs {
        let Some(times) = plan.times()? else {
            return Ok(None);
        };
        let mut sum = Duration::ZERO;
        for (shape, time) in shapes.iter().zip(times) {
            let Some([m, n, k]) = shape else { continue };
            sum += time;
            let entry = by_shape.entry(format!("{m}x{n}x{k}")).or_default();
            *entry = (entry.0 + 1, entry.1 + time);
        }
        sums.push(sum);
    }
    let mut kernels: Vec<KernelTime> = by_shape
        .into_iter()
        .map(|(kernel, (dispatches, time))| KernelTime {
            kernel,
            dispatches: dispatches / runs as usize,
            ms: 1e3 * time.as_secs_f64() / runs as f64,
        })
        .collect();
    kernels.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    Ok(Some((flops, Times::new(sums, Duration::ZERO), kernels)))
}
