//! Chapter 4: MLP, GELU, LayerNorm, residuals.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use figure::{BLUE, Figure, GREY, ORANGE};
use lesson::{compute, cpu, parameters, row, values};
use seemore::nn::{Context, LayerNorm, Mlp, Parameters};

const WIDTH: usize = 64;
const DEPTH: usize = 12;

/// Typical difference of two tokens: the root of the mean square.
fn apart(tokens: &[f32]) -> f32 {
    let (a, b) = tokens.split_at(WIDTH);
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / WIDTH as f32).sqrt()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;
    let inputs: Vec<f32> = (0..=60).map(|i| i as f32 / 10.0 - 3.0).collect();
    let [curve] = compute(&device, |t| {
        let x = t.constant(&inputs);
        [t.gelu(x)]
    })?;
    let whole = |values: &[f32]| values.iter().copied().step_by(10).collect::<Vec<_>>();
    println!("x        {}", row(&whole(&inputs), 2));
    println!("gelu(x)  {}", row(&whole(&curve), 2));

    let token = [1.0, 2.0, 3.0, 6.0];
    let [normal] = compute(&device, |t| {
        let x = values(t, &[1, 4], &token);
        let (weight, bias) = (t.constant(&[1f32; 4]), t.constant(&[0f32; 4]));
        [t.layernorm(x, weight, bias, 1e-5)]
    })?;
    println!("token      {}", row(&token, 2));
    println!("layernorm  {}", row(&normal, 2));

    // two tokens through a stack of MLPs with random weights, without and with residuals
    let (layers, store) = Parameters::build(&device, 1, |p| {
        let layer = |i| {
            let mlp = p.scope(i, |p| Mlp::new(p, ["fc1", "fc2"], WIDTH, WIDTH))?;
            Ok((LayerNorm::new(p, &format!("ln{i}"), WIDTH, 1e-5)?, mlp))
        };
        (0..DEPTH).map(layer).collect::<Result<Vec<_>, _>>()
    })?;
    println!(
        "{DEPTH} layers of width {WIDTH}: {} parameters",
        parameters(&store)
    );
    let start: Vec<f32> = (0..2 * WIDTH).map(|i| (i as f32 * 0.7).sin()).collect();
    let stack = |residual: bool| {
        compute::<DEPTH>(&device, |t| {
            let mut c = Context::inference(t);
            let mut x = values(c.tape, &[2, WIDTH], &start);
            std::array::from_fn(|i| {
                let (norm, mlp) = &layers[i];
                x = if residual {
                    let normal = norm.forward(&mut c, x);
                    let branch = mlp.forward(&mut c, normal);
                    c.tape.add(x, branch)
                } else {
                    mlp.forward(&mut c, x)
                };
                x
            })
        })
    };

    let alt = "Left: the curve of GELU. Right: the difference of two tokens through twelve layers, \
               which vanishes without residuals";
    let mut figure = Figure::new("04_block", 640, 270, alt);
    figure.line(&[(30.0, 200.0), (290.0, 200.0)], "#cfc8b8");
    figure.line(&[(160.0, 40.0), (160.0, 220.0)], "#cfc8b8");
    let points = inputs.iter().zip(&curve);
    let points = points.map(|(x, y)| (160.0 + 42.0 * x, 200.0 - 50.0 * y));
    figure.line(&points.collect::<Vec<_>>(), BLUE);
    figure.center(160.0, 248.0, "gelu(x) for x from -3 to 3");
    figure.line(&[(350.0, 200.0), (600.0, 200.0)], GREY);
    for (residual, name, color) in [(false, "MLP alone", ORANGE), (true, "with residual", BLUE)] {
        let left: Vec<f32> = stack(residual)?.iter().map(|x| apart(x)).collect();
        let shown = row(&[left[0], left[1], left[5], left[11]], 4);
        println!("{name:13} apart after 1, 2, 6, 12: {shown}");
        let points = left.iter().enumerate();
        let points = points.map(|(i, y)| (360.0 + 20.0 * i as f32, 200.0 - 110.0 * y));
        figure.line(&points.collect::<Vec<_>>(), color);
        figure.label(585.0, 190.0 - 120.0 * left[11], "end", 12, color, name);
    }
    figure.center(
        470.0,
        248.0,
        "difference of two tokens after each of 12 layers",
    );
    figure.save();
    Ok(())
}
