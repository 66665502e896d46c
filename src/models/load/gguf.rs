//! GGUF files: metadata and named tensors, in ggml's formats.
//!
//! Versions 2 and 3, little endian, as the specification of ggml describes them
//! (`ggml/docs/gguf.md`). Files are untrusted: every length, count and offset is checked against
//! the size of the file before anything is allocated or read.

mod header;
mod kind;
mod permutation;
mod source;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use crate::ops::{Encoding, EncodingError};
use source::Source;

pub use permutation::rotary_source;
pub use value::{Array, Value};

/// Error about a GGUF file. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// File.
        path: String,
        /// Reason given by the system.
        reason: std::io::Error,
    },
    /// The file is of another kind.
    #[error("{path} is not a GGUF file: it does not begin with the letters GGUF")]
    NotGguf {
        /// File.
        path: String,
    },
    /// The bytes of numbers are in the other order.
    #[error("{path} is a big-endian GGUF file; convert it to little endian")]
    BigEndian {
        /// File.
        path: String,
    },
    /// The version is not supported.
    #[error("{path} is a GGUF file of version {version}; versions 2 and 3 are supported")]
    Version {
        /// File.
        path: String,
        /// Version.
        version: u32,
    },
    /// The file contradicts itself or is cut off.
    #[error("{path} is not a valid GGUF file: {place}: {reason}")]
    Damaged {
        /// File.
        path: String,
        /// Part of the file, such as a key or a tensor.
        place: String,
        /// Defect, as a clause.
        reason: Damage,
    },
    /// A tensor is in a format that is not supported.
    #[error(
        "{path}: tensor `{tensor}` is in the format {format}, which is not supported; take a file in F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1 or Q4_0"
    )]
    Format {
        /// File.
        path: String,
        /// Name of the tensor.
        tensor: String,
        /// Name of the format, or its number if it is unknown.
        format: String,
    },
    /// The shape of a tensor does not fit its format.
    #[error("{path}: tensor `{tensor}`: {reason}")]
    Encoding {
        /// File.
        path: String,
        /// Name of the tensor.
        tensor: String,
        /// Sizes that do not fit.
        reason: EncodingError,
    },
    /// A key is absent.
    #[error("{path} has no key `{key}`, which the model needs")]
    MissingKey {
        /// File.
        path: String,
        /// Key.
        key: String,
    },
    /// A key has a value of another type.
    #[error("{path}: key `{key}` is {have}, the model needs {want}")]
    KeyType {
        /// File.
        path: String,
        /// Key.
        key: String,
        /// Type or value that it has.
        have: String,
        /// Type that the model needs.
        want: &'static str,
    },
    /// A tensor is absent.
    #[error("{path} has no tensor `{tensor}`, which the model needs")]
    MissingTensor {
        /// File.
        path: String,
        /// Name of the tensor.
        tensor: String,
    },
}

/// What is wrong with a part of a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file ends inside the part.
    #[error("the file ends before it does")]
    CutOff,
    /// The header is longer than any real one.
    #[error("the header is longer than {0} bytes")]
    LongHeader(u64),
    /// More elements are announced than the rest of the file can hold.
    #[error("it announces {0} elements, more than the file can hold")]
    Count(u64),
    /// Text is not UTF-8.
    #[error("it is not UTF-8")]
    NotText,
    /// A number stands for no type of values.
    #[error("there is no type of values {0}")]
    ValueType(u32),
    /// An array contains arrays.
    #[error("arrays of arrays are not supported")]
    Nested,
    /// A key or a tensor occurs twice.
    #[error("it occurs twice")]
    Twice,
    /// The alignment is no power of two.
    #[error("an alignment of {0} bytes is not a power of two")]
    Alignment(u64),
    /// A tensor has too many axes.
    #[error("{0} axes, at most 4 are supported")]
    Axes(u32),
    /// An axis of a tensor is empty.
    #[error("an axis of length 0")]
    EmptyAxis,
    /// The size of a tensor overflows.
    #[error("its size overflows")]
    Size,
    /// A tensor does not begin at a multiple of the alignment.
    #[error("its offset {0} is not a multiple of the alignment")]
    Unaligned(u64),
    /// A tensor ends behind the end of the file.
    #[error("it ends {0} bytes behind the end of the file")]
    Outside(u64),
    /// A tensor has bytes of another.
    #[error("it overlaps tensor `{0}`")]
    Overlap(String),
}

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    name: String,
    axes: u8,
    sizes: [usize; 4],
    encoding: Encoding,
    bytes: Range<u64>,
    row_bytes: usize,
}

impl GgufTensor {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the shape in row-major order: a linear layer's weight is `[out, in]`. The file has
    /// the axes in reverse.
    pub fn shape(&self) -> &[usize] {
        &self.sizes[..self.axes.into()]
    }

    /// Returns the format.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the product of all axes but the last: 1 for a vector.
    pub fn rows(&self) -> usize {
        let sizes = self.shape().split_last().map_or(&[][..], |(_, rows)| rows);
        sizes.iter().product()
    }

    /// Returns the length of the last axis.
    pub fn cols(&self) -> usize {
        *self.shape().last().unwrap_or(&1)
    }

    /// Returns the number of bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Returns its bytes in the file.
    pub fn bytes(&self) -> Range<u64> {
        self.bytes.clone()
    }
}

/// An open GGUF file. Tensors are read a range of rows at a time.
#[derive(Debug)]
pub struct Gguf {
    source: Source,
    /// Name of the file, for errors.
    path: String,
    version: u32,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, GgufTensor>,
}

impl Gguf {
    /// Opens a file and reads its metadata and its table of tensors.
    ///
    /// # Errors
    /// If the file cannot be read, is not a valid GGUF file of version 2 or 3, or has a tensor in a
    /// format that is not supported.
    pub fn open(path: &Path) -> Result<Gguf, GgufError> {
        let name = path.display().to_string();
        let source = File::open(path).and_then(Source::file);
        match source {
            Ok(source) => header::read(source, name),
            Err(reason) => Err(GgufError::Read { path: name, reason }),
        }
    }

    /// Reads metadata and table of tensors from the bytes of a file. `name` stands for the file in
    /// errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(bytes: Vec<u8>, name: &str) -> Result<Gguf, GgufError> {
        header::read(Source::bytes(bytes), name.to_owned())
    }

    /// Returns the name of the file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns the tensors in the order of their names.
    pub fn tensors(&self) -> impl Iterator<Item = &GgufTensor> {
        self.tensors.values()
    }

    /// Returns the tensor of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn tensor(&self, name: &str) -> Result<&GgufTensor, GgufError> {
        self.tensors
            .get(name)
            .ok_or_else(|| GgufError::MissingTensor {
                path: self.path.clone(),
                tensor: name.to_owned(),
            })
    }

    /// Reads rows of a tensor into `bytes`, whose contents they replace: blocks of ggml, or
    /// little-endian floats. [`Encoding::from_ggml`] takes them.
    ///
    /// # Errors
    /// If the file cannot be read.
    ///
    /// # Panics
    /// If the tensor has fewer rows.
    pub fn read_rows(
        &self,
        tensor: &GgufTensor,
        rows: Range<usize>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), GgufError> {
        assert!(
            rows.start <= rows.end && rows.end <= tensor.rows(),
            "rows {rows:?} of tensor `{}`, which has {}",
            tensor.name,
            tensor.rows()
        );
        bytes.resize(rows.len() * tensor.row_bytes, 0);
        let start = tensor.bytes.start + (rows.start * tensor.row_bytes) as u64;
        let read = self.source.read(start, bytes);
        read.map_err(|reason| GgufError::Read {
            path: self.path.clone(),
            reason,
        })
    }

    /// Returns the keys in alphabetical order, and their values.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// Forgets the metadata, of which the vocabulary takes megabytes.
    pub(super) fn without_metadata(mut self) -> Gguf {
        self.metadata.clear();
        self
    }

    /// Returns the value of a key, if the file has it.
    pub fn metadata(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// Returns the value of a key as `convert` sees it.
    fn value<'a, T>(
        &'a self,
        key: &str,
        want: &'static str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, GgufError> {
        let Some(value) = self.metadata.get(key) else {
            return Err(GgufError::MissingKey {
                path: self.path.clone(),
                key: key.to_owned(),
            });
        };
        convert(value).ok_or_else(|| GgufError::KeyType {
            path: self.path.clone(),
            key: key.to_owned(),
            have: value.to_string(),
            want,
        })
    }

    /// Returns a text.
    ///
    /// # Errors
    /// If the key is absent or has another type.
    pub fn text(&self, key: &str) -> Result<&str, GgufError> {
        self.value(key, "a text", Value::as_text)
    }

    /// Returns an array of texts.
    ///
    /// # Errors
    /// If the key is absent or has another type.
    pub fn texts(&self, key: &str) -> Result<&[String], GgufError> {
        self.value(key, "an array of texts", Value::as_texts)
    }

    /// Returns a size or an id: an integer of any type that is not negative.
    ///
    /// # Errors
    /// If the key is absent, has another type or is negative.
    pub fn size(&self, key: &str) -> Result<usize, GgufError> {
        self.value(key, "an integer that is not negative", |value| {
            usize::try_from(value.as_integer()?).ok()
        })
    }

    /// Returns an array of integers of any type.
    ///
    /// # Errors
    /// If the key is absent or has another type, or an integer is beyond the range of `i64`.
    pub fn integers(&self, key: &str) -> Result<Vec<i64>, GgufError> {
        self.value(key, "an array of integers", Value::as_integers)
    }

    /// Returns a float.
    ///
    /// # Errors
    /// If the key is absent or has another type.
    pub fn float(&self, key: &str) -> Result<f64, GgufError> {
        self.value(key, "a float", Value::as_float)
    }

    /// Returns an array of floats.
    ///
    /// # Errors
    /// If the key is absent or has another type.
    pub fn floats(&self, key: &str) -> Result<Vec<f64>, GgufError> {
        self.value(key, "an array of floats", Value::as_floats)
    }

    /// Returns a truth value.
    ///
    /// # Errors
    /// If the key is absent or has another type.
    pub fn flag(&self, key: &str) -> Result<bool, GgufError> {
        self.value(key, "a truth value", Value::as_flag)
    }
}
