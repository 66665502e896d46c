//! `seemore merge`: a plain model out of a tuned one.

use std::path::PathBuf;

use clap::Args;

use crate::models::load;

#[derive(Args)]
pub struct MergeArgs {
    /// Folder that tuning wrote, or an adapter in PEFT's files
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Folder to write: a model that needs no adapter
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: &MergeArgs) -> anyhow::Result<()> {
    let merged = load::merge(&args.dir, &args.out)?;
    println!(
        "{}: {} tensors, {} of them with an adapter added",
        args.out.display(),
        merged.tensors,
        merged.adapters
    );
    Ok(())
}
