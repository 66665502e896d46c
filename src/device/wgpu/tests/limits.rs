//! The library on devices with no more than the limits that WebGPU promises everywhere.

use std::sync::Arc;

use super::WgpuExecutor;
use crate::caption::{Search, SearchOptions};
use crate::device::{Device, DeviceError, Plan, Tensor};
use crate::graph::Capabilities;
use crate::models::{Model, ModelConfig, Overrides, Preset};
use crate::ops::check::{graphics, random_f32};
use crate::ops::{GradScaler, IGNORE};
use crate::train::{Batch, Optimizer, OptimizerConfig, TrainStep};

/// Opens the first adapter with these limits. Kernels are recorded for what `as_if` makes of its
/// capabilities, which must be a subset of them.
fn open(limits: wgpu::Limits, as_if: impl FnOnce(Capabilities) -> Capabilities) -> Device {
    let executor = pollster::block_on(WgpuExecutor::open_limited("0", limits));
    let mut executor = executor.unwrap_or_else(|error| panic!("{error}"));
    let shared = Arc::get_mut(&mut executor.0).unwrap();
    shared.capabilities = as_if(shared.capabilities);
    Device::with_executor(Arc::new(executor))
}

/// A device with the default limits and no subgroups, recorded for as a GPU: with tiles in
/// workgroup memory and reductions over large workgroups.
fn gpu() -> Device {
    open(wgpu::Limits::default(), |here| Capabilities {
        subgroup: None,
        software: false,
        ..here
    })
}

const BATCH: usize = 8;
const LENGTH: usize = 6;

/// Losses of five steps of preset `tiny`, and the number of tensors that its parameters lie in.
fn train(device: &Device) -> (Vec<f32>, usize) {
    let model = Model::new(device, Preset::Tiny.config(), 3).unwrap();
    let (config, scaler) = (OptimizerConfig::default(), GradScaler::default());
    let optimizer = Optimizer::new(device, model.store(), config, scaler, |_| true).unwrap();
    let step = TrainStep::new(device, &model, &optimizer, BATCH, LENGTH, 1).unwrap();
    let side = model.info().image_size();
    let token = |at: usize| (at * 7 % 66) as u32;
    let batch = Batch {
        images: random_f32(BATCH * 3 * side * side, 5),
        ids: (0..BATCH * LENGTH).map(token).collect(),
        targets: (1..=BATCH * LENGTH).map(token).collect(),
        classes: vec![IGNORE; BATCH],
        answers: None,
    };
    let losses = (1..=5).map(|number| {
        step.run(std::slice::from_ref(&batch), number, 3e-3, 0.0)
            .unwrap();
        step.loss().unwrap()
    });
    (losses.collect(), model.store().flats().len())
}

#[track_caller]
fn same_losses(device: &Device) -> usize {
    let (want, _) = train(&graphics());
    let (got, flats) = train(device);
    assert!(got[4] < 0.9 * got[0], "{got:?}");
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() < 1e-3 * want, "{got} and {want}");
    }
    flats
}

#[test]
fn training_is_the_same_within_the_default_limits() {
    let device = open(wgpu::Limits::default(), |here| here);
    assert_eq!(device.capabilities().workgroup, 256);
    assert_eq!(device.max_bytes(), 128 << 20);
    same_losses(&device);
}

#[test]
fn training_with_kernels_for_gpus_is_the_same_within_the_default_limits() {
    same_losses(&gpu());
}

/// Parameters that do not fit into one binding together.
#[test]
fn training_is_the_same_where_bindings_are_small() {
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: 256 << 10,
        ..wgpu::Limits::default()
    };
    let flats = same_losses(&open(limits, |here| here));
    assert!(flats > 1, "all parameters fit into a binding");
}

#[test]
fn captions_are_the_same_within_the_default_limits() {
    let write = |device: &Device, beam: usize| {
        let model = Model::new(device, Preset::Tiny.config(), 3).unwrap();
        let options = SearchOptions {
            batch: 2,
            prompt: 2,
            new: 6,
            beam,
            length_power: 0.0,
        };
        let side = model.info().image_size();
        let images = random_f32(2 * 3 * side * side, 5);
        let mut search = Search::new(device, &model, options).unwrap();
        let found = search.run(&images, &[&[1, 5], &[2]], None).unwrap();
        found.concat()
    };
    let limited = open(wgpu::Limits::default(), |here| here);
    for beam in [1, 3] {
        let want = write(&graphics(), beam);
        for device in [&limited, &gpu()] {
            let got = write(device, beam);
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(&want) {
                assert_eq!(got.tokens, want.tokens);
                let off = got.log_probability() - want.log_probability();
                assert!(off.abs() < 1e-3, "{got:?} and {want:?}");
            }
        }
    }
}

/// Checks that an error names a tensor of `bytes` bytes and the limit.
#[track_caller]
fn refused<T>(result: Result<T, DeviceError>, shape: &[usize], limit: u64) {
    let Err(error) = result else {
        panic!("{shape:?} is not refused")
    };
    let bytes = 4 * shape.iter().product::<usize>();
    let message = error.to_string();
    for part in [
        format!("a tensor of shape {shape:?} takes {bytes} bytes, and "),
        format!(" binds at most {limit} bytes at once"),
    ] {
        assert!(message.contains(&part), "{message}");
    }
}

#[test]
fn weights_and_values_larger_than_a_binding_are_refused() {
    let device = open(wgpu::Limits::default(), |here| here);
    let limit = 128 << 20;
    let elements = limit as usize / 4;
    refused(
        Tensor::zeros(&device, &[elements + 4]),
        &[elements + 4],
        limit,
    );

    let mut config: ModelConfig = Preset::Seemore.config();
    let overrides = Overrides {
        vocab_size: Some(300_000),
        ..Overrides::default()
    };
    config.apply(&overrides).unwrap();
    refused(Model::new(&device, &config, 1), &[300_000 * 128], limit);

    let mut tape = device.tape();
    let x = tape.fill(&[5, elements / 4], 1.0);
    let sum = tape.sum_rows(x, elements / 4);
    tape.hold(sum);
    refused(Plan::new(&device, tape), &[5, elements / 4], limit);
    // the device still works
    Tensor::zeros(&device, &[elements / 8]).unwrap();
    device.check().unwrap();
}
