//! Chapter 8: the loss, and what a gradient is.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use figure::{BLUE, Figure, GREY, ORANGE};
use lesson::{cpu, row};
use seemore::Plan;

const NAMES: [&str; 3] = ["key", "pen", "sun"];
const TRUTH: u32 = 1;
const RATE: f32 = 1.0;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;
    // the loss of three logits, and how it changes with each of them
    let mut tape = device.tape();
    let logits = tape.variable(&[1, 3]);
    let (targets, one) = (tape.constant(&[TRUTH]), tape.constant(&[1f32]));
    let loss = tape.cross_entropy(logits, targets, one, 0.0);
    let shares = tape.softmax(logits);
    tape.backward(loss, one);
    let gradient = tape.grad(logits).expect("the loss depends on the logits");
    [loss, shares, gradient]
        .into_iter()
        .for_each(|v| tape.hold(v));
    let plan = Plan::new(&device, tape)?;
    let loss_at = |values: [f32; 3]| {
        plan.write(logits, &values);
        plan.run_and_read::<f32>(loss).map(|loss| loss[0])
    };

    let mut values = [2.0, 1.0, 0.0];
    let start = loss_at(values)?;
    let shares: Vec<f32> = plan.read(shares)?;
    println!("logits        {}", row(&values, 2));
    println!("probabilities {}", row(&shares, 2));
    println!(
        "truth: {}, probability {:.2}, loss {start:.2}",
        NAMES[1], shares[1]
    );
    println!("gradient      {}", row(&plan.read::<f32>(gradient)?, 2));
    // the same by trying: how much does the loss change if one logit grows a little?
    // ANCHOR: tried
    let mut tried = [0.0; 3];
    for (i, slope) in tried.iter_mut().enumerate() {
        let (mut up, mut down) = (values, values);
        up[i] += 0.01;
        down[i] -= 0.01;
        *slope = (loss_at(up)? - loss_at(down)?) / 0.02;
    }
    // ANCHOR_END: tried
    println!("by trying     {}", row(&tried, 2));

    // a step against the gradient, again and again
    let mut losses = vec![];
    for step in 0..=10 {
        losses.push(loss_at(values)?);
        if [0, 1, 2, 5, 10].contains(&step) {
            println!(
                "step {step:2}: logits {}  loss {:.3}",
                row(&values, 2),
                losses[step]
            );
        }
        let slopes: Vec<f32> = plan.read(gradient)?;
        values
            .iter_mut()
            .zip(slopes)
            .for_each(|(value, slope)| *value -= RATE * slope);
    }

    let alt = "Left: the loss as a curve over the probability of the truth. Right: the loss falls over ten steps";
    let mut figure = Figure::new("08_loss", 660, 270, alt);
    let curve = (3..=100).map(|i| i as f32 / 100.0);
    let at = |p: f32| (40.0 + 240.0 * p, 200.0 + 45.0 * p.ln());
    figure.line(&[(40.0, 30.0), (40.0, 200.0), (285.0, 200.0)], GREY);
    figure.line(&curve.map(at).collect::<Vec<_>>(), BLUE);
    let (x, y) = at(shares[1]);
    figure.bar([x - 4.0, y - 4.0, 8.0, 8.0], ORANGE, 1.0);
    figure.label(
        x + 12.0,
        y,
        "start",
        12,
        ORANGE,
        &format!("start: {start:.2}"),
    );
    figure.center(160.0, 228.0, "probability of the truth, 0 to 1");
    figure.label(90.0, 42.0, "start", 12, GREY, "loss = -ln(probability)");
    figure.line(&[(370.0, 30.0), (370.0, 200.0), (630.0, 200.0)], GREY);
    let points = losses.iter().enumerate();
    let points: Vec<_> = points
        .map(|(i, loss)| (370.0 + 25.0 * i as f32, 200.0 - 100.0 * loss))
        .collect();
    figure.line(&points, ORANGE);
    figure.center(500.0, 228.0, "loss over ten steps");
    figure.save();
    Ok(())
}
