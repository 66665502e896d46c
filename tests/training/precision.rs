//! Loss scaling, and steps in half precision.

use seemore::graph::Precision;
use seemore::models::Model;
use seemore::ops::GradScaler;
use seemore::train::{Optimizer, StepSizes, Steps, TrainStep};

use super::{LENGTH, OPTIMIZER, batch, config, device, sizes};

#[test]
fn non_finite_steps_are_counted_and_change_nothing() {
    let device = device();
    let config = config(0.0);
    let model = Model::new(&device, &config, 3).unwrap();
    let optimizer = Optimizer::new(
        &device,
        model.store(),
        OPTIMIZER,
        GradScaler::dynamic(),
        |_| true,
    )
    .unwrap();
    let step = TrainStep::new(&device, &model, &optimizer, 8, LENGTH, 1).unwrap();
    let good = [batch(&config, 0..8)];
    let mut bad = good.clone();
    bad[0].images[5] = f32::NAN;
    step.run(&good, 1, 1e-3, 0.0).unwrap();
    let snapshot = || {
        model
            .parameters()
            .iter()
            .map(|(_, tensor)| tensor.read::<u32>().unwrap())
            .collect::<Vec<_>>()
    };
    let (before, moments) = (snapshot(), optimizer.state()[0].1.read::<u32>().unwrap());
    step.run(&bad, 2, 1e-3, 0.0).unwrap();
    assert!(!step.gradient_norm().unwrap().is_finite());
    assert_eq!(
        (snapshot(), optimizer.state()[0].1.read::<u32>().unwrap()),
        (before.clone(), moments)
    );
    let counts = || {
        let Steps {
            scale,
            taken,
            skipped,
            ..
        } = optimizer.steps().unwrap();
        (scale, taken, skipped)
    };
    assert_eq!(counts(), (512.0, 1, 1));
    step.run(&good, 3, 1e-3, 0.0).unwrap();
    assert_eq!(counts(), (512.0, 2, 1));
    assert_ne!(snapshot(), before);
}

#[test]
fn power_of_two_loss_scales_change_no_bit() {
    let device = device();
    let config = config(0.1);
    let runs = [GradScaler::default(), GradScaler::dynamic()].map(|scaler| {
        let model = Model::new(&device, &config, 3).unwrap();
        let optimizer =
            Optimizer::new(&device, model.store(), OPTIMIZER, scaler, |_| true).unwrap();
        let step = TrainStep::new(&device, &model, &optimizer, 8, LENGTH, 1).unwrap();
        (1..=4).for_each(|number| {
            step.run(&[batch(&config, 0..8)], number, 1e-3, 0.0)
                .unwrap()
        });
        (
            step.loss().unwrap().to_bits(),
            step.gradient_norm().unwrap().to_bits(),
        )
    });
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn half_precision_reaches_the_loss_within_one_percent() {
    let device = device();
    let config = config(0.0);
    let [full, half] = [Precision::F32, Precision::F16].map(|precision| {
        let model = Model::new(&device, &config, 3).unwrap();
        let optimizer = Optimizer::new(
            &device,
            model.store(),
            OPTIMIZER,
            GradScaler::of(precision),
            |_| true,
        )
        .unwrap();
        let record = |precision| {
            TrainStep::record(
                &device,
                &model,
                &optimizer,
                &StepSizes {
                    precision,
                    ..sizes(8, 1, false)
                },
                &|_| true,
            )
        };
        let step = record(precision).unwrap().plan(&device).unwrap();
        (1..=60).for_each(|number| {
            step.run(
                &[batch(
                    &config,
                    8 * (number as usize % 4)..8 * (number as usize % 4) + 8,
                )],
                number,
                1e-3,
                0.0,
            )
            .unwrap()
        });
        assert_eq!(optimizer.steps().unwrap().skipped, 0);
        // both are validated in f32 on unseen pictures; a rate of zero changes nothing
        let validation = record(Precision::F32).unwrap().plan(&device).unwrap();
        validation
            .run(&[batch(&config, 32..40)], 0, 0.0, 0.0)
            .unwrap();
        validation.loss().unwrap()
    });
    assert!((half / full - 1.0).abs() < 0.01, "{half} for {full}");
    assert_ne!(half.to_bits(), full.to_bits());
}
