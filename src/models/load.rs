//! Models on disk.
//!
//! A checkpoint is a folder with `config.json`, `model.safetensors` and `tokenizer.json`. All files
//! are written atomically.

mod folder;
pub mod gguf;
mod gguf_model;
mod pack;
mod safetensors;
mod weights;

use std::path::Path;

use crate::atomic_file;
use crate::device::DeviceError;
use crate::hint::{Hint, Hinted};
use crate::models::ConfigError;
use crate::models::processor::ProcessorError;
use crate::text::TokenizerError;
use crate::text::chat::ChatError;

pub(super) use folder::stored;
pub use folder::{
    KeepWeights, default_folder, load, load_with, restore, save, save_description, shipped,
    snapshot,
};
pub use gguf::{Gguf, GgufError, GgufTensor};
pub use pack::{Packed, pack};
pub use safetensors::{
    Metadata, TensorFile, Values, first_not_finite, parse, read_values, step_note, write_halves,
    write_tensors, write_values,
};
pub(super) use weights::WeightFiles;
pub use weights::WeightRules;

/// Error about a checkpoint or one of its files. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// File.
        path: String,
        /// Reason given by the system.
        reason: std::io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// File or folder.
        path: String,
        /// Reason given by the system.
        reason: std::io::Error,
    },
    /// A folder has no checkpoint.
    #[error("{path} is not a checkpoint folder: it has no {missing}")]
    NotACheckpoint {
        /// Folder.
        path: String,
        /// First file that is absent.
        missing: &'static str,
    },
    /// A folder has several models.
    #[error(
        "{path} has several {what}: {names}; name the file of one, or put the others elsewhere"
    )]
    Several {
        /// Folder.
        path: String,
        /// What there are several of.
        what: &'static str,
        /// Paths of the first ones.
        names: String,
    },
    /// A GGUF file is an image encoder without a language model.
    #[error(
        "{path} is the image encoder of a model: name the file of its language model, and keep the two together"
    )]
    EncoderAlone {
        /// File or folder.
        path: String,
    },
    /// The weights are a Python pickle, which can run code when it is read.
    #[error(
        "{path} is a Python pickle, which this program does not read: save the model again as safetensors"
    )]
    Pickle {
        /// File.
        path: String,
    },
    /// A file is not a valid safetensors file.
    #[error("{path} is not a valid safetensors file: {reason}")]
    Damaged {
        /// File.
        path: String,
        /// Reason given by the parser, or a wrong checksum.
        reason: String,
    },
    /// A tensor is absent.
    #[error(
        "{path} has no tensor `{name}`, which the model of its config.json needs: the two files do not belong together"
    )]
    Missing {
        /// File.
        path: String,
        /// Name of the tensor.
        name: String,
    },
    /// There are tensors that the model does not have.
    #[error("{path} has tensors that the model of its config.json does not have: {names}")]
    Unknown {
        /// File.
        path: String,
        /// Names of the first ones.
        names: String,
    },
    /// A tensor, or another part of the checkpoint, does not fit the model.
    #[error("{path}: `{name}` {have}, the model needs {want}")]
    Mismatch {
        /// File or folder.
        path: String,
        /// Name of the tensor or part.
        name: String,
        /// What it has, such as `has shape [2, 3]`.
        have: String,
        /// What the model needs, such as `[4, 3]`.
        want: String,
    },
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The chat template is invalid.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The description of the preprocessing is invalid.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    /// The tokenizer is invalid.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A GGUF file is invalid.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl Hinted for CheckpointError {
    fn hint(&self) -> Option<Hint> {
        match self {
            CheckpointError::NotACheckpoint { .. } => Some(Hint::CheckpointFolder),
            CheckpointError::Config(error) => error.hint(),
            _ => None,
        }
    }
}

/// Writes a file atomically; see [`atomic_file::write`].
///
/// # Errors
/// Names the file that cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    atomic_file::write(path, bytes).map_err(|reason| CheckpointError::Write {
        path: path.display().to_string(),
        reason,
    })
}

/// Creates a folder, with those above it, if it does not exist.
///
/// # Errors
/// Names the folder that cannot be created.
pub fn make_folder(dir: &Path) -> Result<(), CheckpointError> {
    std::fs::create_dir_all(dir).map_err(|reason| CheckpointError::Write {
        path: dir.display().to_string(),
        reason,
    })
}
