//! Reading safetensors files a piece at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use half::{bf16, f16};
use safetensors::SafeTensorError;
use safetensors::tensor::{self, Dtype, TensorInfo};

use super::{CHECKSUM, Checksum, Metadata, NOTES, PIECE, STEP, Values};
use crate::device::Tensor;
use crate::models::load::CheckpointError;
use crate::models::load::folder::check_shapes;
use crate::models::load::impostor::unmask;

/// Longest header, as in the `safetensors` crate.
const MAX_HEADER: u64 = 100_000_000;

/// Appends the values that bytes of a file stand for.
type Widen = fn(&[u8], &mut Vec<f32>);

/// An open safetensors file whose tensors are read a piece at a time, so that a model is in memory
/// once while it is loaded.
///
/// Values are 32-bit or 16-bit (IEEE or bfloat16) floats.
#[derive(Debug)]
pub struct TensorFile<R = File> {
    reader: R,
    /// Name of the file, for errors.
    path: String,
    tensors: BTreeMap<String, TensorInfo>,
    notes: Metadata,
    /// Position of the first tensor in the file.
    start: u64,
    /// Whether 32-bit integers are read as the bits of floats.
    words: bool,
}

impl TensorFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// Returns an error when the file cannot be read, is cut off or is not a safetensors file.
    pub fn open(path: &Path) -> Result<TensorFile, CheckpointError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => TensorFile::new(file, name).map_err(|error| match error {
                CheckpointError::Damaged { .. } => unmask(path).unwrap_or(error),
                error => error,
            }),
            Err(reason) => Err(CheckpointError::Read { path: name, reason }),
        }
    }
}

impl<R: Read + Seek> TensorFile<R> {
    fn new(mut reader: R, path: String) -> Result<TensorFile<R>, CheckpointError> {
        let (size, header) = match read_header(&mut reader) {
            Ok(read) => read,
            Err(reason) => return Err(CheckpointError::Read { path, reason }),
        };
        let parsed = header.and_then(|header| {
            let metadata: tensor::Metadata = serde_json::from_slice(&header).map_err(|error| {
                SafeTensorError::InvalidHeaderDeserialization(error).to_string()
            })?;
            let start = 8 + header.len() as u64;
            match start.checked_add(metadata.data_len() as u64) {
                Some(end) if end == size => Ok((start, metadata)),
                Some(end) if end > size => {
                    Err(format!("it is cut off: it has {size} of {end} bytes"))
                }
                _ => Err(SafeTensorError::MetadataIncompleteBuffer.to_string()),
            }
        });
        let (start, metadata) = match parsed {
            Ok(parsed) => parsed,
            Err(reason) => return Err(CheckpointError::Damaged { path, reason }),
        };
        let tensors = metadata.tensors().into_iter();
        Ok(TensorFile {
            reader,
            path,
            tensors: tensors.map(|(name, info)| (name, info.clone())).collect(),
            notes: notes(metadata.metadata().iter().flatten()),
            start,
            words: false,
        })
    }

    /// Reads tensors of 32-bit integers, too, as the bits of floats: they may hold anything.
    pub fn with_words(self) -> TensorFile<R> {
        TensorFile {
            words: true,
            ..self
        }
    }

    /// Returns the notes beside the tensors.
    pub fn notes(&self) -> &Metadata {
        &self.notes
    }

    /// Returns the training step that the file was saved at, if it is noted.
    pub fn step(&self) -> Option<u64> {
        self.notes.get(STEP)?.parse().ok()
    }

    /// Returns the shape of a tensor, if the file has it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|info| info.shape.as_slice())
    }

    /// Returns names, shapes and types of all tensors, in the order of their names.
    pub(in crate::models) fn tensors(&self) -> impl Iterator<Item = (&str, &[usize], Dtype)> {
        let tensors = self.tensors.iter();
        tensors.map(|(name, info)| (name.as_str(), info.shape.as_slice(), info.dtype))
    }

    /// Fills `bytes` with those of a tensor from byte `first` of it on.
    ///
    /// # Panics
    /// If the file has no such tensor, or it has fewer bytes.
    pub(in crate::models) fn read_bytes(
        &mut self,
        name: &str,
        first: usize,
        bytes: &mut [u8],
    ) -> Result<(), CheckpointError> {
        let (from, to) = self.tensors[name].data_offsets;
        assert!(from + first + bytes.len() <= to, "{name} has fewer bytes");
        let position = SeekFrom::Start(self.start + (from + first) as u64);
        let read = self.reader.seek(position);
        let read = read.and_then(|_| self.reader.read_exact(bytes));
        read.map_err(|reason| CheckpointError::Read {
            path: self.path.clone(),
            reason,
        })
    }

    /// Name of the file, for errors.
    pub(in crate::models) fn path(&self) -> &str {
        &self.path
    }

    /// Verifies the checksum, if the file has one, and the type of all values.
    ///
    /// # Errors
    /// Returns an error when the file cannot be read, does not match its checksum or has other
    /// values than floats.
    pub fn verify(&mut self) -> Result<(), CheckpointError> {
        self.visit(|_, _, _| ())
    }

    /// Reads all tensors.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn values(&mut self) -> Result<Values, CheckpointError> {
        let empty = |(name, info): (&String, &TensorInfo)| {
            let len = info.shape.iter().product();
            (name.clone(), (info.shape.clone(), Vec::with_capacity(len)))
        };
        let mut values: Values = self.tensors.iter().map(empty).collect();
        self.visit(|name, _, data| {
            let (_, whole) = values.get_mut(name).expect("all tensors have an entry");
            whole.extend_from_slice(data);
        })?;
        Ok(values)
    }

    /// Writes the tensors of the file to those of the same name among `wanted`, which must have the
    /// same shapes, and verifies the file.
    ///
    /// # Errors
    /// As [`verify`](Self::verify). Tensors on the device may then have been replaced already.
    ///
    /// # Panics
    /// If a shape differs.
    pub fn read_into(&mut self, wanted: &BTreeMap<&str, &Tensor>) -> Result<(), CheckpointError> {
        for (name, tensor) in wanted {
            let shape = self.shape(name).unwrap_or(tensor.shape());
            assert_eq!(shape, tensor.shape(), "shape of {name}");
        }
        self.visit(|name, first, data| {
            if let Some(tensor) = wanted.get(name) {
                tensor.part(first, &[data.len()]).write(data);
            }
        })
    }

    /// Writes all tensors of the file to named tensors.
    ///
    /// # Errors
    /// Returns an error when the names or shapes of both differ, and as [`verify`](Self::verify).
    /// Tensors on the device may then have been replaced already.
    pub fn restore(&mut self, named: &[(String, Tensor)]) -> Result<(), CheckpointError> {
        let shapes = self.tensors.iter();
        let shapes = shapes.map(|(name, info)| (name.as_str(), info.shape.as_slice()));
        if let Err(mismatch) = check_shapes(named, shapes.collect(), &self.path) {
            // a damaged header is no other model
            self.verify()?;
            return Err(mismatch);
        }
        let named = named.iter();
        self.read_into(
            &named
                .map(|(name, tensor)| (name.as_str(), tensor))
                .collect(),
        )
    }

    /// Passes all tensors to `each` in the order of their names: name, position of the first
    /// element, and at most [`PIECE`] elements.
    fn visit(&mut self, mut each: impl FnMut(&str, usize, &[f32])) -> Result<(), CheckpointError> {
        let (mut buffer, mut wide) = (vec![0.0f32; PIECE], vec![]);
        let mut sum = Checksum::default();
        let (mut unsupported, mut not_finite) = (None, None);
        for (name, info) in &self.tensors {
            sum.start(name, &info.shape);
            let widen: Option<Widen> = match info.dtype {
                Dtype::F32 => None,
                Dtype::U32 if self.words => None,
                Dtype::F16 => Some(|bytes, wide| {
                    let halves = bytes.as_chunks().0.iter();
                    wide.extend(halves.map(|&bytes| f16::from_le_bytes(bytes).to_f32()));
                }),
                Dtype::BF16 => Some(|bytes, wide| {
                    let halves = bytes.as_chunks().0.iter();
                    wide.extend(halves.map(|&bytes| bf16::from_le_bytes(bytes).to_f32()));
                }),
                other => {
                    unsupported.get_or_insert((name, other));
                    Some(|_, _| ())
                }
            };
            let (from, to) = info.data_offsets;
            let read = |reason| CheckpointError::Read {
                path: self.path.clone(),
                reason,
            };
            let position = SeekFrom::Start(self.start + from as u64);
            self.reader.seek(position).map_err(read)?;
            let (mut first, mut left) = (0, to - from);
            while left > 0 {
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut buffer);
                let len = left.min(bytes.len());
                let bytes = &mut bytes[..len];
                self.reader.read_exact(bytes).map_err(read)?;
                sum.update(bytes);
                let piece = match widen {
                    None => &buffer[..len / 4],
                    Some(widen) => {
                        wide.clear();
                        widen(bytes, &mut wide);
                        &wide[..]
                    }
                };
                let floats = info.dtype != Dtype::U32;
                if floats && not_finite.is_none() && !piece.iter().all(|value| value.is_finite()) {
                    not_finite = Some(name);
                }
                if !piece.is_empty() {
                    each(name, first, piece);
                }
                first += piece.len();
                left -= len;
            }
        }
        let have = sum.finish();
        if let Some(want) = self.notes.get(CHECKSUM).filter(|want| **want != have) {
            return Err(CheckpointError::Damaged {
                path: self.path.clone(),
                reason: format!(
                    "its checksum is {have}, but it was {want} when the file was written: the contents have changed"
                ),
            });
        }
        if let Some(name) = not_finite {
            return Err(CheckpointError::not_finite(self.path.clone(), name.clone()));
        }
        match unsupported {
            Some((name, dtype)) => Err(CheckpointError::Mismatch {
                path: self.path.clone(),
                name: name.clone(),
                have: format!("holds {dtype:?} values"),
                want: "F32, F16 or BF16".into(),
            }),
            None => Ok(()),
        }
    }
}

/// Reads the size of a file and its header.
fn read_header(reader: &mut (impl Read + Seek)) -> io::Result<(u64, Result<Vec<u8>, String>)> {
    let mut prefix = vec![];
    reader.take(8).read_to_end(&mut prefix)?;
    let size = reader.seek(SeekFrom::End(0))?;
    let Ok(length) = <[u8; 8]>::try_from(prefix) else {
        return Ok((size, Err(SafeTensorError::HeaderTooSmall.to_string())));
    };
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return Ok((size, Err(SafeTensorError::HeaderTooLarge.to_string())));
    }
    if length > size - 8 {
        let reason = format!("it is cut off: its header of {length} bytes does not end");
        return Ok((size, Err(reason)));
    }
    let mut header = vec![0; length as usize];
    reader.seek(SeekFrom::Start(8))?;
    reader.read_exact(&mut header)?;
    Ok((size, Ok(header)))
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

/// Reads all tensors of a safetensors file, which must have 32-bit or 16-bit (IEEE or bfloat16)
/// floats.
///
/// # Errors
/// Returns an error when the file cannot be read, is cut off or is not a safetensors file, when it
/// has other numbers, and when the tensors do not match the checksum in the file.
pub fn read_values(path: &Path) -> Result<Values, CheckpointError> {
    TensorFile::open(path)?.values()
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
    let mut file = TensorFile::new(Cursor::new(bytes), name())?;
    let values = file.values()?;
    Ok((values, file.notes))
}
