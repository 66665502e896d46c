//! Chapter 2: attention by hand on four tokens.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use figure::{BLUE, Figure, GREY, ORANGE};
use lesson::{attention, compute, cpu, difference, row, values};

const TOKENS: [&str; 4] = ["a", "yellow", "flower", "it"];
/// Query of each token: `it` looks for a thing, `flower` for a color.
const QUERIES: [[f32; 2]; 4] = [[0.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 4.0]];
/// Key of each token: `yellow` is a color, `flower` is a thing.
const KEYS: [[f32; 2]; 4] = [[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 0.5]];
/// Value of each token: a color, a thing.
const VALUES: [[f32; 2]; 4] = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.1, 0.1]];

/// Turns scores into shares: positive numbers that sum to 1.
fn softmax(scores: [f32; 4]) -> [f32; 4] {
    let powers = scores.map(f32::exp);
    let sum: f32 = powers.iter().sum();
    powers.map(|power| power / sum)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut shares = vec![];
    let mut outputs = vec![];
    // ANCHOR: attention
    for (token, query) in TOKENS.iter().zip(QUERIES) {
        let dot = |key: [f32; 2]| query[0] * key[0] + query[1] * key[1];
        let scores = KEYS.map(|key| dot(key) / 2f32.sqrt());
        let share = softmax(scores);
        let mut output = [0.0; 2];
        for (share, value) in share.iter().zip(VALUES) {
            output[0] += share * value[0];
            output[1] += share * value[1];
        }
        // ANCHOR_END: attention
        println!("{token:6} scores {}", row(&scores, 2));
        println!(
            "       shares {}   output {}",
            row(&share, 2),
            row(&output, 2)
        );
        shares.extend(share);
        outputs.extend(output);
    }

    // the library's kernel takes rows of query, key and value side by side
    let packed: Vec<f32> = (0..4)
        .flat_map(|i| [QUERIES[i], KEYS[i], VALUES[i]].concat())
        .collect();
    let [by_kernel] = compute(&cpu()?, |t| {
        let qkv = values(t, &[1, 4, 6], &packed);
        let (past, seed) = (t.input(&[1]), t.input(&[1]));
        [t.attention(qkv, qkv, past, seed, &attention(1, 2, false))]
    })?;
    println!(
        "largest difference from the library: {:.4}",
        difference(&outputs, &by_kernel)
    );

    let mut figure = Figure::new(
        "02_attention",
        640,
        290,
        "Left: the token it looks at all four tokens, most at flower. Right: the shares of all four tokens as a matrix",
    );
    for (i, token) in TOKENS.iter().enumerate() {
        let x = 25.0 + 70.0 * i as f32;
        figure.boxed([x, 40.0, 60.0, 30.0], BLUE, token);
        let share = shares[12 + i];
        figure.bar(
            [x + 10.0, 210.0 - 100.0 * share, 40.0, 100.0 * share],
            ORANGE,
            0.8,
        );
        figure.label(x + 30.0, 230.0, "middle", 12, GREY, &format!("{share:.2}"));
    }
    figure.text(25.0, 95.0, "shares of the last token, it:");
    figure.text(25.0, 262.0, "output = sum of share x value");
    figure.shares((403.0, 62.0), &TOKENS, &shares, ORANGE);
    figure.center(491.0, 262.0, "row: who looks, column: at whom");
    figure.save();
    Ok(())
}
