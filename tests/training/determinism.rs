//! Equal seeds give equal results.

use seemore::models::Model;
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
