//! Errors and notices of trackers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::hint::{Hint, Hinted};

/// Reason why a tracker cannot record a training.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Cause reported by the system.
        reason: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// Path of the file or folder.
        path: PathBuf,
        /// Cause reported by the system.
        reason: io::Error,
    },
    /// The output of a new run exists.
    #[error("{} already exists", path.display())]
    Exists {
        /// Path of the file.
        path: PathBuf,
    },
    /// The output of a resumed run was not written by a tracker.
    #[error("cannot continue {}: no tracker wrote this file; choose another", path.display())]
    Foreign {
        /// Path of the file.
        path: PathBuf,
    },
    /// A file of the tracker is damaged.
    #[error("{} is damaged ({reason}); move it away to send everything again", path.display())]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Cause reported by the parser.
        reason: serde_json::Error,
    },
    /// A run has no data for an MLflow server.
    #[error(
        "{} has no tracking/mlflow.jsonl: this run was not tracked on an MLflow server",
        run.display()
    )]
    NotTracked {
        /// Folder of the run.
        run: PathBuf,
    },
    /// An MLflow server does not accept data now.
    #[error(
        "{address} does not accept the data: {reason}. They are kept; try again when the server is available"
    )]
    Unreachable {
        /// Address of the server.
        address: String,
        /// Cause reported by the server or the connection.
        reason: String,
    },
    /// An MLflow server refused data for good.
    #[error("{address} refused {count} requests: {first}")]
    Refused {
        /// Address of the server.
        address: String,
        /// Number of refused requests.
        count: usize,
        /// Reason of the first refusal.
        first: String,
    },
    /// The sending thread cannot be started.
    #[error("cannot start a thread for tracking: {0}")]
    Thread(io::Error),
    /// This build has no support for MLflow.
    #[error("this build cannot track on an MLflow server: build it with the feature `mlflow`")]
    NoMlflow,
}

impl TrackError {
    /// Returns a function that wraps an error of reading a file.
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> TrackError + use<> {
        let path = path.to_owned();
        move |reason| TrackError::Read { path, reason }
    }

    /// Returns a function that wraps an error of writing a file.
    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> TrackError + use<> {
        let path = path.to_owned();
        move |reason| TrackError::Write { path, reason }
    }
}

impl Hinted for TrackError {
    fn hint(&self) -> Option<Hint> {
        match self {
            TrackError::Exists { .. } => Some(Hint::OutputExists),
            TrackError::NotTracked { .. } => Some(Hint::TrackRun),
            _ => None,
        }
    }
}

/// Outcome of tracking that the user should know about.
#[derive(Debug)]
pub enum Notice {
    /// An MLflow server has not received everything.
    Pending {
        /// Address of the server.
        address: String,
        /// Cause of the last failure.
        reason: String,
        /// Folder that keeps the data.
        kept: PathBuf,
        /// Folder of the run.
        run: PathBuf,
    },
    /// A tracker failed.
    Failed(TrackError),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Notice::Pending {
                address,
                reason,
                kept,
                ..
            } => write!(
                f,
                "not all data were sent to {address} ({reason}); they are kept in {}",
                kept.display()
            ),
            Notice::Failed(error) => error.fmt(f),
        }
    }
}

impl Notice {
    /// Returns the setting or action that completes the tracking, if any.
    pub fn hint(&self) -> Option<Hint> {
        match self {
            Notice::Pending { run, .. } => Some(Hint::SendTracking { run: run.clone() }),
            Notice::Failed(error) => error.hint(),
        }
    }
}
