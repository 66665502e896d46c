//! Gradients against central differences.

use seemore::models::{Model, ModelConfig, Part};
use seemore::nn::ParameterInfo;

use super::{BOTH, batch, device, gradients, pooled};

/// Checks by a central difference that the loss rises along the gradient by the length of the
/// gradient.
fn rises_by_its_norm(config: ModelConfig, trains: &dyn Fn(&ParameterInfo) -> bool) {
    let device = device();
    let model = Model::new(&device, &config, 3).unwrap();
    for (_, tensor) in model.parameters() {
        let values = tensor.read::<f32>().unwrap();
        tensor.write(
            &values
                .iter()
                .enumerate()
                .map(|(i, x)| x + 0.05 * ((i * 29 % 97) as f32 / 48.0 - 1.0))
                .collect::<Vec<f32>>(),
        );
    }
    let (step, optimizer) = gradients(&device, &model, BOTH, trains);
    let batches = [batch(&config, 0..8)];
    let loss = || {
        step.run(&batches, 1, 0.0, 0.0).unwrap();
        step.loss().unwrap() as f64
    };
    loss();
    let norm = step.gradient_norm().unwrap() as f64;
    // after one step from zero the first moment is a tenth of the gradient
    let state = optimizer.state();
    let moment = |name: &str| {
        state
            .iter()
            .find(|(known, _)| *known == format!("m.{name}"))
            .unwrap()
            .1
            .read::<f32>()
            .unwrap()
    };
    let directions: Vec<Vec<f32>> = model
        .parameters()
        .iter()
        .map(|(name, _)| moment(name))
        .collect();
    let length = directions
        .iter()
        .flatten()
        .map(|x| (*x as f64).powi(2))
        .sum::<f64>()
        .sqrt();
    assert!(
        (10.0 * length / norm - 1.0).abs() < 1e-3,
        "moments of length {length} for gradients of {norm}"
    );
    let before: Vec<Vec<f32>> = model
        .parameters()
        .iter()
        .map(|(_, tensor)| tensor.read().unwrap())
        .collect();
    let shifted = |by: f64| {
        for (((_, tensor), before), direction) in
            model.parameters().iter().zip(&before).zip(&directions)
        {
            let moved = before
                .iter()
                .zip(direction)
                .map(|(x, d)| (*x as f64 + by * *d as f64 / length) as f32);
            tensor.write(&moved.collect::<Vec<f32>>());
        }
        loss()
    };
    const STEP: f64 = 2e-3;
    let slope = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
    assert!(
        (slope / norm - 1.0).abs() < 0.01,
        "the loss rises by {slope}, the gradient is of length {norm}"
    );
}

#[test]
fn gradients_of_the_pooled_model_match_differences() {
    rises_by_its_norm(pooled(false), &|_| true);
}

#[test]
fn the_guess_trains_the_decoder_only() {
    // no gradient flows from the guess to the class head and the encoder, so only the other
    // parameters match differences
    rises_by_its_norm(pooled(true), &|info| info.role.part != Part::Encoder);
}
