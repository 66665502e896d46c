//! `seemore bench`: what this adapter does, in numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

mod measure;

use super::{AdapterArgs, say};
use crate::graph::Precision;
use crate::models::seemore::{Config, Preset};
use crate::ops::Attention;
use crate::train::{Objective, StepSizes};
use measure::{Effort, KernelTime, Measurement};

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
    /// Model sizes from a JSON file instead, as config.json of a checkpoint
    #[arg(long, value_name = "FILE.json", conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// Pictures in a training step
    #[arg(long, default_value_t = 16, value_name = "PICTURES")]
    batch_size: usize,
    /// Characters of a caption in a training step
    #[arg(long, default_value_t = 32, value_name = "CHARACTERS")]
    text: usize,
    /// Compute the blocks of a training step again in its backward pass, for less memory
    #[arg(long)]
    checkpoint_activations: bool,
    /// Of the operands of matrix products and attention in a training step
    #[arg(long, value_enum, default_value = "f32")]
    precision: Precision,
    /// Side of the model's input pictures in pixels, a multiple of its patches [default: the preset's]
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
    /// Runs that are timed
    #[arg(long, default_value_t = 10)]
    runs: u32,
    /// Runs before the first that is timed
    #[arg(long, default_value_t = 2, value_name = "RUNS")]
    warmup: u32,
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
    let sizes: Vec<usize> = args
        .shape
        .split('x')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .unwrap_or_default();
    let &[m, n, k] = &sizes[..] else {
        bail!("--shape {} is not three sizes as 592x512x2048", args.shape)
    };
    if [m, n, k, args.batch_size, args.text].contains(&0) {
        bail!("sizes must be at least 1");
    }
    let mut config = model_config(args)?;
    config.image_size = args.image_size.unwrap_or(config.image_size);
    config.context = config.context.max(config.visual() + args.text.max(80));
    config.check()?;
    let earlier = args.against.as_deref().map(read).transpose()?;
    let device = args.adapter.open()?;
    let effort = Effort {
        warmup: args.warmup,
        runs: args.runs,
    };
    let wanted = |what: What| args.what.contains(&what) || args.what.contains(&What::All);
    let report = Report {
        json: args.json,
        earlier,
    };

    if wanted(What::Matmul) {
        report.all(&measure::matmul(&device, (m, n, k), effort)?)?;
    }
    if wanted(What::Attention) {
        let encoder = config.patches() + 1;
        for (length, width, heads, causal) in [
            (encoder, config.vision_width, config.vision_heads, false),
            (
                config.visual() + args.text,
                config.width,
                config.heads,
                true,
            ),
        ] {
            let spec = Attention {
                heads,
                scale: config.scale(width, heads),
                causal,
                dropout: 0.0,
            };
            report.all(&measure::attention(
                &device,
                [args.batch_size, length, width],
                &spec,
                effort,
            )?)?;
        }
    }
    if wanted(What::Layernorm) {
        report.all(&measure::layernorm(
            &device,
            args.batch_size * (config.patches() + 1),
            config.vision_width,
            effort,
        )?)?;
    }
    if wanted(What::Train) {
        let sizes = StepSizes {
            batch: args.batch_size,
            length: args.text,
            accumulate: 1,
            checkpoint: args.checkpoint_activations,
            precision: args.precision,
            objective: Objective {
                classes: if config.classes > 0 { 1.0 } else { 0.0 },
                ..Objective::CAPTIONS
            },
        };
        report.all(&measure::train(&device, &config, &sizes, effort)?)?;
    }
    if wanted(What::Decode) {
        report.all(&measure::decode(&device, &config, 1, 4, 64, effort)?)?;
    }
    if wanted(What::Load) {
        report.all(&measure::load(&device, &config, 256, 128, effort)?)?;
    }
    Ok(())
}

fn model_config(args: &BenchArgs) -> anyhow::Result<Config> {
    Ok(match &args.config {
        Some(path) => Config::load(path)?,
        None => args.preset.config(),
    })
}

type Earlier = BTreeMap<(String, String, String), Measurement>;

fn read(path: &Path) -> anyhow::Result<Earlier> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut earlier = Earlier::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let measurement: Measurement = serde_json::from_str(line).with_context(|| {
            format!(
                "{} line {} is not a line of `seemore bench --json`",
                path.display(),
                index + 1
            )
        })?;
        let key = (
            measurement.bench.clone(),
            measurement.case.clone(),
            measurement.variant.clone(),
        );
        earlier.insert(key, measurement);
    }
    Ok(earlier)
}

/// A line of --json.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    measurement: &'a Measurement,
    /// To the earlier run, where it has the same case on the same adapter and driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ratio: Option<f64>,
}

struct Report {
    json: bool,
    earlier: Option<Earlier>,
}

impl Report {
    fn all(&self, measurements: &[Measurement]) -> anyhow::Result<()> {
        for measurement in measurements {
            if self.json {
                let before = self
                    .before(measurement)
                    .filter(|before| before.adapter == measurement.adapter);
                let (time_ratio, cpu_ratio) =
                    before.map(|before| ratios(measurement, before)).unzip();
                say(&serde_json::to_string(&Line {
                    measurement,
                    time_ratio,
                    cpu_ratio,
                })?);
                continue;
            }
            let Measurement {
                bench,
                case,
                median_ms,
                spread_ms,
                cpu_ms,
                ..
            } = measurement;
            let variant = format!(
                "{}{}",
                measurement.variant,
                if measurement.chosen { " (chosen)" } else { "" }
            );
            let optional = |value: Option<f64>, unit: &str| {
                value.map_or(String::new(), |value| format!("  {value:.1} {unit}"))
            };
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
            self.kernels(&measurement.kernels);
        }
        Ok(())
    }

    /// The same case in the earlier run.
    fn before(&self, now: &Measurement) -> Option<&Measurement> {
        self.earlier
            .as_ref()?
            .get(&(now.bench.clone(), now.case.clone(), now.variant.clone()))
    }

    /// The ratio to the earlier run, if there is one.
    fn change(&self, now: &Measurement) -> String {
        match self.before(now) {
            None if self.earlier.is_none() => String::new(),
            None => "  not in the earlier run".into(),
            Some(before) if before.adapter != now.adapter => format!(
                "  earlier on another adapter or driver ({})",
                before.adapter
            ),
            Some(before) => {
                let (time, cpu) = ratios(now, before);
                format!("  x{time:.2} time, x{cpu:.2} CPU of the earlier run")
            }
        }
    }

    fn kernels(&self, kernels: &[KernelTime]) {
        let all: f64 = kernels.iter().map(|kernel| kernel.ms).sum();
        for KernelTime {
            kernel,
            dispatches,
            ms,
        } in kernels.iter().take(12)
        {
            say(&format!(
                "    {kernel:40} {dispatches:5} times {ms:9.2} ms {:5.1} %",
                100.0 * ms / all.max(1e-9)
            ));
        }
    }
}

/// Wall and CPU time as multiples of those of an earlier run.
fn ratios(now: &Measurement, before: &Measurement) -> (f64, f64) {
    let ratio = |now: f64, before: f64| if before > 0.0 { now / before } else { f64::NAN };
    (
        ratio(now.median_ms, before.median_ms),
        ratio(now.cpu_ms, before.cpu_ms),
    )
}
