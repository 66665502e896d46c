//! Writing safetensors files a piece at a time.

use std::io::{self, Seek, Write};
use std::path::Path;

use half::f16;
use safetensors::SafeTensorError;
use safetensors::tensor::{self, Dtype, TensorInfo};

use super::{CHECKSUM, Checksum, Metadata, NOTES, PIECE, STEP, Values};
use crate::atomic_file;
use crate::device::{DeviceError, Tensor};
use crate::models::load::CheckpointError;

/// A tensor to write.
trait Source {
    /// Type of the values in the file.
    fn dtype(&self) -> Dtype;

    fn shape(&self) -> &[usize];

    /// Returns the number of elements.
    fn len(&self) -> usize;

    /// Passes the values as bytes of the file to `each`, a piece at a time.
    fn pieces(&self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), Failure>;
}

/// Failure to write a file: of the file system, or of the device that holds the values.
enum Failure {
    File(io::Error),
    Device(DeviceError),
    Format(SafeTensorError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::File(error)
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Failure {
        Failure::Device(error)
    }
}

impl From<SafeTensorError> for Failure {
    fn from(error: SafeTensorError) -> Failure {
        Failure::Format(error)
    }
}

/// A tensor that is read from the device when it is written.
struct OnDevice<'a> {
    tensor: &'a Tensor,
    /// Whether its words are no floats.
    words: bool,
}

impl Source for OnDevice<'_> {
    fn dtype(&self) -> Dtype {
        match self.words {
            true => Dtype::U32,
            false => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }

    fn len(&self) -> usize {
        self.tensor.len()
    }

    fn pieces(&self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), Failure> {
        for piece in self.tensor.pieces(PIECE) {
            each(bytemuck::cast_slice(&piece.read::<f32>()?))?;
        }
        Ok(())
    }
}

/// Shape and values.
impl Source for &(Vec<usize>, Vec<f32>) {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0
    }

    fn len(&self) -> usize {
        self.1.len()
    }

    fn pieces(&self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), Failure> {
        Ok(each(bytemuck::cast_slice(&self.1))?)
    }
}

/// Shape and values, written as 16-bit floats.
struct Halves<'a>(&'a (Vec<usize>, Vec<f32>));

impl Source for Halves<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F16
    }

    fn shape(&self) -> &[usize] {
        &self.0.0
    }

    fn len(&self) -> usize {
        self.0.1.len()
    }

    fn pieces(&self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), Failure> {
        for values in self.0.1.chunks(PIECE) {
            let halves = values.iter().map(|value| f16::from_f32(*value));
            let bytes: Vec<u8> = halves.flat_map(f16::to_le_bytes).collect();
            each(&bytes)?;
        }
        Ok(())
    }
}

/// Returns the note of a training step, if there is one.
pub fn step_note(step: Option<u64>) -> Metadata {
    step.iter()
        .map(|step| (STEP.to_owned(), step.to_string()))
        .collect()
}

/// Writes named tensors, of 32-bit floats, to a safetensors file atomically, with any notes. Their
/// values are read from the device a piece at a time.
///
/// # Errors
/// Returns an error when the file cannot be written, or the device is lost.
pub fn write_tensors(
    path: &Path,
    named: &[(String, Tensor)],
    notes: Metadata,
) -> Result<(), CheckpointError> {
    write_tensors_and_words(path, named, &|_| false, notes)
}

/// Writes named tensors as [`write_tensors`] does, those that hold `words` in place of floats as
/// 32-bit integers, which [`TensorFile::with_words`](super::TensorFile::with_words) reads.
///
/// # Errors
/// As [`write_tensors`].
pub fn write_tensors_and_words(
    path: &Path,
    named: &[(String, Tensor)],
    words: &dyn Fn(&str) -> bool,
    notes: Metadata,
) -> Result<(), CheckpointError> {
    let source = |(name, tensor)| {
        let (name, tensor): (&String, &Tensor) = (name, tensor);
        let words = words(name);
        (name.as_str(), OnDevice { tensor, words })
    };
    let named = named.iter().map(|(name, tensor)| (name, tensor));
    write(path, named.map(source).collect(), notes)
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
    let tensors = values.iter().map(|(name, value)| (name.as_str(), value));
    write(path, tensors.collect(), step_note(step))
}

/// Writes a safetensors file of 16-bit floats atomically: half as large, to share a model.
///
/// # Errors
/// Returns an error when the file cannot be written, or when a value is beyond the range of 16-bit
/// floats (65,504).
pub fn write_halves(path: &Path, values: &Values, notes: Metadata) -> Result<(), CheckpointError> {
    for (name, (_, data)) in values {
        let beyond = |value: &&f32| !f16::from_f32(**value).is_finite();
        if let Some(value) = data.iter().find(beyond) {
            return Err(CheckpointError::Mismatch {
                path: path.display().to_string(),
                name: name.clone(),
                have: format!("has the value {value}"),
                want: "values within the range of 16-bit floats".into(),
            });
        }
    }
    let tensors = values.iter();
    let tensors = tensors.map(|(name, value)| (name.as_str(), Halves(value)));
    write(path, tensors.collect(), notes)
}

fn write<S: Source>(
    path: &Path,
    mut tensors: Vec<(&str, S)>,
    mut notes: Metadata,
) -> Result<(), CheckpointError> {
    // the order of the checksum, and that of the `safetensors` crate for tensors of one type
    tensors.sort_by_key(|(name, _)| *name);
    let written = atomic_file::write_with(path, |file| {
        // the header is in front of the tensors, whose checksum is only known after them
        let mut sum = Checksum::default();
        notes.insert(CHECKSUM.to_owned(), Checksum::default().finish());
        let placeholder = header(&tensors, &notes)?;
        file.write_all(&placeholder)?;
        for (name, source) in &tensors {
            sum.start(name, source.shape());
            source.pieces(&mut |bytes| {
                sum.update(bytes);
                file.write_all(bytes)
            })?;
        }
        notes.insert(CHECKSUM.to_owned(), sum.finish());
        let header = header(&tensors, &notes)?;
        assert_eq!(
            header.len(),
            placeholder.len(),
            "checksums have eight digits"
        );
        file.rewind()?;
        file.write_all(&header)?;
        Ok(())
    });
    let path = || path.display().to_string();
    written.map_err(|failure| match failure {
        Failure::File(reason) => CheckpointError::Write {
            path: path(),
            reason,
        },
        Failure::Device(error) => error.into(),
        Failure::Format(error) => CheckpointError::Damaged {
            path: path(),
            reason: error.to_string(),
        },
    })
}

/// Returns the beginning of a file up to the first tensor: the length of the header, and the header
/// padded to a multiple of 8 bytes.
fn header<S: Source>(tensors: &[(&str, S)], notes: &Metadata) -> Result<Vec<u8>, SafeTensorError> {
    let mut end = 0;
    let infos = tensors.iter().map(|(name, source)| {
        let start = end;
        end += source.len() * source.dtype().bitsize() / 8;
        let info = TensorInfo {
            dtype: source.dtype(),
            shape: source.shape().to_vec(),
            data_offsets: (start, end),
        };
        ((*name).to_owned(), info)
    });
    let infos = infos.collect();
    let notes = serde_json::to_string(notes)?;
    let metadata = tensor::Metadata::new(Some([(NOTES.to_owned(), notes)].into()), infos)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes(), header.as_slice()].concat())
}
