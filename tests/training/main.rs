//! The recorded step and the run around it.

mod accumulation;
mod average;
mod determinism;
mod gradients;
mod memory;
mod observer;
mod parts;
mod precision;
mod profile;

use seemore::device::Device;
use seemore::models::{Model, ModelConfig, Overrides, Preset, emoji, seemore as family};
use seemore::nn::ParameterInfo;
use seemore::ops::{GradScaler, IGNORE};
use seemore::train::{
    Batch, Decay, Moments, Objective, Optimizer, OptimizerConfig, Rule, StepSizes, TrainStep,
};

const OPTIMIZER: OptimizerConfig = OptimizerConfig {
    rule: Rule::Adamw,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weight_decay: 0.01,
    clip: 1.0,
    decay: Decay::All,
    moments: Moments::F32,
    ema: 0.0,
};
const LENGTH: usize = 7;

fn device() -> Device {
    Device::open(None).unwrap_or_else(|error| panic!("{error}"))
}

fn config(dropout: f32) -> ModelConfig {
    let mut config = Preset::Tiny.config();
    let overrides = Overrides {
        vocab_size: Some(20),
        dropout: Some(dropout),
        ..Overrides::default()
    };
    config.apply(&overrides).unwrap();
    config
}

/// A batch of synthetic pictures and captions of different lengths.
fn batch(config: &ModelConfig, pictures: std::ops::Range<usize>) -> Batch {
    let info = config.info();
    let side = info.image_size();
    let pixel = |picture: usize, i: usize| ((picture * 37 + i * 13) % 101) as f32 / 50.0 - 1.0;
    let token = |picture: usize, at: usize| ((picture * 5 + at * 3) % info.vocab_size) as u32;
    let target = |picture: usize, at: usize| {
        if at < 3 + picture % 5 {
            token(picture, at + 1)
        } else {
            IGNORE
        }
    };
    Batch {
        images: pictures
            .clone()
            .flat_map(|p| (0..3 * side * side).map(move |i| pixel(p, i)))
            .collect(),
        ids: pictures
            .clone()
            .flat_map(|p| (0..LENGTH).map(move |at| token(p, at)))
            .collect(),
        targets: pictures
            .clone()
            .flat_map(|p| (0..LENGTH).map(move |at| target(p, at)))
            .collect(),
        classes: pictures.map(|p| (p % 3) as u32).collect(),
        answers: None,
    }
}

fn sizes(batch: usize, accumulate: usize, checkpoint: bool) -> StepSizes {
    StepSizes {
        batch,
        length: LENGTH,
        accumulate,
        checkpoint,
        ..StepSizes::default()
    }
}

/// The optimizer of all parameters of a model.
fn optimizer(device: &Device, model: &Model) -> Optimizer {
    let scaler = GradScaler::default();
    Optimizer::new(device, model.store(), OPTIMIZER, scaler, |_| true).unwrap()
}

struct Run {
    model: Model,
    losses: Vec<f32>,
}

fn train(device: &Device, config: &ModelConfig, parts: usize, steps: u64) -> Run {
    let model = Model::new(device, config, 3).unwrap();
    let optimizer = optimizer(device, &model);
    let step = TrainStep::new(device, &model, &optimizer, 8 / parts, LENGTH, parts).unwrap();
    let batches: Vec<Batch> = (0..parts)
        .map(|part| batch(config, part * 8 / parts..(part + 1) * 8 / parts))
        .collect();
    let losses = (1..=steps)
        .map(|number| {
            step.run(&batches, number as u32, 1e-3, 0.0).unwrap();
            step.loss().unwrap()
        })
        .collect();
    Run { model, losses }
}

/// The emoji preset's arithmetic, small.
fn pooled(guess: bool) -> ModelConfig {
    let tiny = family::Config::tiny();
    emoji::Config {
        vision: emoji::VisionConfig {
            image_size: tiny.vision.image_size,
            patch_size: 4,
            width: tiny.vision.width,
            heads: tiny.vision.heads,
            pool_width: 4,
            ..emoji::VisionConfig::default()
        },
        class_head: emoji::ClassHeadConfig { classes: 3, guess },
        text: emoji::TextConfig {
            vocab_size: 20,
            context: tiny.text.context,
            width: tiny.text.width,
            heads: tiny.text.heads,
            ..emoji::TextConfig::default()
        },
        ..emoji::Config::default()
    }
    .into()
}

const BOTH: Objective = Objective {
    captions: 3.0,
    classes: 1.0,
    smoothing: 0.1,
    pictures: true,
};

/// Records the loss and the gradients of the parameters that `trains` accepts.
fn gradients(
    device: &Device,
    model: &Model,
    objective: Objective,
    trains: &dyn Fn(&ParameterInfo) -> bool,
) -> (TrainStep, Optimizer) {
    // plain gradients: no weight decay, and a learning rate of zero
    let hyper = OptimizerConfig {
        weight_decay: 0.0,
        clip: 0.0,
        ..OPTIMIZER
    };
    let optimizer =
        Optimizer::new(device, model.store(), hyper, GradScaler::default(), trains).unwrap();
    let sizes = StepSizes {
        objective,
        ..sizes(8, 1, false)
    };
    let step = TrainStep::record(device, model, &optimizer, &sizes, trains)
        .unwrap()
        .plan(device)
        .unwrap();
    (step, optimizer)
}
