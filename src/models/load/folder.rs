//! Checkpoint folders: `config.json`, `model.safetensors` and `tokenizer.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::safetensors::{Metadata, TensorFile, Values, write_tensors};
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
    values: &Values,
    path: &Path,
) -> Result<(), CheckpointError> {
    let shapes = values.iter();
    let shapes = shapes.map(|(name, (shape, _))| (name.as_str(), shape.as_slice()));
    check_shapes(named, shapes.collect(), &path.display().to_string())?;
    for (name, tensor) in named {
        tensor.write(&values[name].1);
    }
    Ok(())
}

/// Checks that the file `path` has the shapes of the named tensors, and no other tensors.
pub(super) fn check_shapes(
    named: &[(String, Tensor)],
    mut shapes: BTreeMap<&str, &[usize]>,
    path: &str,
) -> Result<(), CheckpointError> {
    let path = || path.to_owned();
    for (name, tensor) in named {
        let shape = shapes
            .remove(name.as_str())
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
    }
    if shapes.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = shapes.keys().take(LISTED).copied().collect();
    let more = if shapes.len() > LISTED {
        format!(" and {} more", shapes.len() - LISTED)
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
    write_tensors(
        &dir.join("model.safetensors"),
        model.parameters(),
        Metadata::new(),
    )
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
    let mut file = TensorFile::open(&dir.join("model.safetensors"))?;
    let model = Model::new(device, config, 0)?;
    file.restore(model.parameters())?;
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
