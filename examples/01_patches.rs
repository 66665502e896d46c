//! Chapter 1: a picture becomes patches.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use figure::{BLUE, Figure, GREY};
use lesson::{compute, cpu, drawings, parameters, png, row, values};
use seemore::nn::{Context, Linear, Parameters};

const SIDE: usize = 32;
const PATCH: usize = 8;
const WIDTH: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;
    let drawing = &drawings(SIDE)?.samples[1];
    println!("caption: {}", drawing.caption);
    println!("pixels: {SIDE} x {SIDE} x 3 = {} bytes", drawing.rgb.len());

    // bytes become numbers around 0
    let middle = 3 * (SIDE * SIDE / 2 + SIDE / 2);
    let pixel = &drawing.rgb[middle..middle + 3];
    let planes = drawing.normalised();
    let place = middle / 3;
    let normal = [0, 1, 2].map(|channel| planes[channel * SIDE * SIDE + place]);
    println!(
        "the pixel in the middle: {pixel:?} becomes {}",
        row(&normal, 2)
    );

    // the picture is cut into squares, and each square becomes a row of numbers
    let [patches] = compute(&device, |t| {
        let image = values(t, &[1, 3, SIDE, SIDE], &planes);
        [t.patchify(image, PATCH)]
    })?;
    let count = (SIDE / PATCH).pow(2);
    let length = patches.len() / count;
    println!("patches: {count} rows of {length} numbers");
    println!("mean of red, green and blue in each patch:");
    for (i, patch) in patches.chunks(length).enumerate() {
        let mean = |plane: &[f32]| plane.iter().sum::<f32>() / plane.len() as f32;
        let means: Vec<f32> = patch.chunks(PATCH * PATCH).map(mean).collect();
        println!("  patch {i:2}: {}", row(&means, 2));
    }

    // one matrix turns every row into a vector of the model's width
    let (embed, store) =
        Parameters::build(&device, 1, |p| Linear::new(p, "patch", length, WIDTH, true))?;
    let [tokens] = compute(&device, |t| {
        let image = values(t, &[1, 3, SIDE, SIDE], &planes);
        let patches = t.patchify(image, PATCH);
        [embed.forward(&mut Context::inference(t), patches)]
    })?;
    let weights = parameters(&store);
    println!("embedding: {count} rows of {WIDTH} numbers, by {weights} parameters");
    println!(
        "patch 5 begins {}",
        row(&tokens[5 * WIDTH..5 * WIDTH + 4], 2)
    );

    let mut figure = Figure::new(
        "01_patches",
        700,
        250,
        "A drawing of a sunflower under a grid of four by four squares, and the sixteen squares as a row of vectors",
    );
    let drawing = png("sunflower")?;
    figure.picture((30.0, 30.0), 160.0, &drawing);
    for i in 0..=4 {
        let at = 30.0 + 40.0 * i as f32;
        figure.line(&[(at, 30.0), (at, 190.0)], GREY);
        figure.line(&[(30.0, at), (190.0, at)], GREY);
    }
    figure.center(110.0, 215.0, "16 patches of 8 x 8 pixels");
    figure.arrow((205.0, 110.0), (255.0, 110.0), GREY);
    // the first numbers of every embedded patch, from white (low) to blue (high)
    for (i, token) in tokens.chunks(WIDTH).enumerate() {
        let x = 275.0 + 25.0 * i as f32;
        for (j, value) in token.iter().take(16).enumerate() {
            figure.bar(
                [x, 30.0 + 10.0 * j as f32, 18.0, 10.0],
                BLUE,
                (0.5 + value / 2.0).clamp(0.0, 1.0),
            );
        }
        figure.label(x + 9.0, 205.0, "middle", 11, GREY, &i.to_string());
    }
    figure.center(
        475.0,
        228.0,
        "one vector for each patch (its first 16 of 64 numbers)",
    );
    figure.save();
    Ok(())
}
