//! Errors found while recording.

use crate::hint::{Hint, Hinted};

/// A recorded program that no device can run, because its data are too large for the kernels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A dispatch needs more workgroups than any device allows.
    #[error(
        "{kernel} needs {grid:?} workgroups, and a dispatch has at most 65,535 along each axis"
    )]
    TooManyGroups {
        /// File and entry point.
        kernel: String,
        /// Workgroups in x, y and z.
        grid: [usize; 3],
    },
    /// A size does not fit the 32-bit integers that kernels count with.
    #[error("{kernel}: {name} is {number}, and kernels count up to 4,294,967,295")]
    TooLargeNumber {
        /// File and entry point.
        kernel: String,
        /// Parameter of the kernel.
        name: String,
        /// Value that does not fit.
        number: usize,
    },
}

impl Hinted for RecordError {
    fn hint(&self) -> Option<Hint> {
        Some(Hint::SmallerBatch)
    }
}
