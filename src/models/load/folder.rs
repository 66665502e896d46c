//! Checkpoint folders: `config.json`, `model.safetensors` and `tokenizer.json`.

use std::path::{Path, PathBuf};

use super::safetensors::{Values, read_values, write_values};
use super::{CheckpointError, make_folder, write_file};
use crate::device::{Device, DeviceError, Tensor};
use crate::models::{Model, ModelConfig};
use crate::text::Tokenizer;

/// Names of unknown tensors that an error lists.
const LISTED: usize = 5;

/// Reads the current values of named tensors from the device.
///
/// # Errors
/// Returns an error when the device is lost.
pub fn snapshot(named: &[(String, Tensor)]) -> Result<Values, DeviceError> {
    named
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), (tensor.shape().to_vec(), tensor.read()?))))
        .collect()
}

/// Writes values read from the file `path` to named tensors.
///
/// # Errors
/// Returns an error when the names or shapes of both differ.
pub fn restore(
    named: &[(String, Tensor)],
    mut values: Values,
    path: &Path,
) -> Result<(), CheckpointError> {
    let path = || path.display().to_string();
    for (name, tensor) in named {
        let (shape, data) = values
            .remove(name)
            .ok_or_else(|| CheckpointError::Missing {
                path: path(),
                name: name.clone(),
            })?;
        if shape != tensor.shape() {
            return Err(CheckpointError::Mismatch {
                path: path(),
                name: name.clone(),
                have: format!("has shape {shape:?}"),
                want: format!("{:?}", tensor.shape()),
            });
        }
        tensor.write(&data);
    }
    if values.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = values.keys().take(LISTED).map(String::as_str).collect();
    let more = if values.len() > LISTED {
        format!(" and {} more", values.len() - LISTED)
    } else {
        String::new()
    };
    Err(CheckpointError::Unknown {
        path: path(),
        names: format!("{}{more}", names.join(", ")),
    })
}

/// Saves a model and its tokenizer into a folder, which is created if it does not exist.
///
/// # Errors
/// Returns an error when a file cannot be written, or the device is lost.
pub fn save(
    dir: &Path,
    model: &Model,
    tokenizer: Option<&Tokenizer>,
) -> Result<(), CheckpointError> {
    save_description(dir, model, tokenizer)?;
    let values = snapshot(model.parameters())?;
    write_values(&dir.join("model.safetensors"), &values, None)
}

/// Saves configuration and tokenizer, which training does not change, into a folder.
///
/// # Errors
/// Returns an error when a file cannot be written.
pub fn save_description(
    dir: &Path,
    model: &Model,
    tokenizer: Option<&Tokenizer>,
) -> Result<(), CheckpointError> {
    make_folder(dir)?;
    write_file(
        &dir.join("config.json"),
        model.config().to_json().as_bytes(),
    )?;
    if let Some(tokenizer) = tokenizer {
        write_file(&dir.join("tokenizer.json"), tokenizer.to_json().as_bytes())?;
    }
    Ok(())
}

/// Returns the folder of the model that is shipped with this program: `data/checkpoints/emoji` in
/// the current folder, or in one above the executable.
pub fn shipped() -> Option<PathBuf> {
    let program = std::env::current_exe().ok();
    let above = program
        .iter()
        .flat_map(|program| program.ancestors().skip(1));
    let folders = std::iter::once(Path::new("")).chain(above);
    folders
        .map(|folder| folder.join("data/checkpoints/emoji"))
        .find(|dir| dir.join("model.safetensors").is_file())
}

/// Returns the checkpoint folder to use when none is named: the [`shipped`] one, else the one in
/// `runs/` that was written last.
pub fn default_folder() -> Option<PathBuf> {
    shipped().or_else(newest_run)
}

/// Returns the checkpoint folder in `runs/` that was written last.
fn newest_run() -> Option<PathBuf> {
    let folders = std::fs::read_dir("runs")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    let dated = folders.filter_map(|dir| {
        let parameters = dir.join("model.safetensors").metadata().ok()?;
        Some((parameters.modified().ok()?, dir))
    });
    dated.max().map(|(_, dir)| dir)
}

/// Loads a model, and its tokenizer if there is one, from a folder.
///
/// # Errors
/// Names the file that is absent or damaged, or that does not fit the others.
pub fn load(device: &Device, dir: &Path) -> Result<(Model, Option<Tokenizer>), CheckpointError> {
    for missing in ["config.json", "model.safetensors"] {
        if !dir.join(missing).is_file() {
            return Err(CheckpointError::NotACheckpoint {
                path: dir.display().to_string(),
                missing,
            });
        }
    }
    let config = ModelConfig::load(&dir.join("config.json"))?;
    let path = dir.join("model.safetensors");
    let values = read_values(&path)?;
    let model = Model::new(device, config, 0)?;
    restore(model.parameters(), values, &path)?;
    let tokenizer = dir.join("tokenizer.json");
    let tokenizer = tokenizer
        .is_file()
        .then(|| Tokenizer::load(&tokenizer))
        .transpose()?;
    let vocab_size = model.info().vocab_size;
    if let Some(tokenizer) = &tokenizer
        && tokenizer.vocab_size() > vocab_size
    {
        return Err(CheckpointError::Mismatch {
            path: dir.display().to_string(),
            name: "tokenizer.json".into(),
            have: format!("has {} tokens", tokenizer.vocab_size()),
            want: format!("at most {vocab_size}, as config.json says"),
        });
    }
    Ok((model, tokenizer))
}
