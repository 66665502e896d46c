//! Measures what the README quotes: matrix products, one training step with its kernels, one decoded token.
//!
//! ```text
//! cargo run --release --example measure [matmul|step|decode]...
//! ```
//!
//! Each figure is the median of several runs after warming up. CPU time is that of the whole process, both cores, so on
//! software Vulkan it is what the work cost however busy the machine was.

use std::time::{Duration, Instant};

use seemore::generate::Generator;
use seemore::gpu::Gpu;
use seemore::model::{Preset, Vlm};
use seemore::ops::transposed;
use seemore::optim::{Hyper, Optimizer, Rule};
use seemore::plan::Plan;
use seemore::tape::Tape;
use seemore::train::{Batch, TrainStep};

type Failure = Box<dyn std::error::Error>;

/// User and system time of this process so far.
fn cpu_time() -> Duration {
    // fields 14 and 15 of /proc/self/stat count in hundredths of a second; the name in field 2 may hold spaces
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// Median wall time of a run, and mean CPU time (its clock is too coarse for single runs).
fn measure(runs: u32, mut run: impl FnMut() -> Result<(), Failure>) -> Result<(Duration, Duration), Failure> {
    run()?;
    run()?;
    let cpu = cpu_time();
    let mut times = vec![];
    for _ in 0..runs {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok((times[times.len() / 2], (cpu_time() - cpu) / runs))
}

fn matmul(gpu: &Gpu) -> Result<(), Failure> {
    let (m, n, k) = (592, 512, 2048);
    for (name, flip_a, flip_b) in [("A B", false, false), ("A Bt", false, true), ("At B", true, false)] {
        let mut tape = Tape::new(gpu.capabilities());
        let a = tape.input(&if flip_a { [k, m] } else { [m, k] });
        let b = tape.input(&if flip_b { [n, k] } else { [k, n] });
        let side = |v, flip: bool| if flip { transposed(v) } else { v.into() };
        let c = tape.matmul(side(a, flip_a), side(b, flip_b));
        tape.hold(c);
        let plan = Plan::new(gpu, tape)?;
        plan.write(a, &vec![0.5f32; m * k]);
        plan.write(b, &vec![0.25f32; k * n]);
        let (wall, cpu) = measure(30, || Ok(plan.run().and_then(|()| gpu.wait())?))?;
        assert!(plan.read::<f32>(c)?.iter().all(|&value| value == 0.125 * k as f32));
        let flops = 2.0 * (m * n * k) as f64 / 1e9;
        println!(
            "matmul {name:5} {m}x{n}x{k}  {:6.2} ms  {:5.1} GFLOP/s  {:5.1} GFLOP per CPU-second",
            1e3 * wall.as_secs_f64(),
            flops / wall.as_secs_f64(),
            flops / cpu.as_secs_f64()
        );
    }
    Ok(())
}

/// The kernels that a run of the plan spends most of its time in.
fn kernels(plan: &Plan) -> Result<(), Failure> {
    let Some(timings) = plan.profile()? else { return Ok(()) };
    let all: Duration = timings.iter().map(|timing| timing.time).sum();
    for timing in timings.iter().take(16) {
        let (name, share) = (format!("{}.{}", timing.kernel, timing.entry), 100.0 * timing.time.as_secs_f64() / all.as_secs_f64());
        println!("  {name:40} {:4} times {:8.2} ms {share:5.1} %", timing.dispatches, 1e3 * timing.time.as_secs_f64());
    }
    Ok(())
}

fn step(gpu: &Gpu) -> Result<(), Failure> {
    let config = Preset::Seemore.config();
    let (batch, length) = (16, 32);
    let model = Vlm::new(gpu, &config, 0)?;
    let hyper = Hyper { rule: Rule::Adamw, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, clip: 1.0 };
    let optimizer = Optimizer::new(gpu, model.parameters(), hyper)?;
    let start = Instant::now();
    let step = TrainStep::new(gpu, &model, &optimizer, batch, length, 1)?;
    let pixels = 3 * config.image_size * config.image_size;
    let numbers = [Batch {
        images: (0..batch * pixels).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect(),
        ids: (0..batch * length).map(|i| (i * 7 % config.vocab_size) as u32).collect(),
        targets: (0..batch * length).map(|i| (i * 7 % config.vocab_size) as u32).collect(),
    }];
    let mut number = 0;
    let mut run = || {
        number += 1;
        step.run(&numbers, number as u32, optimizer.rates(number, 1e-4))?;
        Ok(gpu.wait()?)
    };
    run()?;
    println!(
        "first step after {:.1} s, {} dispatches, {:?}",
        start.elapsed().as_secs_f64(),
        step.plan().dispatches(),
        step.plan().memory()
    );
    let (wall, cpu) = measure(8, run)?;
    println!(
        "training step, seemore, batch {batch}, {length} characters: {:.0} ms, {:.2} CPU-seconds",
        1e3 * wall.as_secs_f64(),
        cpu.as_secs_f64()
    );
    kernels(step.plan())?;
    Ok(())
}

fn decode(gpu: &Gpu) -> Result<(), Failure> {
    let config = Preset::Seemore.config();
    let model = Vlm::new(gpu, &config, 0)?;
    let (prompt, new) = (4, 64);
    let mut generator = Generator::new(gpu, &model, 1, prompt, new, false)?;
    let image = vec![0.1; 3 * config.image_size * config.image_size];
    generator.start(&image, &[1; 4])?;
    let (first, first_cpu) = measure(8, || Ok(generator.start(&image, &[1; 4]).map(|_| ())?))?;
    let (token, token_cpu) = measure(60, || Ok(generator.next(&[2]).map(|_| ())?))?;
    println!("first token, prompt of {prompt}: {:.1} ms, {:.3} CPU-seconds", 1e3 * first.as_secs_f64(), first_cpu.as_secs_f64());
    println!(
        "each further token: {:.2} ms, {:.4} CPU-seconds, {} dispatches",
        1e3 * token.as_secs_f64(),
        token_cpu.as_secs_f64(),
        generator.token_plan().dispatches()
    );
    kernels(generator.token_plan())
}

fn main() -> Result<(), Failure> {
    let gpu = Gpu::open(None)?;
    println!("{}", gpu.describe());
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let all = wanted.is_empty();
    for (name, part) in [("matmul", matmul as fn(&Gpu) -> Result<(), Failure>), ("step", step), ("decode", decode)] {
        if all || wanted.iter().any(|wanted| wanted == name) {
            part(&gpu)?;
        }
    }
    Ok(())
}
