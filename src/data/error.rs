//! Errors of reading captioned pictures, and problems with single rows.

use std::fmt;

use super::formats::Setting;
use crate::hint::{Hint, Hinted};

/// A row or file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Location, such as `file.csv row 7, column caption` or a path; rows are counted as in
    /// [`Sample::id`](super::Sample::id).
    pub place: String,
    /// Description of the defect.
    pub what: String,
    /// Setting that may solve the problem.
    pub hint: Option<Hint>,
}

impl Problem {
    /// Creates a problem without a hint.
    pub fn new(place: impl Into<String>, what: impl Into<String>) -> Problem {
        Problem {
            place: place.into(),
            what: what.into(),
            hint: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Reason why a file or folder yields no data set. Every message names the path.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// Path of the file.
        path: String,
        /// Cause reported by the system or the parser.
        reason: String,
    },
    /// The file cannot be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// Path of the file.
        path: String,
        /// Cause reported by the system.
        reason: std::io::Error,
    },
    /// A file to write is already there and must not be replaced.
    #[error("{path} already exists")]
    Exists {
        /// Path of the file.
        path: String,
    },
    /// A picture's path cannot be written into a text file.
    #[error("{path}: the name is not UTF-8; rename the picture")]
    NotUtf8 {
        /// Path of the picture.
        path: String,
    },
    /// The content does not follow the format.
    #[error("{path} {what}")]
    Format {
        /// Path of the file.
        path: String,
        /// Predicate that completes a sentence starting with the path, such as `is empty`.
        what: String,
    },
    /// A table lacks the pictures or the captions.
    #[error("{path} has no {column}; its columns are {have}")]
    NoColumn {
        /// Path of the file.
        path: String,
        /// Description of the missing column.
        column: String,
        /// Names of the columns found, quoted and separated by commas.
        have: String,
    },
    /// The data set lacks a part that is wanted.
    #[error("{path} has no part `{split}`; its parts are {have}")]
    NoSplit {
        /// Path of the file.
        path: String,
        /// Name of the part.
        split: String,
        /// Names of the parts found, quoted and separated by commas.
        have: String,
    },
    /// A setting of the [`Layout`](super::Layout) is given and has no meaning for any of the files.
    #[error("the {setting} does not apply: {path} {reason}")]
    Unused {
        /// Paths of the files.
        path: String,
        /// The setting.
        setting: Setting,
        /// Predicate that completes a sentence starting with the path.
        reason: &'static str,
    },
    /// Another process, with which the pictures are read, is lost.
    #[error("{0}")]
    Sharing(Box<dyn std::error::Error + Send + Sync>),
    /// A row cannot be used, and strict loading was requested.
    #[error("{0}")]
    Strict(Problem),
    /// No row can be used.
    #[error("{path} holds no usable picture with a caption{}", match first {
        Some(problem) => format!(": {problem}"),
        None => format!(". Supported are {}", super::formats::supported()),
    })]
    Empty {
        /// Path of the file or folder.
        path: String,
        /// First problem found, if any.
        first: Option<Problem>,
    },
}

impl Hinted for DataError {
    fn hint(&self) -> Option<Hint> {
        match self {
            DataError::NoColumn { .. } => Some(Hint::NameColumns),
            DataError::Strict(problem) => Some(problem.hint.clone().unwrap_or(Hint::NotStrict)),
            DataError::Empty { first, .. } => first.as_ref()?.hint.clone(),
            DataError::Unused { setting, .. } => Some(Hint::LeaveOut(setting.field())),
            DataError::Exists { .. } => Some(Hint::OutputExists),
            DataError::NoSplit { .. }
            | DataError::Read { .. }
            | DataError::Write { .. }
            | DataError::NotUtf8 { .. }
            | DataError::Format { .. }
            | DataError::Sharing(_) => None,
        }
    }
}
