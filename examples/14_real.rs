//! Chapter 14: from toy to real. RoPE, grouped queries, SwiGLU, CLIP, LoRA.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use figure::{BLUE, Figure, GREY, ORANGE};
use lesson::{compute, cpu, difference, row, values};
use seemore::ops::{check::random_f32, transposed};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = cpu()?;

    // RoPE: a head of two columns is one pair, rotated by its position times 0.3
    let angles: Vec<f32> = (0..32)
        .flat_map(|at| [(at as f32 * 0.3).cos(), (at as f32 * 0.3).sin()])
        .collect();
    let [rows] = compute(&device, |t| {
        let x = values(t, &[1, 32, 2], &[1.0, 0.0].repeat(32));
        let (table, past) = (values(t, &[32, 1, 2], &angles), t.input(&[1]));
        [t.rope(x, table, past, 1, 2)]
    })?;
    let score = |q: usize, k: usize| rows[2 * q] * rows[2 * k] + rows[2 * q + 1] * rows[2 * k + 1];
    for (q, k) in [(5, 3), (20, 18), (20, 3)] {
        println!("query at {q:2}, key at {k:2}: score {:.2}", score(q, k));
    }

    // grouped queries: the cache holds keys and values of fewer heads
    for (heads, groups) in [(9, 9), (9, 3), (9, 1)] {
        // SmolLM2-135M: 30 layers, heads of 64, 2048 positions, 2 bytes a number
        let bytes = 30 * 2048 * 2 * groups * 64 * 2;
        println!(
            "{heads} query heads, {groups} key/value heads: cache of {} MiB",
            bytes >> 20
        );
    }

    // SwiGLU: one half of the hidden layer opens and closes the other
    let [gated] = compute(&device, |t| {
        let x = values(t, &[3, 2], &[-4.0, 1.0, 0.0, 1.0, 4.0, 1.0]);
        [t.swiglu(x)]
    })?;
    println!("gates -4, 0, 4 let through of 1: {}", row(&gated, 2));

    // CLIP: pictures and captions as directions; the likeliest caption is the nearest
    let pictures = [0.9f32, 0.1, 0.2, 0.1, 0.8, 0.3];
    let captions = [1.0f32, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let [shares] = compute(&device, |t| {
        let (p, c) = (values(t, &[2, 3], &pictures), values(t, &[3, 3], &captions));
        let (p, c) = (t.l2_normalize(p, 1.0), t.l2_normalize(c, 5.0));
        let cosines = t.matmul(p, transposed(c));
        [t.softmax(cosines)]
    })?;
    println!(
        "CLIP, shares of three captions: {} and {}",
        row(&shares[..3], 2),
        row(&shares[3..], 2)
    );

    // LoRA: a frozen matrix plus a thin product that starts at zero
    let (width, rank) = (576, 8);
    let (x, w) = (random_f32(width, 1), random_f32(width * width, 2));
    let adapted = |b: &[f32]| {
        compute(&device, |t| {
            let (x, w) = (values(t, &[1, width], &x), values(t, &[width, width], &w));
            let a = values(t, &[rank, width], &random_f32(rank * width, 3));
            let b = values(t, &[width, rank], b);
            let (plain, thin) = (t.matmul(x, transposed(w)), t.matmul(x, transposed(a)));
            let thin = t.matmul(thin, transposed(b));
            [plain, t.add(plain, thin)]
        })
    };
    let (all, few) = (width * width, 2 * width * rank);
    println!("LoRA of rank {rank}: {few} parameters beside {all}");
    let [plain, start] = adapted(&vec![0.0; width * rank])?;
    println!(
        "with B = 0 the layer changes by {:.2}",
        difference(&plain, &start)
    );

    let alt = "Left: the score of a query and a key over their distance, the same at all positions. \
               Right: sizes of a weight matrix and of its LoRA matrices";
    let mut figure = Figure::new("14_real", 660, 250, alt);
    figure.line(&[(40.0, 110.0), (320.0, 110.0)], "#cfc8b8");
    let points = (0..=28).map(|d| (40.0 + 10.0 * d as f32, 110.0 - 70.0 * score(d, 0)));
    figure.line(&points.collect::<Vec<_>>(), BLUE);
    figure.center(180.0, 225.0, "RoPE: score over the distance 0 to 28");
    figure.boxed([400.0, 50.0, 130.0, 130.0], GREY, "W, frozen");
    figure.text(542.0, 120.0, "+");
    figure.boxed([565.0, 50.0, 12.0, 130.0], ORANGE, "");
    figure.boxed([583.0, 50.0, 60.0, 12.0], ORANGE, "");
    figure.label(571.0, 198.0, "middle", 12, ORANGE, "B");
    figure.label(613.0, 80.0, "middle", 12, ORANGE, "A");
    figure.center(520.0, 225.0, "LoRA trains B and A only");
    figure.save();
    Ok(())
}
