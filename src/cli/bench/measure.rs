//! Measurements of kernels, training, decoding and loading. Every case is checked before it is timed.

use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use cpu_time::ProcessTime;
use image::{ImageFormat, Rgb, RgbImage};
use serde::{Deserialize, Serialize};

use crate::caption::Generator;
use crate::data::{Batches, Dataset, Layout, Sample};
use crate::device::Device;
use crate::device::{Plan, Timing};
use crate::graph::{Always, Precision, Var};
use crate::image::Augment;
use crate::models::seemore::{Config, Logits, Output, Vlm};
use crate::nn::Context;
use crate::ops::{Attention, GradScaler, IGNORE, MATMUL_VARIANTS, transposed};
use crate::train::{Decay, Hyper, Optimizer, Rule};
use crate::train::{Feed, Prefetcher, StepSizes, Text, TrainStep};

/// One measured case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measurement {
    /// Which benchmark: matmul, attention, layernorm, train, decode or load.
    pub bench: String,
    /// The shapes.
    pub case: String,
    /// The form of the kernel, or the part of the work.
    pub variant: String,
    /// Of several forms of one op the one that is recorded.
    #[serde(default)]
    pub chosen: bool,
    /// Median wall time of a run.
    pub median_ms: f64,
    /// Least and most wall time.
    pub spread_ms: (f64, f64),
    /// CPU time of the whole process in a run, all threads together: on a software adapter what the work cost, however busy the
    /// machine was.
    pub cpu_ms: f64,
    pub gflops: Option<f64>,
    pub gflops_per_cpu_s: Option<f64>,
    /// Bytes that must be read and written at least, over the median.
    pub gbytes_per_s: Option<f64>,
    /// Of the plan, parameters excluded.
    pub peak_gpu_bytes: u64,
    /// Of the process so far, earlier benchmarks included: measure a benchmark alone to know its own.
    pub peak_rss_bytes: u64,
    /// Name, kind, backend and driver.
    pub adapter: String,
    /// What the run consists of, longest first, where the adapter has timestamps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<KernelTime>,
}

/// The time of one kernel in one profiled run, all its dispatches together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KernelTime {
    /// The kernel and its entry point, as `matmul.main`.
    pub kernel: String,
    pub dispatches: usize,
    pub ms: f64,
}

fn kernel_times(plan: &Plan) -> Result<Vec<KernelTime>, Failure> {
    let time = |timing: &Timing| KernelTime {
        kernel: format!("{}.{}", timing.kernel, timing.entry),
        dispatches: timing.dispatches,
        ms: 1e3 * timing.time.as_secs_f64(),
    };
    Ok(plan
        .profile()?
        .unwrap_or_default()
        .iter()
        .map(time)
        .collect())
}

/// What failed: a device error, or a result that is not what it must be.
pub type Failure = anyhow::Error;

/// Runs that are timed.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Runs before the first that counts.
    pub warmup: u32,
    pub runs: u32,
}

struct Times {
    median: Duration,
    least: Duration,
    most: Duration,
    cpu: Duration,
}

impl Times {
    /// Of one run or more.
    fn new(mut times: Vec<Duration>, cpu: Duration) -> Times {
        times.sort();
        let median = (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2;
        Times {
            median,
            least: times[0],
            most: times[times.len() - 1],
            cpu,
        }
    }
}

fn time(effort: Effort, mut run: impl FnMut() -> Result<(), Failure>) -> Result<Times, Failure> {
    for _ in 0..effort.warmup {
        run()?;
    }
    let runs = effort.runs.max(1);
    let cpu = ProcessTime::now();
    let mut times = vec![];
    for _ in 0..runs {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    let cpu = cpu.elapsed() / runs;
    Ok(Times::new(times, cpu))
}

/// The most memory that the process has held, where the system tells (Linux); else 0.
fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kilobytes| 1024 * kilobytes)
}

/// A case before its numbers are known.
struct Case<'a> {
    device: &'a Device,
    bench: &'a str,
    case: String,
    variant: String,
    /// Multiply-adds count twice.
    flops: Option<f64>,
    bytes: Option<f64>,
    peak_gpu_bytes: u64,
}

impl Case<'_> {
    fn measured(self, times: Times) -> Measurement {
        let ms = |time: Duration| 1e3 * time.as_secs_f64();
        let giga = |amount: Option<f64>, time: Duration| {
            amount.map(|amount| amount / time.as_secs_f64().max(1e-9) / 1e9)
        };
        Measurement {
            bench: self.bench.into(),
            case: self.case,
            variant: self.variant,
            chosen: false,
            median_ms: ms(times.median),
            spread_ms: (ms(times.least), ms(times.most)),
            cpu_ms: ms(times.cpu),
            gflops: giga(self.flops, times.median),
            gflops_per_cpu_s: giga(self.flops, times.cpu),
            gbytes_per_s: giga(self.bytes, times.median),
            peak_gpu_bytes: self.peak_gpu_bytes,
            peak_rss_bytes: peak_rss(),
            adapter: self.device.adapter(),
            kernels: vec![],
        }
    }
}

/// Reproducible numbers in [-1, 1).
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Fails unless `got` is within `tolerance` of `want`.
fn expect(what: &str, got: f32, want: f64, tolerance: f64) -> Result<(), Failure> {
    let off = (got as f64 - want).abs();
    anyhow::ensure!(
        off <= tolerance,
        "{what} computes {got} where {want} is right: not timed"
    );
    Ok(())
}

fn bytes_of(plan: &Plan) -> u64 {
    plan.memory().total()
}

/// A product in the three layouts that training uses, of f32 and of halves (their conversion included), by each form that the
/// adapter can run.
pub fn matmul(
    device: &Device,
    (m, n, k): (usize, usize, usize),
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let mut measurements = vec![];
    let layouts = [
        ("A B", false, false),
        ("A Bt", false, true),
        ("At B", true, false),
    ];
    for (precision, (layout, flip_a, flip_b)) in [Precision::F32, Precision::F16]
        .into_iter()
        .flat_map(|p| layouts.map(|l| (p, l)))
    {
        // the chosen form first, then the others that apply
        let mut seen: Vec<String> = vec![];
        for device in std::iter::once(device.clone())
            .chain(MATMUL_VARIANTS.map(|name| device.choosing(Arc::new(Always(name)))))
        {
            let device = &device;
            let mut tape = device.tape();
            tape.set_precision(precision);
            let a = tape.input(&if flip_a { [k, m] } else { [m, k] });
            let b = tape.input(&if flip_b { [n, k] } else { [k, n] });
            let side = |v: Var, flip: bool| if flip { transposed(v) } else { v.into() };
            let c = tape.matmul(side(a, flip_a), side(b, flip_b));
            tape.hold(c);
            let plan = Plan::new(device, tape)?;
            let variant = plan
                .kernels()
                .iter()
                .find(|kernel| kernel.starts_with("matmul"))
                .map(|kernel| kernel.to_string())
                .unwrap_or_default();
            if seen.contains(&variant) {
                continue;
            }
            let chosen = seen.is_empty();
            seen.push(variant.clone());
            let (left, right) = (noise(m * k, 1), noise(k * n, 2));
            let (tolerance, halves) = match precision {
                Precision::F32 => (1e-5 * k as f64, ""),
                // each operand is off by up to 2^-11 of it, one way or the other
                Precision::F16 => (1e-3 * (k as f64).sqrt(), " f16"),
            };
            plan.write(a, &left);
            plan.write(b, &right);
            plan.run()?;
            let product: Vec<f32> = plan.read(c)?;
            for at in (0..m * n).step_by((m * n).div_ceil(97)) {
                let (i, j) = (at / n, at % n);
                let term = |p: usize| {
                    let left = left[if flip_a { p * m + i } else { i * k + p }];
                    let right = right[if flip_b { j * k + p } else { p * n + j }];
                    left as f64 * right as f64
                };
                expect(
                    &format!("{variant} {layout}"),
                    product[at],
                    (0..k).map(term).sum(),
                    tolerance,
                )?;
            }
            let times = time(effort, || Ok(plan.run().and_then(|()| device.wait())?))?;
            let case = Case {
                device,
                bench: "matmul",
                case: format!("{m}x{n}x{k} {layout}{halves}"),
                variant,
                flops: Some(2.0 * (m * n * k) as f64),
                bytes: Some(4.0 * (m * k + k * n + m * n) as f64),
                peak_gpu_bytes: bytes_of(&plan),
            };
            measurements.push(Measurement {
                chosen,
                ..case.measured(times)
            });
        }
    }
    Ok(measurements)
}

/// Attention forward, and forward with backward.
pub fn attention(
    device: &Device,
    shape: [usize; 3],
    spec: &Attention,
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let [batch, length, width] = shape;
    let mut measurements = vec![];
    for backward in [false, true] {
        let mut tape = device.tape();
        let qkv = tape.variable(&[batch, length, 3 * width]);
        let (past, seed) = (tape.input(&[1]), tape.input(&[1]));
        let out = tape.attention(qkv, qkv, past, seed, spec);
        tape.hold(out);
        let cotangent = backward.then(|| tape.input(&shape));
        let mut grads = vec![];
        if let Some(cotangent) = cotangent {
            tape.backward(out, cotangent);
            if let Some(grad) = tape.grad(qkv) {
                tape.hold(grad);
                grads.push(grad);
            }
        }
        let plan = Plan::new(device, tape)?;
        let packed = noise(batch * length * 3 * width, 1);
        plan.write(qkv, &packed);
        let dout = noise(shape.iter().product(), 4);
        if let Some(cotangent) = cotangent {
            plan.write(cotangent, &dout);
        }
        plan.run()?;
        if spec.dropout == 0.0 {
            let mut got = vec![plan.read(out)?];
            for &grad in &grads {
                got.extend(unpacked(&plan.read(grad)?, width));
            }
            let [q, k, v] = unpacked(&packed, width);
            check_attention(&got, &[q, k, v, dout], shape, spec)?;
        }
        let times = time(effort, || Ok(plan.run().and_then(|()| device.wait())?))?;
        // two products forward, five backward; half of each where later keys are masked
        let products = if backward { 7.0 } else { 2.0 } * if spec.causal { 0.5 } else { 1.0 };
        let elements = (batch * length * width) as f64;
        let case = Case {
            device,
            bench: "attention",
            case: format!(
                "{batch}x{length}x{width} {} heads{}",
                spec.heads,
                if spec.causal { " causal" } else { "" }
            ),
            variant: if backward {
                "forward + backward"
            } else {
                "forward"
            }
            .into(),
            flops: Some(2.0 * products * elements * length as f64),
            bytes: Some(4.0 * elements * if backward { 12.0 } else { 4.0 }),
            peak_gpu_bytes: bytes_of(&plan),
        };
        measurements.push(case.measured(times));
    }
    Ok(measurements)
}

/// The three columns of rows that each hold a query, a key and a value.
fn unpacked(rows: &[f32], width: usize) -> [Vec<f32>; 3] {
    [0, 1, 2].map(|part| {
        rows.chunks(3 * width)
            .flat_map(|row| &row[part * width..][..width])
            .copied()
            .collect()
    })
}

/// The output and, where they are there, the gradients of q, k and v, for the last head of the first batch element, against f64.
fn check_attention(
    got: &[Vec<f32>],
    [q, k, v, cotangent]: &[Vec<f32>; 4],
    [_, length, width]: [usize; 3],
    spec: &Attention,
) -> Result<(), Failure> {
    let (head, scale) = (width / spec.heads, spec.scale as f64);
    let row = |of: &[f32], at: usize| -> Vec<f64> {
        of[(at + 1) * width - head..(at + 1) * width]
            .iter()
            .map(|&v| v as f64)
            .collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let add = |sum: &mut [f64], weight: f64, term: &[f64]| {
        sum.iter_mut()
            .zip(term)
            .for_each(|(sum, term)| *sum += weight * term)
    };
    // the output, then the gradients of q, k and v
    let mut want = [(); 4].map(|()| vec![vec![0.0; head]; length]);
    for query in 0..length {
        let keys = if spec.causal { query + 1 } else { length };
        let (q_row, dy) = (row(q, query), row(cotangent, query));
        let scores: Vec<f64> = (0..keys)
            .map(|key| (scale * dot(&q_row, &row(k, key))).exp())
            .collect();
        let total: f64 = scores.iter().sum();
        for (key, score) in scores.iter().enumerate() {
            add(&mut want[0][query], score / total, &row(v, key));
        }
        let mean = dot(&want[0][query], &dy);
        for (key, score) in scores.iter().enumerate() {
            let p = score / total;
            let dscore = scale * p * (dot(&row(v, key), &dy) - mean);
            add(&mut want[1][query], dscore, &row(k, key));
            add(&mut want[2][key], dscore, &q_row);
            add(&mut want[3][key], p, &dy);
        }
    }
    for (got, (want, what)) in got.iter().zip(want.iter().zip([
        "attention",
        "attention's dq",
        "attention's dk",
        "attention's dv",
    ])) {
        for (at, want) in want.iter().enumerate() {
            row(got, at)
                .iter()
                .zip(want)
                .try_for_each(|(got, want)| expect(what, *got as f32, *want, 1e-4))?;
        }
    }
    Ok(())
}

/// LayerNorm forward.
pub fn layernorm(
    device: &Device,
    rows: usize,
    width: usize,
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let mut tape = device.tape();
    let (x, weight, bias) = (
        tape.input(&[rows, width]),
        tape.input(&[width]),
        tape.input(&[width]),
    );
    let y = tape.layernorm(x, weight, bias, 1e-5);
    tape.hold(y);
    let plan = Plan::new(device, tape)?;
    let data = noise(rows * width, 1);
    plan.write(x, &data);
    plan.write(weight, &vec![1.5f32; width]);
    plan.write(bias, &vec![0.25f32; width]);
    plan.run()?;
    let got: Vec<f32> = plan.read(y)?;
    let row = &data[(rows - 1) * width..];
    let mean = row.iter().map(|&v| v as f64).sum::<f64>() / width as f64;
    let variance = row.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / width as f64;
    expect(
        "layernorm",
        got[rows * width - 1],
        1.5 * (row[width - 1] as f64 - mean) / (variance + 1e-5).sqrt() + 0.25,
        1e-4,
    )?;
    let times = time(effort, || Ok(plan.run().and_then(|()| device.wait())?))?;
    let case = Case {
        device,
        bench: "layernorm",
        case: format!("{rows}x{width}"),
        variant: "forward".into(),
        flops: None,
        bytes: Some(8.0 * (rows * width) as f64),
        peak_gpu_bytes: bytes_of(&plan),
    };
    Ok(vec![case.measured(times)])
}

/// Products of one step in a forward pass, multiply-adds counted twice. What the last block of a CLS encoder leaves out is
/// not counted.
fn forward_flops(config: &Config, batch: usize, text: usize) -> f64 {
    use crate::models::seemore::{Projection, VisualTokens};
    let block =
        |width: usize, tokens: usize| (tokens * (12 * width * width + 2 * tokens * width)) as f64;
    let mut sum = 0.0;
    if config.visual_tokens != VisualTokens::Fuyu {
        let (width, tokens) = (config.vision_width, config.patches() + 1);
        sum += (config.patches() * config.patch_values() * width) as f64;
        let full = if config.visual_tokens == VisualTokens::Cls {
            config.vision_layers.saturating_sub(1)
        } else {
            config.vision_layers
        };
        sum += full as f64 * block(width, tokens);
        if full < config.vision_layers {
            // keys and values of all tokens, the rest of one
            sum += (tokens * 2 * width * width + 10 * width * width + 2 * tokens * width) as f64;
        }
    }
    let features = config.feature_width();
    sum += config.visual() as f64
        * match config.projector {
            Projection::Mlp => (4 * features * features + 4 * features * config.width) as f64,
            Projection::Linear => (features * config.width) as f64,
        };
    sum += config.layers as f64 * block(config.width, config.visual() + text);
    sum += (text * config.width * config.vocab_size) as f64;
    2.0 * batch as f64 * sum
}

/// One training step of a model: forward, backward and update, with the kernels it consists of.
pub fn train(
    device: &Device,
    config: &Config,
    sizes: &StepSizes,
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let StepSizes {
        batch,
        length: text,
        checkpoint,
        precision,
        ..
    } = *sizes;
    let model = Vlm::new(device, config, 0)?;
    let hyper = Hyper {
        rule: Rule::Adamw,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        clip: 1.0,
        decay: Decay::All,
        ema: 0.0,
    };
    let optimizer = Optimizer::new(
        device,
        model.storage(),
        hyper,
        GradScaler::of(precision),
        |_| true,
    )?;
    let (start, cpu) = (Instant::now(), ProcessTime::now());
    let step = TrainStep::record(device, &model, &optimizer, sizes, &|_| true)?.plan(device)?;
    let token = |i: usize| (i * 7 % config.vocab_size) as u32;
    let tokens = |from: usize| (from..from + text).map(token).collect();
    let pixels = noise(batch * 3 * config.image_size * config.image_size, 1);
    let pictures = pixels.chunks(pixels.len() / batch);
    let rgb = |picture: &[f32]| {
        picture
            .iter()
            .map(|pixel| (127.5 * (pixel + 1.0)) as u8)
            .collect()
    };
    let samples = pictures
        .map(|picture| Sample::new("", rgb(picture), ""))
        .collect();
    let data = Dataset {
        side: config.image_size,
        samples,
    };
    let feed = Arc::new(Feed {
        train: &data,
        texts: (0..batch)
            .map(|row| {
                vec![Text {
                    ids: tokens(row * text),
                    targets: tokens(row * text + 1),
                }]
            })
            .collect(),
        classes: vec![if config.classes > 0 { 0 } else { IGNORE }; batch],
        order: Batches::new(batch, batch, 1),
        part: batch,
        length: text,
        pad: 0,
        count_pads: config.count_pads,
        augment: Augment::light(),
        seed: 1,
    });
    let (mut number, mut waits) = (0, vec![]);
    let (compile, times) = std::thread::scope(|scope| -> Result<_, Failure> {
        let mut input = Prefetcher::new(scope, feed, 0, None);
        let mut run = || {
            number += 1;
            let before = input.waited();
            let batches = input.next().map_err(Failure::msg)?;
            waits.push(input.waited() - before);
            step.run(&batches, number as u32, 1e-3, 0.0)?;
            Ok(device.wait()?)
        };
        run()?;
        let (first_step, first_cpu) = (start.elapsed(), cpu.elapsed());
        let first = step.loss()?;
        let classes = if config.classes > 0 {
            (config.classes as f64).ln()
        } else {
            0.0
        };
        // cosines times 20 are far from even before training
        let off = if config.output == Output::Cosine || config.classes > 0 {
            10.0
        } else {
            1.0
        };
        expect(
            "the untrained model's loss",
            first,
            (config.vocab_size as f64).ln() + classes,
            off,
        )?;
        let times = time(effort, run)?;
        let last = step.loss()?;
        anyhow::ensure!(last < first, "the loss went from {first} to {last}");
        Ok((
            Times {
                median: first_step,
                least: first_step,
                most: first_step,
                cpu: first_cpu,
            },
            times,
        ))
    })?;
    let waits = waits.split_off((1 + effort.warmup) as usize);
    let case = |variant: &str, flops| Case {
        device,
        bench: "train",
        case: format!(
            "batch {batch}, {text} characters, {} px{}{}",
            config.image_size,
            if precision == Precision::F16 {
                ", f16"
            } else {
                ""
            },
            if checkpoint { ", checkpointed" } else { "" }
        ),
        variant: variant.into(),
        flops,
        bytes: None,
        peak_gpu_bytes: step.bytes(),
    };
    let mut steps = case("step", Some(3.0 * forward_flops(config, batch, text))).measured(times);
    steps.kernels = kernel_times(step.plan())?;
    Ok(vec![
        steps,
        case("waiting for input in a step", None).measured(Times::new(waits, Duration::ZERO)),
        case("first step, kernels compiled", None).measured(compile),
    ])
}

/// Reading a prompt, and each further token of the first `new` with the key/value cache.
pub fn decode(
    device: &Device,
    config: &Config,
    batch: usize,
    prompt: usize,
    new: usize,
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let model = Vlm::new(device, config, 0)?;
    let mut generator = Generator::new(device, &model, batch, prompt, new.max(2), false)?;
    let images = noise(batch * 3 * config.image_size * config.image_size, 1);
    let token = |i: usize| (i * 5 % config.vocab_size) as u32;
    let prompts: Vec<u32> = (0..batch).flat_map(|_| (0..prompt).map(token)).collect();

    generator.start(&images, &prompts)?;
    let next = vec![token(prompt); batch];
    let got = generator.next(&next)?.unwrap_or_default();
    let longer: Vec<u32> = (0..batch).flat_map(|_| (0..=prompt).map(token)).collect();
    let mut tape = device.tape();
    let (image, ids) = (
        tape.input(&[batch, 3, config.image_size, config.image_size]),
        tape.input(&[batch, prompt + 1]),
    );
    let logits = model.forward(
        &mut Context::inference(&mut tape),
        Some(image),
        ids,
        None,
        Logits::Last,
    );
    tape.hold(logits);
    let full = Plan::new(device, tape)?;
    full.write(image, &images);
    full.write(ids, &longer);
    full.run()?;
    for (got, want) in got.concat().iter().zip(full.read::<f32>(logits)?) {
        expect("decoding with a cache", *got, want as f64, 1e-3)?;
    }

    let first = time(effort, || {
        Ok(generator.start(&images, &prompts).map(|_| ())?)
    })?;
    // the first `new` tokens of a caption, over and over: a token costs more the more precede it
    let (mut times, mut spent) = (vec![], Duration::ZERO);
    for round in 0..effort.warmup + effort.runs.max(1) {
        generator.start(&images, &prompts)?;
        let cpu = ProcessTime::now();
        let mut tokens = vec![];
        for _ in 1..new.max(2) {
            let start = Instant::now();
            generator.next(&next)?;
            tokens.push(start.elapsed());
        }
        if round >= effort.warmup {
            spent += cpu.elapsed();
            times.extend(tokens);
        }
    }
    let count = times.len() as u32;
    let further = Times::new(times, spent / count);
    let case = |variant: &str| Case {
        device,
        bench: "decode",
        case: format!("batch {batch}, prompt {prompt}, {} px", config.image_size),
        variant: variant.into(),
        flops: None,
        bytes: None,
        peak_gpu_bytes: bytes_of(generator.token_plan()),
    };
    let mut further = case("further token").measured(further);
    further.kernels = kernel_times(generator.token_plan())?;
    Ok(vec![case("first token").measured(first), further])
}

/// Reading a CSV file: `rows` PNG pictures of `side` pixels, decoded and stretched to the model's size.
pub fn load(
    device: &Device,
    config: &Config,
    rows: usize,
    side: u32,
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let dir = std::env::temp_dir().join(format!("seemore-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let path = dir.join("inputs.csv");
    let measured = (|| {
        let mut csv = csv::Writer::from_path(&path)?;
        csv.write_record(["b64string_images", "caption"])?;
        for row in 0..rows as u32 {
            let picture = RgbImage::from_fn(side, side, |x, y| {
                Rgb([(x * 3 + row) as u8, (y * 5) as u8, (x ^ y) as u8])
            });
            let mut png = Cursor::new(vec![]);
            picture.write_to(&mut png, ImageFormat::Png)?;
            csv.write_record([
                base64::engine::general_purpose::STANDARD.encode(png.into_inner()),
                format!("picture {row}"),
            ])?;
        }
        csv.flush()?;
        let read = || {
            Dataset::load(
                &path,
                config.image_size,
                &Layout::default(),
                true,
                &crate::progress::Silent,
            )
        };
        anyhow::ensure!(read()?.dataset.samples.len() == rows, "rows were lost");
        let bytes = std::fs::metadata(&path)?.len();
        let times = time(effort, || Ok(read().map(|_| ())?))?;
        let case = Case {
            device,
            bench: "load",
            case: format!("{rows} PNG of {side} px to {} px", config.image_size),
            variant: "csv".into(),
            flops: None,
            bytes: Some(bytes as f64),
            peak_gpu_bytes: 0,
        };
        Ok(vec![case.measured(times)])
    })();
    // the measurement stands even if the temporary folder cannot be removed
    let _ = std::fs::remove_dir_all(&dir);
    measured
}
