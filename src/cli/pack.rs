//! `seemore pack`: a checkpoint to share.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use crate::models::checkpoint;

#[derive(Args)]
pub struct PackArgs {
    /// Checkpoint folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Folder to write: weights as 16-bit floats, tokenizer, and what `train --like` needs; no state of the optimizer
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace a checkpoint that is already in --out
    #[arg(long)]
    overwrite: bool,
}

pub fn run(args: &PackArgs) -> anyhow::Result<()> {
    let model = |dir: &PathBuf| dir.join("model.safetensors");
    if model(&args.out).exists() && !args.overwrite {
        bail!(
            "{} already holds a checkpoint: choose another --out, or add --overwrite",
            args.out.display()
        );
    }
    let values = checkpoint::read_values(&model(&args.dir))?;
    let step = checkpoint::saved_step(&model(&args.dir))?;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make {}", args.out.display()))?;
    for file in ["config.json", "tokenizer.json", "training.json", "run.toml"] {
        let from = args.dir.join(file);
        if from.exists() {
            let bytes =
                std::fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
            checkpoint::write_file(&args.out.join(file), &bytes)?;
        }
    }
    checkpoint::write_halves(&model(&args.out), &values, step)?;
    let size = std::fs::metadata(model(&args.out)).map_or(0, |file| file.len());
    println!(
        "{}: {:.1} MB, {} tensors",
        model(&args.out).display(),
        size as f64 / 1e6,
        values.len()
    );
    Ok(())
}
