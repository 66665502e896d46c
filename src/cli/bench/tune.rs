//! Benchmark of tuning: a step of LoRA on a pretrained model, whose pictures come as features.

use std::path::Path;

use anyhow::{bail, ensure};

use super::measure::{Case, Effort, Failure, Measurement, kernel_times, noise, time};
use crate::device::Device;
use crate::graph::Precision;
use crate::models::checkpoint::{self, KeepWeights, LoadOptions, Parts};
use crate::models::library;
use crate::nn::{LoraConfig, Targets};
use crate::ops::GradScaler;
use crate::train::{
    AnswerPlaces, AnswerSizes, Batch, Optimizer, OptimizerConfig, StepSizes, TrainStep,
};

/// Numbers of pictures in a step.
pub const BATCHES: [usize; 2] = [1, 4];

/// Tokens of a text beside those of its picture: the question, and the answer.
const QUESTION: usize = 17;
const ANSWER: usize = 34;

/// Measures forward and backward pass and update of rank-8 adapters of all linear layers of the
/// decoder's blocks, one tile a picture.
pub fn measure(
    device: &Device,
    name: &Path,
    batch: usize,
    exact: bool,
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let path = library::locate(name)?;
    let Some((family, _)) = checkpoint::describe(&path)? else {
        bail!("{} is not a pretrained model", name.display());
    };
    let pattern = family.adapter_targets().unwrap_or_default();
    let lora = LoraConfig::new(Targets::Pattern(pattern));
    let options = LoadOptions {
        new_adapters: Some((&lora, 1)),
        keep: KeepWeights::TrainedParts(Parts::default()),
        ..LoadOptions::default()
    };
    let (model, _) = checkpoint::load_options(device, &path, &options)?;
    let model = model.rounding(!exact);
    let info = model.info();
    ensure!(info.encodes_apart(), "{} takes text only", name.display());
    let places = info.placeholder.map_or(0, |placeholder| placeholder.rows);
    let length = places + QUESTION + ANSWER - 1;
    let sizes = StepSizes {
        batch,
        length,
        precision: Precision::F32,
        answers: Some(AnswerSizes {
            tiles: batch,
            targets: batch * ANSWER,
            encoded: true,
        }),
        ..StepSizes::default()
    };
    let (config, scaler) = (OptimizerConfig::default(), GradScaler::of(Precision::F32));
    let trains = |info: &crate::nn::ParameterInfo| info.is_adapter();
    let optimizer = Optimizer::new(device, model.store(), config, scaler, trains)?;
    let step = TrainStep::record(device, &model, &optimizer, &sizes, &trains)?.plan(device)?;
    let (rows, width) = info.encoder_row_shape();
    let text = |i: usize| (100 + i * 7 % 1000) as u32;
    let mut ids: Vec<u32> = vec![];
    let mut at = AnswerPlaces::default();
    for picture in 0..batch {
        let first = ids.len();
        if let Some(placeholder) = info.placeholder {
            ids.extend(std::iter::repeat_n(placeholder.token, places));
            at.pictures
                .extend((first..first + places).map(|at| at as u32));
        }
        ids.extend((0..QUESTION + ANSWER - 1).map(text));
        let end = picture * (info.visual_tokens + length) + info.visual_tokens + length;
        at.targets.extend((end - ANSWER..end).map(|at| at as u32));
    }
    let batches = [Batch {
        images: noise(batch * rows * width, 1),
        ids,
        targets: (0..batch * ANSWER).map(text).collect(),
        classes: vec![],
        answers: Some(at),
    }];
    let mut number = 0;
    let times = time(effort, || {
        number += 1;
        step.run(&batches, number, 1e-4, 0.0)?;
        Ok(device.wait()?)
    })?;
    let loss = step.loss()?;
    ensure!(loss.is_finite(), "the loss is {loss}");
    let case = Case {
        device,
        bench: "tune",
        case: name.display().to_string(),
        variant: format!(
            "step of {batch} x {} positions",
            info.visual_tokens + length + 1
        ),
        flops: None,
        bytes: None,
        peak_gpu_bytes: step.bytes(),
    };
    let mut measured = case.measured(times);
    measured.kernels = kernel_times(step.plan())?;
    Ok(vec![measured])
}
