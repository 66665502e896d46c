//! safetensors files: named tensors, with a checksum and notes.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{CheckpointError, write_file};

/// Tensors of a file by name, each with its shape.
pub type Values = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Notes of a file beside its tensors.
pub type Metadata = BTreeMap<String, String>;

/// Note that holds the checksum of the tensors.
const CHECKSUM: &str = "crc32";

/// Key of the file's metadata that holds all notes, as JSON. With one key per note their order
/// would differ from time to time, and saving the same model twice would not give the same file.
const NOTES: &str = "seemore";

/// Reads all tensors of a safetensors file, which must have 32-bit or 16-bit (IEEE or bfloat16)
/// floats.
///
/// # Errors
/// Returns an error when the file cannot be read, is cut off or is not a safetensors file, when it
/// has other numbers, and when the tensors do not match the checksum in the file.
pub fn read_values(path: &Path) -> Result<Values, CheckpointError> {
    read_noted(path).map(|(values, _)| values)
}

/// Reads all tensors and notes of a safetensors file; see [`read_values`].
///
/// # Errors
/// See [`read_values`].
pub fn read_noted(path: &Path) -> Result<(Values, Metadata), CheckpointError> {
    let name = || path.display().to_string();
    let bytes = std::fs::read(path).map_err(|reason| CheckpointError::Read {
        path: name(),
        reason,
    })?;
    parse(&bytes, &name)
}

/// Reads tensors and notes from the bytes of a safetensors file. `name` returns the file's name for
/// errors.
///
/// # Errors
/// See [`read_values`].
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
                "its checksum is {have}, but it was {want} when the file was written: the contents have changed"
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
                let (have, want) = (format!("holds {other:?} values"), "F32, F16 or BF16".into());
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

/// Merges the metadata of a file and the notes inside it.
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

/// Returns the CRC-32 of names, shapes and bytes of tensors, in the order of their names.
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

/// Returns the training step that a safetensors file was saved at, if it is noted.
///
/// # Errors
/// Returns an error when the file cannot be read or is not a safetensors file.
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

/// Writes a safetensors file of 32-bit floats atomically, with a note of the training step if
/// given.
///
/// # Errors
/// Returns an error when the file cannot be written.
pub fn write_values(
    path: &Path,
    values: &Values,
    step: Option<u64>,
) -> Result<(), CheckpointError> {
    write_noted(path, values, noted(step))
}

/// Writes a safetensors file of 32-bit floats atomically, with any notes.
///
/// # Errors
/// Returns an error when the file cannot be written.
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

/// Writes a safetensors file of 16-bit floats atomically: half as large, to share a model.
///
/// # Errors
/// Returns an error when the file cannot be written, or when a value is beyond the range of 16-bit
/// floats (65,504).
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
                format!("has the value {value}"),
                "values within the range of 16-bit floats".into(),
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

/// Writes tensors, which are in the order of their names.
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
