//! A model of your own in a page: two layers that learn which of two interleaved spirals a point
//! lies on.
//!
//! `cargo run --release --example custom_model`

use seemore::nn::{Context, Linear, Parameters};
use seemore::ops::{Activation, GradScaler};
use seemore::train::{Gradients, Optimizer, OptimizerConfig};
use seemore::{Device, Plan};

/// Points per spiral.
const POINTS: usize = 200;
const STEPS: usize = 1500;

/// Points `[2 POINTS, 2]` on two spirals, and the spiral of each.
fn spirals() -> (Vec<f32>, Vec<u32>) {
    let (mut points, mut spiral_of) = (vec![], vec![]);
    for i in 0..2 * POINTS {
        let (spiral, at) = (i % 2, (i / 2) as f32 / POINTS as f32);
        let angle = 7.0 * at + std::f32::consts::PI * spiral as f32;
        points.extend([at * angle.cos(), at * angle.sin()]);
        spiral_of.push(spiral as u32);
    }
    (points, spiral_of)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::best()?;
    // modules create their parameters, which share one large tensor
    let ((hidden, output), store) = Parameters::build(&device, 1, |p| {
        let hidden = Linear::new(p, "hidden", 2, 128, true)?;
        Ok((hidden, Linear::new(p, "output", 128, 2, true)?))
    })?;
    let config = OptimizerConfig::default();
    let optimizer = Optimizer::new(&device, &store, config, GradScaler::default(), |_| true)?;

    // record one training step: forward pass, loss, gradients, update
    let mut tape = device.tape();
    let (points, spiral_of) = spirals();
    let x = tape.constant(&points);
    let x = tape.view(x, &[2 * POINTS, 2]);
    let targets = tape.constant(&spiral_of);
    let mean = tape.constant(&[1.0 / (2 * POINTS) as f32]);
    let mut c = Context::training(&mut tape, 0.0);
    let h = hidden.activated(&mut c, x, Activation::Gelu);
    let logits = output.forward(&mut c, h);
    let loss = tape.cross_entropy(logits, targets, mean, 0.0);
    let scale = optimizer.scale(&mut tape);
    tape.backward(loss, scale);
    let gradients = Gradients::new(&device, &store)?;
    gradients.place(&mut tape, &store, |_| true);
    let grads = gradients.bind(&mut tape);
    let update = optimizer.record(&mut tape, &grads, loss);
    [loss, logits].into_iter().for_each(|v| tape.hold(v));

    // run it
    let plan = Plan::new(&device, tape)?;
    plan.write(update.rate, &[0.01f32]);
    for step in 1..=STEPS {
        plan.run()?;
        if step % 300 == 0 {
            println!("step {step}: loss {:.4}", plan.read::<f32>(loss)?[0]);
        }
    }
    let scores: Vec<f32> = plan.read(logits)?;
    let chosen = scores.chunks(2).map(|row| (row[1] > row[0]) as u32);
    let right = chosen
        .zip(&spiral_of)
        .filter(|(chosen, is)| chosen == *is)
        .count();
    println!("{right} of {} points on the right spiral", 2 * POINTS);
    Ok(())
}
