//! Moving average of the parameters.

use seemore::models::Model;
use seemore::ops::GradScaler;
use seemore::train::{Optimizer, OptimizerConfig, TrainStep};

use super::{LENGTH, OPTIMIZER, batch, config, device};

#[test]
fn the_average_follows_the_parameters_and_swaps_with_them() {
    let device = device();
    let config = config(0.0);
    let model = Model::new(&device, &config, 3).unwrap();
    let hyper = OptimizerConfig {
        ema: 0.9,
        ..OPTIMIZER
    };
    let optimizer = Optimizer::new(&device, model.store(), hyper, GradScaler::default(), |_| {
        true
    })
    .unwrap();
    let step = TrainStep::new(&device, &model, &optimizer, 8, LENGTH, 1).unwrap();
    let read = |named: &[(String, seemore::device::Tensor)]| {
        named
            .iter()
            .flat_map(|(_, t)| t.read::<f32>().unwrap())
            .collect::<Vec<f32>>()
    };
    let mut want = read(model.parameters());
    for number in 0..5 {
        let keep = optimizer.keep(number);
        assert_eq!(
            keep,
            0.9f64.min((1 + number) as f64 / (10 + number) as f64) as f32
        );
        step.run(&[batch(&config, 0..8)], number as u32, 1e-2, keep)
            .unwrap();
        want.iter_mut()
            .zip(read(model.parameters()))
            .for_each(|(average, now)| *average += (1.0 - keep) * (now - *average));
    }
    let (average, trained) = (read(&optimizer.result()), read(model.parameters()));
    let off = average
        .iter()
        .zip(&want)
        .map(|(a, b)| (a - b).abs())
        .max_by(f32::total_cmp)
        .unwrap();
    assert!(off < 1e-6 && average != trained, "off by {off}");
    optimizer.swap_average().unwrap();
    assert_eq!(
        (read(model.parameters()), read(&optimizer.result())),
        (average.clone(), trained.clone())
    );
    optimizer.swap_average().unwrap();
    assert_eq!(
        (read(model.parameters()), read(&optimizer.result())),
        (trained, average)
    );
}
