//! A model on disk: `config.json`, `model.safetensors`, `tokenizer.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::atomic_file;
use crate::device::{Device, DeviceError, Tensor};
use crate::models::seemore::{Config, ConfigError, Vlm};
use crate::text::{Tokenizer, TokenizerError};

/// What can be wrong with a checkpoint. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("cannot read {path}: {reason}")]
    Read {
        path: String,
        reason: std::io::Error,
    },
    #[error("cannot write {path}: {reason}")]
    Write {
        path: String,
        reason: std::io::Error,
    },
    #[error(
        "{path} is not a checkpoint folder: it has no {missing}. `seemore train --out {path}` makes one"
    )]
    NotACheckpoint { path: String, missing: &'static str },
    #[error("{path} is not a valid safetensors file: {reason}")]
    Damaged { path: String, reason: String },
    #[error(
        "{path} has no tensor `{name}`, which the model of its config.json needs: the two files do not belong together"
    )]
    Missing { path: String, name: String },
    #[error("{path} has tensors that the model of its config.json does not know: {names}")]
    Unknown { path: String, names: String },
    #[error("{path}: tensor `{name}` is {have}, the model needs {want}")]
    Mismatch {
        path: String,
        name: String,
        have: String,
        want: String,
    },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// The values of a safetensors file by name, each with its shape.
pub type Values = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// What a safetensors file says of itself beside its tensors.
pub type Metadata = BTreeMap<String, String>;

/// Notes the checksum of the tensors, where this program wrote the file.
const CHECKSUM: &str = "crc32";

/// The one key of a file's metadata that holds all notes of this program, as JSON: several keys would be written in an order that
/// differs from time to time, and the same model would not be the same file.
const NOTES: &str = "seemore";

/// Reads all tensors of a safetensors file, which must be of 32-bit floats or of 16-bit ones, IEEE's or bfloat16.
///
/// # Errors
/// A file that cannot be read, is cut off or is no safetensors file; other numbers; and tensors that are not those that were
/// written, where the file has their checksum.
pub fn read_values(path: &Path) -> Result<Values, CheckpointError> {
    read_noted(path).map(|(values, _)| values)
}

/// The same, with what the file says of itself.
pub fn read_noted(path: &Path) -> Result<(Values, Metadata), CheckpointError> {
    let name = || path.display().to_string();
    let bytes = std::fs::read(path).map_err(|reason| CheckpointError::Read {
        path: name(),
        reason,
    })?;
    parse(&bytes, &name)
}

/// The tensors and notes of a file's bytes; `name` is the file's, for messages.
pub fn parse(
    bytes: &[u8],
    name: &dyn Fn() -> String,
) -> Result<(Values, Metadata), CheckpointError> {
    let damaged = |reason: String| CheckpointError::Damaged {
        path: name(),
        reason,
    };
    let (_, header) =
        SafeTensors::read_metadata(bytes).map_err(|error| damaged(error.to_string()))?;
    let metadata = notes(header.metadata().iter().flatten());
    let file = SafeTensors::deserialize(bytes).map_err(|error| damaged(error.to_string()))?;
    if let Some(want) = metadata.get(CHECKSUM) {
        let mut tensors = file.tensors();
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        let have = checksum(
            tensors
                .iter()
                .map(|(name, view)| (name.as_str(), view.shape(), view.data())),
        );
        if *want != have {
            return Err(damaged(format!(
                "its checksum is {have}, and {want} when it was written: bytes of it have changed"
            )));
        }
    }
    let mut values = Values::new();
    for (tensor, view) in file.tensors() {
        let halves = || view.data().as_chunks().0.iter().copied();
        let data = match view.dtype() {
            Dtype::F32 => bytemuck::pod_collect_to_vec(view.data()),
            Dtype::F16 => halves()
                .map(|bytes| f16::from_le_bytes(bytes).to_f32())
                .collect(),
            Dtype::BF16 => halves()
                .map(|bytes| bf16::from_le_bytes(bytes).to_f32())
                .collect(),
            other => {
                let (have, want) = (format!("{other:?}"), "F32, F16 or BF16 numbers".into());
                return Err(CheckpointError::Mismatch {
                    path: name(),
                    name: tensor,
                    have,
                    want,
                });
            }
        };
        values.insert(tensor, (view.shape().to_vec(), data));
    }
    Ok((values, metadata))
}

/// All that a file's metadata says.
fn notes<'a>(metadata: impl Iterator<Item = (&'a String, &'a String)>) -> Metadata {
    let mut notes = Metadata::new();
    for (key, value) in metadata {
        match serde_json::from_str::<Metadata>(value) {
            Ok(ours) if key == NOTES => notes.extend(ours),
            _ => _ = notes.insert(key.clone(), value.clone()),
        }
    }
    notes
}

/// The CRC-32 of names, shapes and bytes of tensors, in the order of their names.
fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [u8])>) -> String {
    let mut hasher = crc32fast::Hasher::new();
    for (name, shape, bytes) in tensors {
        hasher.update(name.as_bytes());
        shape
            .iter()
            .for_each(|&length| hasher.update(&(length as u64).to_le_bytes()));
        hasher.update(bytes);
    }
    format!("{:08x}", hasher.finalize())
}

/// The training step that a safetensors file was saved at, if it says.
pub fn saved_step(path: &Path) -> Result<Option<u64>, CheckpointError> {
    let name = || path.display().to_string();
    let bytes = std::fs::read(path).map_err(|reason| CheckpointError::Read {
        path: name(),
        reason,
    })?;
    let (_, metadata) =
        SafeTensors::read_metadata(&bytes).map_err(|error| CheckpointError::Damaged {
            path: name(),
            reason: error.to_string(),
        })?;
    Ok(notes(metadata.metadata().iter().flatten())
        .get("step")
        .and_then(|step| step.parse().ok()))
}

/// Writes a safetensors file: aside first, then in place of the old one, so that a file by that name is always whole. The
/// training step is noted in it, if there is one.
pub fn write_values(
    path: &Path,
    values: &Values,
    step: Option<u64>,
) -> Result<(), CheckpointError> {
    write_noted(path, values, noted(step))
}

/// The same with any notes.
pub fn write_noted(
    path: &Path,
    values: &Values,
    metadata: Metadata,
) -> Result<(), CheckpointError> {
    let bytes = values.iter().map(|(name, (shape, data))| {
        (
            name.as_str(),
            shape.clone(),
            bytemuck::cast_slice(data).to_vec(),
        )
    });
    write_tensors(path, Dtype::F32, bytes.collect(), metadata)
}

fn noted(step: Option<u64>) -> Metadata {
    step.iter()
        .map(|step| ("step".to_owned(), step.to_string()))
        .collect()
}

/// The same as 16-bit floats, half as large: to share a model. Larger numbers than these reach, 65,504, are refused.
pub fn write_halves(
    path: &Path,
    values: &Values,
    step: Option<u64>,
) -> Result<(), CheckpointError> {
    let mut tensors = vec![];
    for (name, (shape, data)) in values {
        if let Some(value) = data
            .iter()
            .find(|value| !f16::from_f32(**value).is_finite())
        {
            let (have, want) = (
                format!("{value} in one place"),
                "numbers that 16 bits hold".into(),
            );
            return Err(CheckpointError::Mismatch {
                path: path.display().to_string(),
                name: name.clone(),
                have,
                want,
            });
        }
        tensors.push((
            name.as_str(),
            shape.clone(),
            data.iter()
                .flat_map(|value| f16::from_f32(*value).to_le_bytes())
                .collect(),
        ));
    }
    write_tensors(path, Dtype::F16, tensors, noted(step))
}

/// `tensors` are in the order of their names.
fn write_tensors(
    path: &Path,
    dtype: Dtype,
    tensors: Vec<(&str, Vec<usize>, Vec<u8>)>,
    mut metadata: Metadata,
) -> Result<(), CheckpointError> {
    let name = || path.display().to_string();
    let sum = checksum(
        tensors
            .iter()
            .map(|(name, shape, bytes)| (*name, shape.as_slice(), bytes.as_slice())),
    );
    metadata.insert(CHECKSUM.to_owned(), sum);
    let views = tensors.iter().map(|(tensor, shape, bytes)| {
        let view = TensorView::new(dtype, shape.clone(), bytes);
        view.map(|view| (*tensor, view))
            .map_err(|error| CheckpointError::Damaged {
                path: name(),
                reason: error.to_string(),
            })
    });
    let views: Vec<_> = views.collect::<Result<_, _>>()?;
    let notes = serde_json::to_string(&metadata).expect("strings are plain data");
    let bytes = safetensors::serialize(views, Some([(NOTES.to_owned(), notes)].into())).map_err(
        |error| CheckpointError::Damaged {
            path: name(),
            reason: error.to_string(),
        },
    )?;
    write_file(path, &bytes)
}

/// See [`atomic_file::write`].
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    atomic_file::write(path, bytes).map_err(|reason| CheckpointError::Write {
        path: path.display().to_string(),
        reason,
    })
}

/// Makes a folder, if it is not there.
pub fn make_folder(dir: &Path) -> Result<(), CheckpointError> {
    std::fs::create_dir_all(dir).map_err(|reason| CheckpointError::Write {
        path: dir.display().to_string(),
        reason,
    })
}

/// The current values of named tensors.
pub fn snapshot(named: &[(String, Tensor)]) -> Result<Values, DeviceError> {
    named
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), (tensor.shape().to_vec(), tensor.read()?))))
        .collect()
}

/// Fills named tensors from the values of the file `path`; both must have the same names and shapes.
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
            let (have, want) = (
                format!("of shape {shape:?}"),
                format!("{:?}", tensor.shape()),
            );
            return Err(CheckpointError::Mismatch {
                path: path(),
                name: name.clone(),
                have,
                want,
            });
        }
        tensor.write(&data);
    }
    if values.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = values.keys().take(5).map(String::as_str).collect();
    let more = if values.len() > 5 {
        format!(" and {} more", values.len() - 5)
    } else {
        String::new()
    };
    Err(CheckpointError::Unknown {
        path: path(),
        names: format!("{}{more}", names.join(", ")),
    })
}

/// Saves a model and its tokenizer into a folder, which is made if it is not there.
pub fn save(dir: &Path, model: &Vlm, tokenizer: Option<&Tokenizer>) -> Result<(), CheckpointError> {
    save_description(dir, model, tokenizer)?;
    write_values(
        &dir.join("model.safetensors"),
        &snapshot(model.parameters())?,
        None,
    )
}

/// Saves all but the parameters: what does not change in training.
pub fn save_description(
    dir: &Path,
    model: &Vlm,
    tokenizer: Option<&Tokenizer>,
) -> Result<(), CheckpointError> {
    make_folder(dir)?;
    let config =
        serde_json::to_string_pretty(model.config()).expect("a configuration is plain data");
    write_file(&dir.join("config.json"), config.as_bytes())?;
    if let Some(tokenizer) = tokenizer {
        write_file(&dir.join("tokenizer.json"), tokenizer.to_json().as_bytes())?;
    }
    Ok(())
}

/// Where the model that comes with this program lies: in `data/checkpoints/emoji` of the folder it is run in, or of one above the
/// program itself.
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

/// The checkpoint folder to use when none is named: the [`shipped`] one, else the one in `runs/` that was written last.
pub fn default_folder() -> Option<PathBuf> {
    shipped().or_else(newest_run)
}

/// The checkpoint folder in `runs/` that was written last.
fn newest_run() -> Option<PathBuf> {
    let folders = std::fs::read_dir("runs")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    let dated = folders.filter_map(|dir| {
        let weights = dir.join("model.safetensors").metadata().ok()?;
        Some((weights.modified().ok()?, dir))
    });
    dated.max().map(|(_, dir)| dir)
}

/// Loads a model and its tokenizer, if it has one, from a folder.
pub fn load(device: &Device, dir: &Path) -> Result<(Vlm, Option<Tokenizer>), CheckpointError> {
    for missing in ["config.json", "model.safetensors"] {
        if !dir.join(missing).is_file() {
            return Err(CheckpointError::NotACheckpoint {
                path: dir.display().to_string(),
                missing,
            });
        }
    }
    let config = Config::load(&dir.join("config.json"))?;
    let path = dir.join("model.safetensors");
    let values = read_values(&path)?;
    let model = Vlm::new(device, &config, 0)?;
    restore(model.parameters(), values, &path)?;
    let tokenizer = dir.join("tokenizer.json");
    let tokenizer = tokenizer
        .is_file()
        .then(|| Tokenizer::load(&tokenizer))
        .transpose()?;
    if let Some(tokenizer) = &tokenizer
        && tokenizer.vocab_size() > config.vocab_size
    {
        return Err(CheckpointError::Mismatch {
            path: dir.display().to_string(),
            name: "tokenizer.json".into(),
            have: format!("of {} tokens", tokenizer.vocab_size()),
            want: format!("at most {} as config.json says", config.vocab_size),
        });
    }
    Ok((model, tokenizer))
}
