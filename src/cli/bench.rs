//! `seemore bench`: measures kernels, training, decoding and loading. Every result is checked
//! before it is timed.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};

mod attention;
mod decode;
mod encode;
mod layernorm;
mod load;
mod matmul;
mod measure;
mod packed;
mod report;
mod train;
mod tune;
mod vlm;

use super::devices::DeviceArgs;
use super::values::named;
use crate::graph::Precision;
use crate::models::{ModelConfig, Overrides, Preset};
use crate::ops::Attention;
use crate::train::{Objective, StepSizes};
use measure::Effort;
use report::Report;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Matmul,
    Attention,
    Layernorm,
    Packed,
    Train,
    Decode,
    Encode,
    Load,
    /// A pretrained model, given by --model
    Vlm,
    /// Steps of LoRA on a pretrained model, given by --model
    Tune,
    All,
}

#[derive(Args)]
pub struct BenchArgs {
    /// Benchmarks to run
    #[arg(value_enum, default_value = "all")]
    what: Vec<What>,
    /// Sizes of the matrix product A[M, K] B[K, N]
    #[arg(long, default_value = "592x512x2048", value_name = "MxNxK")]
    shape: String,
    /// Model preset for train, decode and load
    #[arg(long, value_parser = named::<Preset>(), default_value = "seemore")]
    preset: Preset,
    /// Model sizes from a JSON file like a checkpoint's config.json
    #[arg(long, value_name = "FILE.json", conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// Pretrained model of the benchmarks vlm and tune
    #[arg(long, value_name = "MODEL", required_if_eq_any([("what", "vlm"), ("what", "tune")]))]
    model: Option<PathBuf>,
    /// In the benchmarks vlm and tune, compute exactly with weights of 16 bits or less
    #[arg(long)]
    exact: bool,
    /// Pictures per training step
    #[arg(long, default_value_t = 16, value_name = "PICTURES")]
    batch_size: usize,
    /// Caption length in a training step, in characters
    #[arg(long, default_value_t = 32, value_name = "CHARACTERS")]
    text: usize,
    /// Recompute blocks in the backward pass to save memory
    #[arg(long)]
    checkpoint_activations: bool,
    /// Operand precision of matrix products and attention in a training step
    #[arg(long, value_parser = named::<Precision>(), default_value = "f32")]
    precision: Precision,
    /// Side of input pictures in pixels, a multiple of the patch size [default: the preset's]
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
    /// Timed runs
    #[arg(long, default_value_t = 10)]
    runs: u32,
    /// Untimed runs before the timed ones
    #[arg(long, default_value_t = 2, value_name = "RUNS")]
    warmup: u32,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    /// Compare with the --json output of an earlier run
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let sizes: Vec<usize> = args
        .shape
        .split('x')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .unwrap_or_default();
    let &[m, n, k] = &sizes[..] else {
        bail!(
            "--shape {}: want three sizes, such as 592x512x2048",
            args.shape
        )
    };
    if [m, n, k, args.batch_size, args.text].contains(&0) {
        bail!("--shape, --batch-size and --text must be at least 1");
    }
    let mut config = model_config(args)?;
    let context = config.info().context;
    config.apply(&Overrides {
        image_size: args.image_size,
        context: Some(1 << 20),
        ..Overrides::default()
    })?;
    let needed = config.info().visual_tokens + args.text.max(80);
    config.apply(&Overrides {
        context: Some(context.max(needed)),
        ..Overrides::default()
    })?;
    let info = config.info();
    let earlier = args.against.as_deref().map(report::read).transpose()?;
    let device = args.device.open()?;
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
        report.all(&matmul::measure(&device, (m, n, k), effort)?)?;
    }
    if wanted(What::Attention) {
        let encoder = info
            .encoder
            .map(|stack| (info.encoder_rows(), stack, false));
        let decoder = (info.visual_tokens + args.text, info.decoder, true);
        for (length, stack, causal) in encoder.into_iter().chain([decoder]) {
            let spec = Attention {
                heads: stack.heads,
                kv_heads: stack.heads,
                scale: stack.scale,
                causal,
                dropout: 0.0,
                rounded: false,
            };
            report.all(&attention::measure(
                &device,
                [args.batch_size, length, stack.width],
                &spec,
                effort,
            )?)?;
        }
    }
    if wanted(What::Layernorm) {
        report.all(&layernorm::measure(
            &device,
            args.batch_size * info.encoder_rows(),
            info.encoder.unwrap_or(info.decoder).width,
            effort,
        )?)?;
    }
    if wanted(What::Packed) {
        report.all(&packed::measure(&device, effort)?)?;
    }
    if wanted(What::Train) {
        let sizes = StepSizes {
            batch: args.batch_size,
            length: args.text,
            accumulate: 1,
            checkpoint: args.checkpoint_activations,
            precision: args.precision,
            objective: Objective {
                classes: if info.classes > 0 { 1.0 } else { 0.0 },
                ..Objective::CAPTIONS
            },
            shared: false,
            answers: None,
        };
        report.all(&train::measure(&device, &config, &sizes, effort)?)?;
    }
    if wanted(What::Decode) {
        report.all(&decode::measure(&device, &config, 1, 4, 64, effort)?)?;
    }
    if wanted(What::Encode) {
        report.all(&encode::measure(&device, &config, args.batch_size, effort)?)?;
    }
    if wanted(What::Load) {
        report.all(&load::measure(&device, &config, 256, 128, effort)?)?;
    }
    if let (true, Some(model)) = (args.what.contains(&What::Vlm), &args.model) {
        report.all(&vlm::measure(&device, model, args.exact, effort)?)?;
    }
    if let (true, Some(model)) = (args.what.contains(&What::Tune), &args.model) {
        for batch in tune::BATCHES {
            report.all(&tune::measure(&device, model, batch, args.exact, effort)?)?;
        }
    }
    Ok(())
}

fn model_config(args: &BenchArgs) -> anyhow::Result<ModelConfig> {
    Ok(match &args.config {
        Some(path) => ModelConfig::load_trainable(path)?,
        None => args.preset.config(),
    })
}
