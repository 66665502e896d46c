//! `seemore import` and `seemore export`: checkpoints of the original.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use super::AdapterArgs;
use crate::models::checkpoint::{self, CheckpointError};
use crate::models::seemore::{Vlm, export_original, import_original, original_name};
use crate::text::Tokenizer;
use crate::train::State;

#[derive(Args)]
pub struct ImportArgs {
    /// State dict of the original seemore
    #[arg(value_name = "FILE.safetensors")]
    file: PathBuf,
    /// Checkpoint folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Text file whose distinct characters, sorted, are the vocabulary, followed by padding [default, for 66 tokens: the 65 characters of the original's text]
    #[arg(long, value_name = "FILE.txt")]
    characters: Option<PathBuf>,
    /// Replace what is in the folder
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    adapter: AdapterArgs,
}

#[derive(Args)]
pub struct ExportArgs {
    /// Checkpoint folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
    /// Write it even where the original would compute other logits with these values
    #[arg(long)]
    force: bool,
}

/// The characters of the original's training text (tiny-shakespeare), sorted.
const ORIGINAL_CHARACTERS: &str =
    "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

pub fn import(args: &ImportArgs) -> anyhow::Result<()> {
    if args.out.join("model.safetensors").exists() && !args.overwrite {
        bail!(
            "{} already holds a checkpoint: choose another --out, or add --overwrite",
            args.out.display()
        );
    }
    let values = checkpoint::read_values(&args.file).map_err(|error| match error {
        CheckpointError::Mismatch { .. } => {
            anyhow!("{error}: convert it to float32, as with `tensor.float()` before it is saved")
        }
        other => other.into(),
    })?;
    let (config, values) = import_original(&args.file, values)?;
    config
        .check()
        .with_context(|| args.file.display().to_string())?;
    let tokenizer = match &args.characters {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let tokenizer = Tokenizer::plain(text.chars());
            if tokenizer.vocab_size() != config.vocab_size {
                let (path, have, want) =
                    (path.display(), tokenizer.vocab_size(), config.vocab_size);
                bail!(
                    "{path} has {} distinct characters, with padding {have} tokens; the model knows {want}",
                    have - 1
                );
            }
            Some(tokenizer)
        }
        None => Some(Tokenizer::plain(ORIGINAL_CHARACTERS.chars()))
            .filter(|t| t.vocab_size() == config.vocab_size),
    };
    let device = args.adapter.open()?;
    let model = Vlm::new(&device, &config, 0)?;
    checkpoint::restore(model.parameters(), values, &args.file).map_err(|error| match error {
        CheckpointError::Mismatch {
            path,
            name,
            have,
            want,
        } => {
            let name = original_name(&name).unwrap_or(name);
            CheckpointError::Mismatch {
                path,
                name,
                have,
                want,
            }
        }
        other => other,
    })?;
    // what belongs to the model that was there before
    for stale in ["tokenizer.json", "training.json", "run.toml"] {
        let path = args.out.join(stale);
        if path.exists() {
            std::fs::remove_file(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    State::remove_all(&args.out)?;
    checkpoint::save(&args.out, &model, tokenizer.as_ref())?;
    println!(
        "{}: {} parameters, {} px, {} tokens",
        args.out.display(),
        model.parameter_count(),
        config.image_size,
        config.vocab_size
    );
    if tokenizer.is_none() {
        eprintln!(
            "note: without a tokenizer it cannot write captions; import again with --characters FILE.txt"
        );
    }
    Ok(())
}

pub fn export(args: &ExportArgs) -> anyhow::Result<()> {
    if args.out.exists() && !args.overwrite {
        bail!(
            "{} is already there: choose another --out, or add --overwrite",
            args.out.display()
        );
    }
    let config = crate::models::seemore::Config::load(&args.dir.join("config.json"))?;
    let values = checkpoint::read_values(&args.dir.join("model.safetensors"))?;
    let values = export_original(&config, values)?;
    let differences = config.differences_from_original().join(", ");
    if !differences.is_empty() {
        let what = format!(
            "the original would compute other logits with {}: {differences}",
            args.dir.display()
        );
        if !args.force {
            bail!("{what}. Add --force to write it nevertheless");
        }
        eprintln!("warning: {what}");
    }
    checkpoint::write_values(&args.out, &values, None)?;
    println!("{}: {} tensors", args.out.display(), values.len());
    Ok(())
}
