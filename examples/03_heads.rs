//! Chapter 3: several heads look for several things at once.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use figure::{BLUE, Figure, GREEN};
use lesson::{attention, compute, cpu, parameters, row, values};
use seemore::nn::{Parameters, SelfAttention};

const TOKENS: [&str; 4] = ["a", "yellow", "flower", "it"];
/// Queries of two heads side by side: the first looks for things, the second for colors.
const QUERIES: [[f32; 4]; 4] = [
    [0.0; 4],
    [0.0, 3.0, 0.0, 0.0],
    [0.0, 0.0, 3.0, 0.0],
    [0.0, 3.0, 3.0, 0.0],
];
/// Keys of two heads: `yellow` is a color, `flower` is a thing.
const KEYS: [[f32; 4]; 4] = [
    [0.0; 4],
    [2.0, 0.0, 2.0, 0.0],
    [0.0, 2.0, 0.0, 2.0],
    [0.0; 4],
];
/// Values of two heads.
const VALUES: [[f32; 4]; 4] = [
    [0.0; 4],
    [1.0, 0.0, 1.0, 0.0],
    [0.0, 1.0, 0.0, 1.0],
    [0.1; 4],
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;
    let packed: Vec<f32> = (0..4)
        .flat_map(|i| [QUERIES[i], KEYS[i], VALUES[i]].concat())
        .collect();
    let spec = attention(2, 2, false);
    let [shares, outputs] = compute(&device, |t| {
        let qkv = values(t, &[1, 4, 12], &packed);
        let (past, seed) = (t.input(&[1]), t.input(&[1]));
        let shares = t.attention_probabilities(qkv, qkv, past, &spec);
        [shares, t.attention(qkv, qkv, past, seed, &spec)]
    })?;
    for (head, shares) in shares.chunks(16).enumerate() {
        println!("head {head}:");
        for (token, shares) in TOKENS.iter().zip(shares.chunks(4)) {
            println!("  {token:6} {}", row(shares, 2));
        }
    }
    println!("output of it: {}", row(&outputs[12..], 2));

    // more heads cost no more parameters: each is narrower
    for heads in [1, 2, 8] {
        let (_, store) = Parameters::build(&device, 1, |p| {
            SelfAttention::new(
                p,
                "attn",
                64,
                heads,
                (64.0 / heads as f32).powf(-0.5),
                false,
            )
        })?;
        let count = parameters(&store);
        println!(
            "width 64, heads {heads}: each {} wide, {count} parameters",
            64 / heads
        );
    }

    let mut figure = Figure::new(
        "03_heads",
        640,
        290,
        "Two matrices of shares. In the first head the token it looks at flower, in the second at yellow",
    );
    for (head, (shares, color)) in shares.chunks(16).zip([BLUE, GREEN]).enumerate() {
        let x = 95.0 + 290.0 * head as f32;
        figure.shares((x, 60.0), &TOKENS, shares, color);
        let what = ["head 0 looks for things", "head 1 looks for colors"][head];
        figure.center(x + 88.0, 262.0, what);
    }
    figure.save();
    Ok(())
}
