//! `seemore pack`: checkpoints to share.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use crate::cli::output::outln;
use crate::models::load;

#[derive(Args)]
pub struct PackArgs {
    /// Checkpoint folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Folder to write: parameters as 16-bit floats, tokenizer and training options, without
    /// optimizer states
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace a checkpoint that is already in --out
    #[arg(long)]
    overwrite: bool,
}

pub fn run(args: &PackArgs) -> anyhow::Result<()> {
    let files = ["model.safetensors", "adapter_model.safetensors"];
    if files.iter().any(|name| args.out.join(name).exists()) && !args.overwrite {
        bail!(
            "{} already holds a checkpoint: choose another --out, or add --overwrite",
            args.out.display()
        );
    }
    let packed = load::pack(&args.dir, &args.out)?;
    outln!(
        "{}: {:.1} MB, {} tensors",
        args.out.display(),
        packed.bytes as f64 / 1e6,
        packed.tensors
    );
    Ok(())
}
