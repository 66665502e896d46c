//! Errors of training.

use std::path::{Path, PathBuf};

use super::RankError;
use crate::data::{DataError, Problem};
use crate::device::DeviceError;
use crate::hint::{Hint, Hinted};
use crate::models::checkpoint::CheckpointError;
use crate::models::library::LocateError;
use crate::models::{ConfigError, DialogueError};
use crate::text::TokenizerError;
use crate::track::TrackError;

/// An error of an [`Observer`](super::Observer), which ends the training before its first step.
pub type ObserverError = Box<dyn std::error::Error + Send + Sync>;

/// What can keep a training from starting, or end it early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The training data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model sizes cannot be read, or do not fit together.
    #[error(transparent)]
    Model(#[from] ConfigError),
    /// The tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A tracker cannot start.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// An observer refused to start.
    #[error("{0}")]
    Observer(ObserverError),
    /// A setting has a value that cannot be used.
    #[error("{field} {reason}")]
    Setting {
        /// Dotted path of the field in [`RunConfig`](super::RunConfig), such as `batch.size`.
        field: &'static str,
        /// What is wrong, as the rest of a sentence about the field.
        reason: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        reason: std::io::Error,
    },
    /// A file is not a run configuration.
    #[error("{} is not a run configuration: {reason}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// The run folder cannot be made.
    #[error("cannot make the folder {}: {reason}", .dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// The error of the system.
        reason: std::io::Error,
    },
    /// Another training writes the run folder.
    #[error("{} is in use by another training ({holder})", .dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// Process that uses the folder, and since when.
        holder: String,
    },
    /// The run folder holds a checkpoint that would be replaced.
    #[error("{} already holds a checkpoint", .0.display())]
    OutputExists(PathBuf),
    /// Nothing is left to train or to train on.
    #[error("{0}")]
    Nothing(String),
    /// A sample cannot be used, and samples must not be left out.
    #[error("{0}")]
    Strict(Problem),
    /// Training pictures are also validation pictures.
    #[error("{0}")]
    Overlap(String),
    /// A caption is longer than the model's context.
    #[error(
        "{id}: the caption takes {length} positions and the model has room for {room}; shorten it, or raise `context` in the model's configuration"
    )]
    CaptionTooLong {
        /// Where the sample comes from.
        id: String,
        /// Positions of the caption.
        length: usize,
        /// Positions of the model.
        room: usize,
    },
    /// A question about a picture cannot be put to the model.
    #[error("{id}: {error}")]
    Question {
        /// Where the sample comes from.
        id: String,
        /// Why.
        error: DialogueError,
    },
    /// The model to tune cannot be found.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// A checkpoint to start from has no tensor that this model could take.
    #[error("{} has no tensor of a name and shape of this model", .path.display())]
    NothingToLoad {
        /// The file.
        path: PathBuf,
    },
    /// A step takes more memory than the device has left.
    #[error(
        "a training step takes {need} MB on the device beside the {have} MB of parameters and optimizer state, and {adapter} has {free} MB left"
    )]
    Memory {
        /// Megabytes of a step.
        need: u64,
        /// Megabytes of parameters and optimizer state.
        have: u64,
        /// Megabytes left.
        free: u64,
        /// Name of the adapter.
        adapter: String,
        /// Number of parts that fits, if there is one.
        parts: Option<usize>,
    },
    /// The thread that prepares batches panicked.
    #[error("internal error: preparing the next batch failed: {0}")]
    Input(String),
    /// The loss or the parameters are no longer finite.
    #[error("{what}: training diverged. {kept}")]
    Diverged {
        /// What was not finite, and at which step.
        what: String,
        /// What the run folder holds.
        kept: String,
        /// Whether such steps were already skipped or rolled back.
        guarded: bool,
    },
    /// A rank is lost, or ended with an error.
    #[error(transparent)]
    Rank(#[from] RankError),
    /// Ranks would not train the same thing.
    #[error("rank {rank} differs from rank 0: {what}")]
    RanksDiffer {
        /// Number of the rank.
        rank: usize,
        /// The difference.
        what: String,
    },
    /// A run cannot be resumed.
    #[error("cannot resume from {}: {reason}", .path.display())]
    Resume {
        /// Run folder or state file.
        path: PathBuf,
        /// Why.
        reason: String,
        /// The way past it.
        hint: Option<Hint>,
    },
    /// A resumed run has reached its number of steps already.
    #[error("{} is trained for {steps} steps already", .dir.display())]
    AlreadyTrained {
        /// Run folder.
        dir: PathBuf,
        /// Its steps.
        steps: u64,
    },
}

impl TrainError {
    /// The error of a run that cannot go on with another configuration.
    pub(super) fn differs(dir: &Path) -> TrainError {
        TrainError::Resume {
            path: dir.to_owned(),
            reason: "the configuration differs from the one it was trained with in more than data, budget, validation, saves, reports and trackers".into(),
            hint: None,
        }
    }

    /// An error about the setting at the dotted path `field`.
    pub(super) fn setting(field: &'static str, reason: impl Into<String>) -> TrainError {
        TrainError::Setting {
            field,
            reason: reason.into(),
        }
    }
}

impl Hinted for TrainError {
    fn hint(&self) -> Option<Hint> {
        match self {
            TrainError::Device(error) | TrainError::Checkpoint(CheckpointError::Device(error)) => {
                error.hint()
            }
            TrainError::Checkpoint(error) => error.hint(),
            TrainError::Data(error) => error.hint(),
            TrainError::Locate(error) => error.hint(),
            TrainError::Track(error) => error.hint(),
            TrainError::Observer(error) => error.downcast_ref::<TrackError>()?.hint(),
            TrainError::Setting { field, .. } => Some(Hint::Setting(field)),
            TrainError::Folder { .. } | TrainError::InUse { .. } => {
                Some(Hint::Setting("checkpoint.out"))
            }
            TrainError::OutputExists(_) => Some(Hint::RunExists),
            TrainError::Strict(problem) => problem.hint.clone().or(Some(Hint::NotStrict)),
            TrainError::Overlap(_) => Some(Hint::AllowOverlap),
            TrainError::CaptionTooLong { .. } => Some(Hint::Setting("model.file")),
            TrainError::NothingToLoad { .. } => Some(Hint::OtherParts),
            TrainError::Memory { parts: None, .. } => Some(Hint::SmallerBatch),
            TrainError::Memory {
                parts: Some(parts), ..
            } => Some(Hint::LessMemory { parts: *parts }),
            TrainError::Diverged { guarded, .. } => Some(Hint::Stabilize { guarded: *guarded }),
            TrainError::Resume { hint, .. } => hint.clone(),
            TrainError::AlreadyTrained { .. } => Some(Hint::GiveBudget),
            _ => None,
        }
    }
}
