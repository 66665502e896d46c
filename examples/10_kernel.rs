//! Chapter 10: a WGSL kernel from naive to fast, measured at each step on a graphics adapter.

#[path = "book/figure.rs"]
mod figure;
#[path = "book/lesson.rs"]
mod lesson;

use std::time::Instant;

use figure::{BLUE, Figure, GREEN, GREY, ORANGE};
use lesson::{compute, difference, values};
use seemore::graph::Kernel;
use seemore::ops::check::random_f32;
use seemore::{Device, Plan, Tape, Var};

const N: usize = 256;

type Record<'a> = &'a dyn Fn(&mut Tape, Var, Var) -> Var;
type Outcome = Result<(), Box<dyn std::error::Error>>;

static MATMUL: Kernel = Kernel::new("matmul.wgsl", include_str!("book/matmul.wgsl"));

/// A product by one of the entry points, in workgroups that each compute `columns` by `rows`.
fn by_hand(t: &mut Tape, entry: &str, (a, b): (Var, Var), [columns, rows]: [usize; 2]) -> Var {
    let c = t.output(&[N, N]);
    let call = t.call(&MATMUL, entry).bind("a", a).param("n", N);
    let fours = entry == "blocks";
    let (right, out) = if fours { ("b4", "c4") } else { ("b", "c") };
    call.bind(right, b)
        .bind(out, c)
        .groups([N / columns, N / rows, 1]);
    c
}

fn main() -> Outcome {
    let (a, b) = (random_f32(N * N, 1), random_f32(N * N, 2));
    let cpu = Device::open(Some("cpu"))?;
    let [truth] = compute(&cpu, |t| {
        let (a, b) = (values(t, &[N, N], &a), values(t, &[N, N], &b));
        [t.matmul(a, b)]
    })?;
    let millions = N * N * N / 1_000_000;
    println!("a product of {N} x {N} matrices: {millions} million multiply-adds");

    let adapter = Device::open(Some("0"))?;
    // on standard error: the adapter is the reader's
    eprintln!("adapter: {}", adapter.describe());
    // one element each; tiles shared by a workgroup; blocks of 8 by 4 elements in registers
    for (entry, size) in [("naive", [8, 8]), ("tiled", [16, 16]), ("blocks", [32, 8])] {
        let record = |t: &mut Tape, a, b| by_hand(t, entry, (a, b), size);
        run(&adapter, entry, &record, [&a, &b, &truth])?;
    }
    let library = |t: &mut Tape, a, b| t.matmul(a, b);
    run(&adapter, "library", &library, [&a, &b, &truth])?;
    run(&cpu, "Rust on the CPU", &library, [&a, &b, &truth])?;

    let alt = "Three matrices of tiles: one element of C needs a row of A and a column of B; a block \
               of C uses each element that it loads several times";
    let mut figure = Figure::new("10_kernel", 660, 220, alt);
    let steps = [
        ("naive", [1.0, 1.0]),
        ("tiled", [4.0, 4.0]),
        ("blocks", [4.0, 8.0]),
    ];
    for (i, (name, [columns, rows])) in steps.iter().enumerate() {
        let x = 40.0 + 210.0 * i as f32;
        for at in [(x, 90.0), (x + 90.0, 2.0), (x + 90.0, 90.0)] {
            figure.outline([at.0, at.1 + 10.0, 80.0, 80.0], GREY);
        }
        figure.bar([x, 120.0, 80.0, 5.0 * rows], BLUE, 0.6);
        figure.bar([x + 120.0, 12.0, 5.0 * columns, 80.0], GREEN, 0.6);
        figure.bar([x + 120.0, 120.0, 5.0 * columns, 5.0 * rows], ORANGE, 0.9);
        figure.center(x + 85.0, 205.0, name);
    }
    figure.save();
    Ok(())
}

/// Computes the product, compares it with the truth, and takes the best time of three runs.
fn run(device: &Device, name: &str, record: Record, [a, b, truth]: [&[f32]; 3]) -> Outcome {
    let mut tape = device.tape();
    let (left, right) = (values(&mut tape, &[N, N], a), values(&mut tape, &[N, N], b));
    let product = record(&mut tape, left, right);
    tape.hold(product);
    let plan = Plan::new(device, tape)?;
    let off = difference(&plan.run_and_read::<f32>(product)?, truth);
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        plan.run()?;
        device.wait()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    let rate = 2.0 * (N * N * N) as f64 / best / 1e9;
    let time = 1000.0 * best;
    println!("{name:16} {time:7.2} ms  {rate:8.2} GFLOP/s  off by {off:.3}");
    Ok(())
}
