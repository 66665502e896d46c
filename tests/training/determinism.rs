//! Equal seeds give equal results.

use seemore::device::Device;
use seemore::models::{Model, Overrides, Preset};
use seemore::train::TrainStep;

use super::{LENGTH, Run, batch, config, device, optimizer, train};

#[test]
fn equal_seeds_give_equal_bits() {
    let device = device();
    let runs = [(); 2].map(|()| train(&device, &config(0.1), 1, 12));
    let bits = |run: &Run| {
        run.losses
            .iter()
            .map(|loss| loss.to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(&runs[0]), bits(&runs[1]));
    for ((name, a), (_, b)) in runs[0]
        .model
        .parameters()
        .iter()
        .zip(runs[1].model.parameters())
    {
        assert_eq!(a.read::<u32>().unwrap(), b.read::<u32>().unwrap(), "{name}");
    }
    assert!(
        runs[0].losses[11] < runs[0].losses[0],
        "{:?}",
        runs[0].losses
    );
}

#[test]
fn dropout_depends_on_the_seed_only() {
    let device = device();
    let config = config(0.3);
    let model = Model::new(&device, &config, 3).unwrap();
    let optimizer = optimizer(&device, &model);
    let step = TrainStep::new(&device, &model, &optimizer, 8, LENGTH, 1).unwrap();
    let batches = [batch(&config, 0..8)];
    let loss = |seed| {
        // a learning rate of zero leaves the parameters unchanged, weight decay included
        step.run(&batches, seed, 0.0, 0.0).unwrap();
        step.loss().unwrap().to_bits()
    };
    assert_eq!(loss(1), loss(1));
    assert_ne!(loss(1), loss(2));
}

/// The default model, whose sizes cut every kernel into several tasks.
#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let mut config = Preset::Seemore.config();
    let overrides = Overrides {
        vocab_size: Some(20),
        ..Overrides::default()
    };
    config.apply(&overrides).unwrap();
    let run = |device: &str| {
        let device = Device::open(Some(device)).unwrap();
        train(&device, &config, 1, 2)
    };
    let one = run("cpu:1");
    for threads in ["cpu:2", "cpu:5"] {
        let other = run(threads);
        let pairs = one.model.parameters().iter().zip(other.model.parameters());
        for ((name, a), (_, b)) in pairs {
            let same = a.read::<u32>().unwrap() == b.read::<u32>().unwrap();
            assert!(same, "{name} differs with {threads}");
        }
    }
}
