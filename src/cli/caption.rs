//! `seemore caption`: pictures in, captions out.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use super::AdapterArgs;
use crate::caption::Captioner;
use crate::data::Picture;
use crate::generate::Sampling;
use crate::heatmap;

#[derive(Args)]
pub struct CaptionArgs {
    /// Pictures (PNG, JPEG, WebP, GIF or BMP); `-` reads one from standard input
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Checkpoint folder [default: the newest in runs/]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Write a picture that shows where the model looked for each token; with several pictures, IMAGE's name is put in front
    #[arg(long, value_name = "FILE.png")]
    attention: Option<PathBuf>,
    /// Text that the caption starts with
    #[arg(long, default_value = "")]
    prompt: String,
    /// Most tokens to write
    #[arg(long, default_value_t = 64, value_name = "TOKENS")]
    max_tokens: usize,
    /// 0 takes the likeliest token every time; higher is more varied
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Choose among the so many likeliest tokens; 0 for all
    #[arg(long, default_value_t = 0, value_name = "TOKENS")]
    top_k: usize,
    /// Choose among the likeliest tokens that together reach this probability; 1 for all
    #[arg(long, default_value_t = 1.0, value_name = "PROBABILITY")]
    top_p: f32,
    /// Seed of the choice when the temperature is above 0
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    adapter: AdapterArgs,
}

pub fn run(args: &CaptionArgs) -> anyhow::Result<()> {
    if !(args.temperature >= 0.0 && args.temperature.is_finite()) {
        bail!("--temperature {} must be 0 or more", args.temperature);
    }
    if !(args.top_p > 0.0 && args.top_p <= 1.0) {
        bail!("--top-p {} must be above 0 and at most 1", args.top_p);
    }
    let dir = match &args.model {
        Some(dir) => dir.clone(),
        None => newest_run().context("no --model given, and no checkpoint in runs/: train one with `seemore train`")?,
    };
    let gpu = args.adapter.open()?;
    eprintln!("model: {}", dir.display());
    let mut captioner = Captioner::load(&gpu, &dir)?;
    let sampling = Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p, seed: args.seed };
    let mut failures = 0;
    for path in &args.images {
        if let Err(error) = caption(args, &mut captioner, path, sampling) {
            eprintln!("error: {error:#}");
            failures += 1;
        }
    }
    match failures {
        0 => Ok(()),
        _ => bail!("{failures} of {} pictures were not captioned", args.images.len()),
    }
}

fn caption(args: &CaptionArgs, captioner: &mut Captioner, path: &std::path::Path, sampling: Sampling) -> anyhow::Result<()> {
    let picture = if path.as_os_str() == "-" {
        let mut bytes = vec![];
        std::io::stdin().read_to_end(&mut bytes).context("standard input")?;
        Picture::decode(&bytes).context("standard input")?
    } else {
        Picture::open(path)?
    };
    let mut out = std::io::stdout();
    if args.images.len() > 1 {
        write!(out, "{}: ", path.display())?;
    }
    write!(out, "{}", args.prompt)?;
    let mut show = |token: &crate::caption::Written| {
        // a closed pipe ends the caption quietly
        write!(out, "{}", token.text).and_then(|()| out.flush()).is_ok()
    };
    let written = captioner.caption(&picture, &args.prompt, args.max_tokens, sampling, args.attention.is_some(), &mut show)?;
    writeln!(out)?;
    if let Some(file) = &args.attention {
        let file = if args.images.len() > 1 {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            file.with_file_name(format!("{stem}-{name}"))
        } else {
            file.clone()
        };
        heatmap::save(&file, &picture, &written).with_context(|| format!("cannot write {}", file.display()))?;
        eprintln!("attention: {}", file.display());
    }
    Ok(())
}

/// The checkpoint folder in `runs/` that was written last.
fn newest_run() -> Option<PathBuf> {
    let folders = std::fs::read_dir("runs").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let dated = folders.filter_map(|dir| Some((dir.join("model.safetensors").metadata().ok()?.modified().ok()?, dir)));
    dated.max().map(|(_, dir)| dir)
}
