//! Models on disk.
//!
//! A checkpoint is a folder with `config.json`, `model.safetensors` and `tokenizer.json`. All files
//! are written atomically.

mod folder;
pub mod gguf;
mod gguf_model;
mod impostor;
mod merge;
mod opened;
mod pack;
mod peft;
mod safetensors;
mod tuned;
mod weights;

use std::path::Path;

use crate::atomic_file;
use crate::device::DeviceError;
use crate::hint::{Hint, Hinted};
use crate::models::ConfigError;
use crate::models::library::LocateError;
use crate::models::processor::ProcessorError;
use crate::text::TokenizerError;
use crate::text::chat::ChatError;

pub(super) use folder::stored;
pub use folder::{
    KeepWeights, LoadOptions, Parts, default_folder, describe, load, load_options, load_with,
    load_with_encoder, restore, save, save_description, shipped, shipped_photo, snapshot,
};
pub use gguf::{Gguf, GgufError, GgufTensor};
pub use merge::{Merged, merge};
pub(super) use opened::{Opened, referred};
pub use pack::{Packed, pack};
pub use peft::{Adapter, save_adapter};
pub use safetensors::{
    Metadata, TensorFile, Values, first_not_finite, parse, read_values, step_note, write_halves,
    write_tensors, write_tensors_and_words, write_values,
};
pub use tuned::{save_tuned, save_tuned_description};
pub(super) use weights::WeightFiles;
pub use weights::WeightRules;

/// What [`CheckpointError::Several`] says that a folder has.
const LANGUAGE_MODELS: &str = "language models";
const IMAGE_ENCODERS: &str = "image encoders";

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
    /// A file is no model.
    #[error("{path} is neither a GGUF file nor a folder: give the folder that the file is in")]
    NotAFolder {
        /// File.
        path: String,
    },
    /// A folder has several models.
    #[error(
        "{path} has several {what}: {names}; name the file of one, or move the others elsewhere"
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
    /// A file that was named as an image encoder is none.
    #[error("{path} is not an image encoder: name the mmproj file of the model")]
    NotAnEncoder {
        /// File.
        path: String,
    },
    /// An image encoder was named for a model that is not in a GGUF file.
    #[error("{path} is not in a GGUF file, so the image encoder {encoder} cannot belong to it")]
    EncoderUnused {
        /// Folder of the model.
        path: String,
        /// File of the image encoder.
        encoder: String,
    },
    /// A file is the text that Git keeps in place of a large file.
    #[error(
        "{path} is a Git LFS pointer and not the file itself: run `git lfs pull` in its folder, or download it again"
    )]
    LfsPointer {
        /// File.
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
    /// A file is of another kind.
    #[error("{path} is {kind}, not a model: give a safetensors or GGUF file, or its folder")]
    OtherKind {
        /// File.
        path: String,
        /// Noun phrase with its article.
        kind: &'static str,
    },
    /// A file is not a valid safetensors file.
    #[error("{path} is not a valid safetensors file: {reason}")]
    Damaged {
        /// File.
        path: String,
        /// Reason given by the parser, or a wrong checksum.
        reason: String,
    },
    /// A file that an index lists is absent.
    #[error("{path} lists {shard}, which is not beside it: download the missing files")]
    MissingShard {
        /// Index.
        path: String,
        /// File that is absent.
        shard: String,
    },
    /// A tensor is absent.
    #[error(
        "{path} has no tensor `{name}`, which its configuration asks for: they do not belong together, or the file is not complete"
    )]
    Missing {
        /// File.
        path: String,
        /// Name of the tensor.
        name: String,
    },
    /// There are tensors that the model does not have.
    #[error(
        "{path} has tensors that its configuration does not ask for: {names}; they do not belong together"
    )]
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
    /// A part of a composition cannot be used.
    #[error("the {part} of {path}, which is {model}: {error}")]
    Part {
        /// Folder of the composition.
        path: String,
        /// Name of the part.
        part: &'static str,
        /// Name of the part in the composition.
        model: String,
        /// Error of that model.
        error: Box<CheckpointError>,
    },
    /// The model that a folder changes cannot be used.
    #[error("the model that {path} changes, which is {model}: {error}")]
    Base {
        /// Folder.
        path: String,
        /// Name of the model in the folder.
        model: String,
        /// Error of that model.
        error: Box<CheckpointError>,
    },
    /// A part of a composition is another model than when the composition was made.
    #[error(
        "its {field} is {have}, and was {want} when the composition was made: name the model that it was made with"
    )]
    OtherPart {
        /// Path of the field in the part's configuration.
        field: String,
        /// Its value there.
        have: String,
        /// Its value in the composition's configuration.
        want: String,
    },
    /// A model of another family is needed.
    #[error("it is a model of the family {family}, and a language model of Llama's type is needed")]
    NotALanguageModel {
        /// Name of the family.
        family: &'static str,
    },
    /// A model has nothing to merge.
    #[error("{path} has nothing to merge: it is a plain model already")]
    NothingToMerge {
        /// Folder or file.
        path: String,
    },
    /// An adapter cannot be used with a model.
    #[error("{path}: {reason}")]
    Adapter {
        /// Folder or file of the model.
        path: String,
        /// Mismatch, as a clause.
        reason: String,
    },
    /// A file describes an adapter that is not supported.
    #[error("{path} describes an adapter with {field} = {value}: {rule}")]
    AdapterKind {
        /// File.
        path: String,
        /// Name of the field.
        field: String,
        /// Its value.
        value: String,
        /// Supported values.
        rule: String,
    },
    /// Adapters are for pretrained models.
    #[error("{path} is not a pretrained model, and adapters are for those only")]
    NotAdaptable {
        /// Folder.
        path: String,
    },
    /// A folder that a new model should be written to has one.
    #[error("{path} already holds a model: choose a folder that has none")]
    Occupied {
        /// Folder.
        path: String,
    },
    /// A model that is referred to is not on this machine.
    #[error(transparent)]
    Locate(#[from] LocateError),
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

impl CheckpointError {
    /// The error of a tensor that is not finite.
    fn not_finite(path: String, name: String) -> CheckpointError {
        CheckpointError::Mismatch {
            path,
            name,
            have: "has values that are NaN or infinite".into(),
            want: "finite numbers: the file is damaged, or was saved by a training that diverged"
                .into(),
        }
    }
}

impl Hinted for CheckpointError {
    fn hint(&self) -> Option<Hint> {
        match self {
            CheckpointError::NotACheckpoint { .. } => Some(Hint::CheckpointFolder),
            CheckpointError::Several {
                what: IMAGE_ENCODERS,
                ..
            } => Some(Hint::NameEncoder),
            CheckpointError::Damaged { .. } | CheckpointError::Gguf(GgufError::Damaged { .. }) => {
                Some(Hint::FetchAgain)
            }
            CheckpointError::Config(error) => error.hint(),
            CheckpointError::Locate(error) => error.hint(),
            CheckpointError::Part { error, .. } | CheckpointError::Base { error, .. } => {
                error.hint()
            }
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
