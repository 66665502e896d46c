//! Chapter 6: the projector, and why image features become visual tokens.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use figure::{Figure, GREEN, GREY};
use lesson::{cpu, parameters, row, values};
use seemore::Plan;
use seemore::nn::{Context, Mlp, Parameters};
use seemore::ops::{GradScaler, check::random_f32, transposed};
use seemore::train::{Gradients, Optimizer, OptimizerConfig};

const WORDS: [&str; 3] = ["sunflower", "penguin", "key"];
/// Width of the image encoder, and of the decoder.
const IMAGE: usize = 64;
const TEXT: usize = 32;

/// Cosine of each visual token with each word: 1 for the same direction, 0 for none in common.
fn cosines(visual: &[f32], words: &[f32]) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let pairs = visual
        .chunks(TEXT)
        .flat_map(|v| words.chunks(TEXT).map(move |w| (v, w)));
    pairs
        .map(|(v, w)| dot(v, w) / (dot(v, v) * dot(w, w)).sqrt())
        .collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;
    // stand-ins: what an encoder says of three pictures, and what a decoder knows of three words
    let features = random_f32(3 * IMAGE, 1);
    let words = random_f32(3 * TEXT, 2);
    let (projector, store) =
        Parameters::build(&device, 3, |p| Mlp::new(p, ["proj1", "proj2"], IMAGE, TEXT))?;
    println!(
        "projector: {IMAGE} -> {} -> {TEXT}, {} parameters",
        4 * IMAGE,
        parameters(&store)
    );
    let config = OptimizerConfig::default();
    let optimizer = Optimizer::new(&device, &store, config, GradScaler::default(), |_| true)?;

    // only the projector learns: each visual token is to point where its word points
    let mut tape = device.tape();
    let x = values(&mut tape, &[3, IMAGE], &features);
    let table = values(&mut tape, &[3, TEXT], &words);
    let targets = tape.constant(&[0u32, 1, 2]);
    let mean = tape.constant(&[1.0f32 / 3.0]);
    let visual = projector.forward(&mut Context::training(&mut tape, 0.0), x);
    let logits = tape.matmul(visual, transposed(table));
    let loss = tape.cross_entropy(logits, targets, mean, 0.0);
    let scale = optimizer.scale(&mut tape);
    tape.backward(loss, scale);
    let gradients = Gradients::new(&device, &store)?;
    gradients.place(&mut tape, &store, |_| true);
    let grads = gradients.bind(&mut tape);
    let update = optimizer.record(&mut tape, &grads, loss);
    [loss, visual].into_iter().for_each(|v| tape.hold(v));
    let plan = Plan::new(&device, tape)?;
    plan.write(update.rate, &[0.003f32]);

    let alt = "Cosines between three visual tokens and three words, before and after training: \
               afterwards each is closest to its own word";
    let mut figure = Figure::new("06_projector", 660, 250, alt);
    for step in 0..=40 {
        plan.run()?;
        if step % 40 == 0 {
            // the values of this run are those before its update
            println!("after {step} steps: loss {:.2}", plan.read::<f32>(loss)?[0]);
            let near = cosines(&plan.read::<f32>(visual)?, &words);
            for (word, cosines) in WORDS.iter().zip(near.chunks(3)) {
                println!("  picture of {word:9}: cosines {}", row(cosines, 2));
            }
            let x = 110.0 + 320.0 * (step / 40) as f32;
            figure.shares((x, 50.0), &["sunfl.", "penguin", "key"], &near, GREEN);
            figure.center(
                x + 66.0,
                222.0,
                ["before training", "after 40 steps"][step / 40],
            );
        }
    }
    figure.arrow((275.0, 120.0), (335.0, 120.0), GREY);
    figure.save();
    Ok(())
}
