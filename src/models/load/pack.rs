//! Checkpoints to share.

use std::path::Path;

use super::peft::ADAPTER_MODEL;
use super::safetensors::{Metadata, TensorFile, step_note, write_halves};
use super::tuned::{WEIGHTS, shared_description};
use super::{CheckpointError, make_folder, write_file};
use crate::models::ModelConfig;

/// Sizes of a packed checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Size of the file with the parameters, in bytes.
    pub bytes: u64,
    /// Number of tensors in it.
    pub tensors: usize,
}

/// Copies a checkpoint folder to another with parameters as 16-bit floats and without training
/// states. Of a tuned model or a composition that is what its folder holds, the adapter included;
/// models that it refers to are then named by their repositories, if they lie in a cache of the
/// Hugging Face Hub.
///
/// # Errors
/// Returns an error when a file cannot be read or written, or when a value is beyond the range of
/// 16-bit floats.
pub fn pack(from: &Path, to: &Path) -> Result<Packed, CheckpointError> {
    let tuned = shared_description(from, to)?;
    let config = from.join("config.json");
    if config.is_file() && tuned.is_none() {
        ModelConfig::load_trainable(&config)?;
    }
    let mut packed = Packed {
        bytes: 0,
        tensors: 0,
    };
    let mut add = |name: &str| {
        let mut file = TensorFile::open(&from.join(name))?;
        let values = file.values()?;
        make_folder(to)?;
        let path = to.join(name);
        let notes = match name {
            // as PEFT marks its files
            ADAPTER_MODEL => Metadata::from([("format".to_owned(), "pt".to_owned())]),
            _ => step_note(file.step()),
        };
        write_halves(&path, &values, notes)?;
        packed.bytes += std::fs::metadata(&path).map_or(0, |file| file.len());
        packed.tensors += values.len();
        Ok::<(), CheckpointError>(())
    };
    let has = |name: &str| from.join(name).is_file();
    // a tuned model may have nothing but its adapter
    if tuned.is_none() || has(WEIGHTS) {
        add(WEIGHTS)?;
    }
    if tuned.is_some() && has(ADAPTER_MODEL) {
        add(ADAPTER_MODEL)?;
    }
    match tuned {
        Some(files) => {
            for (name, text) in files {
                write_file(&to.join(name), text.as_bytes())?;
            }
            copy(from, to, &["chat_template.jinja", "run.toml"])?;
        }
        None => copy(
            from,
            to,
            &["config.json", "tokenizer.json", "training.json", "run.toml"],
        )?,
    }
    Ok(packed)
}

fn copy(from: &Path, to: &Path, names: &[&str]) -> Result<(), CheckpointError> {
    for name in names {
        let file = from.join(name);
        if file.exists() {
            let bytes = std::fs::read(&file).map_err(|reason| CheckpointError::Read {
                path: file.display().to_string(),
                reason,
            })?;
            write_file(&to.join(name), &bytes)?;
        }
    }
    Ok(())
}
