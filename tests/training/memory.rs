//! Device memory of a step.

use seemore::models::{Model, ModelConfig, seemore as family};
use seemore::nn::Residual;
use seemore::train::TrainStep;

use super::{LENGTH, batch, config, device, optimizer, sizes};

/// Counts what this crate creates. Inside wgpu, each write of a batch still creates a staging
/// buffer.
#[test]
fn steps_create_nothing_on_the_device() {
    let device = device();
    let config = config(0.1);
    let model = Model::new(&device, &config, 3).unwrap();
    let optimizer = optimizer(&device, &model);
    let step = TrainStep::new(&device, &model, &optimizer, 4, LENGTH, 2).unwrap();
    let batches = [batch(&config, 0..4), batch(&config, 4..8)];
    let run = |number: u64| {
        step.run(&batches, number as u32, 1e-3, 0.0).unwrap();
        (step.loss().unwrap(), step.gradient_norm().unwrap())
    };
    run(1);
    let before = device.created();
    (2..10).for_each(|number| assert!(run(number).1 > 0.0));
    assert_eq!(device.created(), before);
}

#[test]
fn values_of_disjoint_lifetimes_share_buffers() {
    let device = device();
    let config = config(0.1);
    let model = Model::new(&device, &config, 3).unwrap();
    let optimizer = optimizer(&device, &model);
    let step = TrainStep::new(&device, &model, &optimizer, 8, LENGTH, 1).unwrap();
    let memory = step.plan().memory();
    assert!(memory.shared < memory.unshared * 3 / 4, "{memory:?}");
    for parts in [1, 2] {
        let before = device.created();
        let recording = TrainStep::record(
            &device,
            &model,
            &optimizer,
            &sizes(8, parts, false),
            &|_| true,
        )
        .unwrap();
        // the loss, the gradients, and their sums when they are accumulated
        assert_eq!(device.created().buffers - before.buffers, 1 + parts as u64);
        if parts == 1 {
            assert_eq!(recording.memory(), memory);
        }
    }
}

#[test]
fn recomputing_blocks_saves_memory_and_keeps_results() {
    let device = device();
    for residual in [Residual::Prenorm, Residual::AfterLn2] {
        let ModelConfig::Seemore(tiny) = config(0.1) else {
            panic!("preset tiny is of the seemore family")
        };
        let config = ModelConfig::from(family::Config { residual, ..tiny });
        let batches = [batch(&config, 0..8)];
        let [(kept, most), (again, less)] = [false, true].map(|checkpoint| {
            let model = Model::new(&device, &config, 3).unwrap();
            let optimizer = optimizer(&device, &model);
            let step = TrainStep::record(
                &device,
                &model,
                &optimizer,
                &sizes(8, 1, checkpoint),
                &|_| true,
            )
            .unwrap()
            .plan(&device)
            .unwrap();
            let mut numbers = vec![];
            for number in 1..=3 {
                step.run(&batches, number as u32, 1e-3, 0.0).unwrap();
                numbers.push(vec![
                    step.loss().unwrap().to_bits(),
                    step.gradient_norm().unwrap().to_bits(),
                ]);
            }
            // the moments reveal the gradients
            let tensors = optimizer
                .state()
                .into_iter()
                .chain(model.parameters().to_vec());
            numbers.extend(tensors.map(|(_, tensor)| tensor.read::<u32>().unwrap()));
            (numbers, step.plan().memory())
        });
        assert_eq!(kept, again);
        assert!(less.shared < most.shared, "{less:?} and {most:?}");
    }
    // with larger batches the gradients of the parameters, which both have, weigh less
    let config = config(0.1);
    let model = Model::new(&device, &config, 3).unwrap();
    let optimizer = optimizer(&device, &model);
    let [most, less] = [false, true].map(|checkpoint| {
        TrainStep::record(
            &device,
            &model,
            &optimizer,
            &sizes(64, 1, checkpoint),
            &|_| true,
        )
        .unwrap()
        .memory()
        .shared
    });
    assert!(less < most * 3 / 4, "{less} and {most}");
}
