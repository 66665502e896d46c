//! Checkpoints to share.

use std::path::Path;

use super::safetensors::{TensorFile, write_halves};
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
/// states.
///
/// # Errors
/// Returns an error when a file cannot be read or written, or when a value is beyond the range of
/// 16-bit floats.
pub fn pack(from: &Path, to: &Path) -> Result<Packed, CheckpointError> {
    let config = from.join("config.json");
    if config.is_file() {
        ModelConfig::load_trainable(&config)?;
    }
    let parameters = from.join("model.safetensors");
    let mut file = TensorFile::open(&parameters)?;
    let values = file.values()?;
    make_folder(to)?;
    for name in ["config.json", "tokenizer.json", "training.json", "run.toml"] {
        let file = from.join(name);
        if file.exists() {
            let bytes = std::fs::read(&file).map_err(|reason| CheckpointError::Read {
                path: file.display().to_string(),
                reason,
            })?;
            write_file(&to.join(name), &bytes)?;
        }
    }
    let packed = to.join("model.safetensors");
    write_halves(&packed, &values, file.step())?;
    Ok(Packed {
        bytes: std::fs::metadata(&packed).map_or(0, |file| file.len()),
        tensors: values.len(),
    })
}
