//! `seemore bench`: what this adapter does, in numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use super::{AdapterArgs, say};
use crate::bench::{self, Effort, Measurement};
use crate::model::Preset;
use crate::ops::Attention;
use crate::plan::Timing;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Matmul,
    Attention,
    Layernorm,
    Train,
    Decode,
    Load,
    All,
}

#[derive(Args)]
pub struct BenchArgs {
    /// What to measure
    #[arg(value_enum, default_value = "all")]
    what: Vec<What>,
    /// Sizes of the product A[M, K] B[K, N]
    #[arg(long, default_value = "592x512x2048", value_name = "MxNxK")]
    shape: String,
    /// Model of train, decode and load
    #[arg(long, value_enum, default_value = "seemore")]
    preset: Preset,
    /// Pictures in a training step
    #[arg(long, default_value_t = 16, value_name = "PICTURES")]
    batch_size: usize,
    /// Characters of a caption in a training step
    #[arg(long, default_value_t = 32, value_name = "CHARACTERS")]
    text: usize,
    /// Side of the model's input pictures in pixels, a multiple of its patches [default: the preset's]
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
    /// Runs that are timed
    #[arg(long, default_value_t = 10)]
    runs: u32,
    /// One JSON object a line on standard output
    #[arg(long)]
    json: bool,
    /// Compare with an earlier output of --json
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    #[command(flatten)]
    adapter: AdapterArgs,
}

pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let sizes: Vec<usize> = args.shape.split('x').map(str::parse).collect::<Result<_, _>>().unwrap_or_default();
    let &[m, n, k] = &sizes[..] else { bail!("--shape {} is not three sizes as 592x512x2048", args.shape) };
    if [m, n, k, args.batch_size, args.text].contains(&0) {
        bail!("sizes must be at least 1");
    }
    let mut config = args.preset.config();
    config.image_size = args.image_size.unwrap_or(config.image_size);
    config.context = config.context.max(config.visual() + args.text.max(80 + args.runs as usize));
    config.check()?;
    let earlier = args.against.as_deref().map(read).transpose()?;
    let gpu = args.adapter.open()?;
    let effort = Effort { warmup: 2, runs: args.runs };
    let wanted = |what: What| args.what.contains(&what) || args.what.contains(&What::All);
    let mut report = Report { json: args.json, earlier };

    if wanted(What::Matmul) {
        report.all(&bench::matmul(&gpu, (m, n, k), effort)?)?;
    }
    if wanted(What::Attention) {
        let encoder = config.patches() + 1;
        for (length, width, heads, causal) in
            [(encoder, config.vision_width, config.vision_heads, false), (config.visual() + args.text, config.width, config.heads, true)]
        {
            let spec = Attention { heads, scale: config.scale(width, heads), causal, dropout: 0.0 };
            report.all(&bench::attention(&gpu, [args.batch_size, length, width], &spec, effort)?)?;
        }
    }
    if wanted(What::Layernorm) {
        report.all(&bench::layernorm(&gpu, args.batch_size * (config.patches() + 1), config.vision_width, effort)?)?;
    }
    if wanted(What::Train) {
        let (measurements, kernels) = bench::train(&gpu, &config, args.batch_size, args.text, effort)?;
        report.all(&measurements)?;
        report.kernels(kernels);
    }
    if wanted(What::Decode) {
        let effort = Effort { runs: 6 * args.runs, ..effort };
        let (measurements, kernels) = bench::decode(&gpu, &config, 1, 4, 64, effort)?;
        report.all(&measurements)?;
        report.kernels(kernels);
    }
    if wanted(What::Load) {
        report.all(&bench::load(&gpu, &config, 256, 128, effort)?)?;
    }
    Ok(())
}

type Earlier = BTreeMap<(String, String, String), Measurement>;

fn read(path: &Path) -> anyhow::Result<Earlier> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut earlier = Earlier::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let measurement: Measurement = serde_json::from_str(line)
            .with_context(|| format!("{} line {} is not a line of `seemore bench --json`", path.display(), index + 1))?;
        let key = (measurement.bench.clone(), measurement.case.clone(), measurement.variant.clone());
        earlier.insert(key, measurement);
    }
    Ok(earlier)
}

struct Report {
    json: bool,
    earlier: Option<Earlier>,
}

impl Report {
    fn all(&mut self, measurements: &[Measurement]) -> anyhow::Result<()> {
        for measurement in measurements {
            if self.json {
                say(&serde_json::to_string(measurement)?);
                continue;
            }
            let Measurement { bench, case, median_ms, spread_ms, cpu_ms, .. } = measurement;
            let variant = format!("{}{}", measurement.variant, if measurement.chosen { " (chosen)" } else { "" });
            let optional = |value: Option<f64>, unit: &str| value.map_or(String::new(), |value| format!("  {value:.1} {unit}"));
            say(&format!(
                "{bench:9} {case:34} {variant:30} {median_ms:9.2} ms ({:.2} .. {:.2})  {cpu_ms:.1} ms CPU{}{}{}{}",
                spread_ms.0,
                spread_ms.1,
                optional(measurement.gflops, "GFLOP/s"),
                optional(measurement.gflops_per_cpu_s, "GFLOP per CPU-second"),
                optional(measurement.gbytes_per_s, "GB/s"),
                self.change(measurement)
            ));
            if matches!(bench.as_str(), "train" | "decode") {
                let mega = |bytes: u64| bytes as f64 / 1e6;
                say(&format!(
                    "{:44} {:.0} MB on the device beside the parameters, {:.0} MB in the process at most",
                    "",
                    mega(measurement.peak_gpu_bytes),
                    mega(measurement.peak_rss_bytes)
                ));
            }
        }
        Ok(())
    }

    /// The ratio to the earlier run, if there is one.
    fn change(&self, now: &Measurement) -> String {
        let Some(earlier) = &self.earlier else { return String::new() };
        match earlier.get(&(now.bench.clone(), now.case.clone(), now.variant.clone())) {
            None => "  not in the earlier run".into(),
            Some(before) if before.adapter != now.adapter => format!("  earlier on another adapter ({})", before.adapter),
            Some(before) => {
                let ratio = |now: f64, before: f64| if before > 0.0 { now / before } else { f64::NAN };
                format!(
                    "  x{:.2} time, x{:.2} CPU of the earlier run",
                    ratio(now.median_ms, before.median_ms),
                    ratio(now.cpu_ms, before.cpu_ms)
                )
            }
        }
    }

    fn kernels(&self, timings: Option<Vec<Timing>>) {
        let Some(timings) = timings.filter(|_| !self.json) else { return };
        let all: f64 = timings.iter().map(|timing| timing.time.as_secs_f64()).sum();
        for timing in timings.iter().take(12) {
            let (name, seconds) = (format!("{}.{}", timing.kernel, timing.entry), timing.time.as_secs_f64());
            say(&format!(
                "    {name:40} {:5} times {:9.2} ms {:5.1} %",
                timing.dispatches,
                1e3 * seconds,
                100.0 * seconds / all.max(1e-12)
            ));
        }
    }
}
