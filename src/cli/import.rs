//! `seemore import` and `seemore export`: conversion of checkpoints of the original seemore.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use super::devices::DeviceArgs;
use crate::cli::output::{errln, outln};
use crate::models::load::{self, CheckpointError};
use crate::models::seemore::{export_original, import_original, original_name, without_prefix};
use crate::models::{FamilyConfig, Model, ModelConfig};
use crate::text::Tokenizer;
use crate::train::{FolderLock, State};

#[derive(Args)]
pub struct ImportArgs {
    /// State dict of the original seemore
    #[arg(value_name = "FILE.safetensors")]
    file: PathBuf,
    /// Checkpoint folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Text file whose distinct characters, sorted, are the vocabulary [default: for 66 tokens, the
    /// characters of the original's training text]
    #[arg(long, value_name = "FILE.txt")]
    characters: Option<PathBuf>,
    /// Replace the checkpoint in the folder
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Args)]
pub struct ExportArgs {
    /// Checkpoint folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    overwrite: bool,
    /// Export a model even if the original would compute other logits with its parameters
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
    let values = load::read_values(&args.file).map_err(|error| match error {
        CheckpointError::Mismatch { .. } => {
            anyhow!("{error}: convert it to float32, as with `tensor.float()` before it is saved")
        }
        other => other.into(),
    })?;
    let (values, prefix) = without_prefix(values);
    if !prefix.is_empty() {
        errln!("note: the prefix `{prefix}` of the tensors' names is taken off");
    }
    let (config, values) = import_original(&args.file, values)?;
    config
        .check()
        .with_context(|| args.file.display().to_string())?;
    let tokenizer = match &args.characters {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let tokenizer = Tokenizer::plain(text.chars());
            if tokenizer.vocab_size() != config.text.vocab_size {
                let (path, have, want) = (
                    path.display(),
                    tokenizer.vocab_size(),
                    config.text.vocab_size,
                );
                bail!(
                    "{path} has {} distinct characters, which make {have} tokens with padding; the model has {want}",
                    have - 1
                );
            }
            Some(tokenizer)
        }
        None => Some(Tokenizer::plain(ORIGINAL_CHARACTERS.chars()))
            .filter(|t| t.vocab_size() == config.text.vocab_size),
    };
    let device = args.device.open()?;
    let model = Model::new(&device, &config, 0)?;
    load::make_folder(&args.out)?;
    let _lock = FolderLock::acquire(&args.out)?;
    load::restore(model.parameters(), &values, &args.file).map_err(|error| match error {
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
    // files of the model that was in the folder before
    for stale in ["tokenizer.json", "training.json", "run.toml"] {
        let path = args.out.join(stale);
        if path.exists() {
            std::fs::remove_file(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    State::remove_all(&args.out)?;
    load::save(&args.out, &model, tokenizer.as_ref())?;
    outln!(
        "{}: {} parameters, {} px, {} tokens",
        args.out.display(),
        model.parameter_count(),
        config.vision.image_size,
        config.text.vocab_size
    );
    if tokenizer.is_none() {
        errln!(
            "note: the model has no tokenizer and cannot write captions: import it again with --characters FILE.txt"
        );
    }
    Ok(())
}

pub fn export(args: &ExportArgs) -> anyhow::Result<()> {
    if args.out.exists() && !args.overwrite {
        bail!(
            "{} already exists: choose another --out, or add --overwrite",
            args.out.display()
        );
    }
    let ModelConfig::Seemore(config) = ModelConfig::load(&args.dir.join("config.json"))? else {
        bail!(
            "only a model of the seemore family can be exported, which has the original's structure"
        )
    };
    let values = load::read_values(&args.dir.join("model.safetensors"))?;
    let values = export_original(&config, values)?;
    let differences = config.differences_from_original().join(", ");
    if !differences.is_empty() {
        let what = format!(
            "the original would compute other logits with {}: {differences}",
            args.dir.display()
        );
        if !args.force {
            bail!("{what}. Add --force to write the file anyway");
        }
        errln!("warning: {what}");
    }
    load::write_values(&args.out, &values, None)?;
    outln!("{}: {} tensors", args.out.display(), values.len());
    Ok(())
}
