//! Errors of devices.

use crate::graph::RecordError;
use crate::hint::{Hint, Hinted};

/// A device that cannot be opened, is too small for the work, or failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeviceError {
    /// The system has no graphics adapter.
    #[error("no graphics adapter found.\n{advice}")]
    NoAdapter {
        /// How to get a driver on this system.
        advice: String,
    },
    /// No device has the name or index that was asked for.
    #[error("no device matches `{wanted}`. Devices here:\n{have}")]
    UnknownAdapter {
        /// Index or part of a name.
        wanted: String,
        /// Adapters of this system, a line each.
        have: String,
    },
    /// The driver refused to open the adapter.
    #[error("the adapter {adapter} refused to open: {reason}")]
    Refused {
        /// Name of the adapter.
        adapter: String,
        /// Reason given by the driver.
        reason: String,
    },
    /// A tensor is larger than the device can bind at once.
    #[error(
        "a tensor of shape {shape:?} takes {bytes} bytes, and {adapter} binds at most {limit} bytes at once"
    )]
    TooLarge {
        /// Shape of the tensor.
        shape: Vec<usize>,
        /// Bytes it needs.
        bytes: u64,
        /// Largest tensor of the device, in bytes.
        limit: u64,
        /// Name of the adapter.
        adapter: String,
    },
    /// Attention over more tokens than the kernels handle on this device.
    #[error(
        "{tokens} {what}, and attention takes at most {most} on {adapter}. Use larger patches, a smaller picture or a shorter context"
    )]
    TooManyTokens {
        /// Number of tokens.
        tokens: usize,
        /// Where they are, as in "tokens in the decoder".
        what: &'static str,
        /// Largest number of tokens on this device.
        most: usize,
        /// Name of the adapter.
        adapter: String,
    },
    /// A kernel has no body that a CPU can run.
    #[error(
        "{place} has no Rust body, which the CPU needs: give the kernel one with `Kernel::native`"
    )]
    NoNativeBody {
        /// File and entry point.
        place: String,
    },
    /// The recorded program cannot run on any device.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The device has no memory left.
    #[error("the device ran out of memory ({0})")]
    OutOfMemory(String),
    /// The device stopped working.
    #[error(
        "the device was lost: {0}. A driver also gives up on a dispatch that takes longer than some seconds"
    )]
    Lost(String),
    /// One submission took longer than the time limit.
    #[error(
        "the device has worked for {seconds} s on one step and is not done: it hangs, or the step is too much for it"
    )]
    Stuck {
        /// Time limit in seconds.
        seconds: f64,
    },
    /// The driver rejected a command: a defect of this program.
    #[error("internal error: the driver rejected a command: {0}")]
    Rejected(String),
}

impl Hinted for DeviceError {
    fn hint(&self) -> Option<Hint> {
        match self {
            DeviceError::TooManyTokens { .. } => None,
            DeviceError::NoAdapter { .. }
            | DeviceError::UnknownAdapter { .. }
            | DeviceError::Refused { .. } => Some(Hint::OtherDevice),
            DeviceError::TooLarge { .. } => Some(Hint::SmallerBatch),
            DeviceError::Record(error) => error.hint(),
            DeviceError::OutOfMemory(_) => Some(Hint::LessMemory { parts: 2 }),
            DeviceError::Lost(_) => Some(Hint::Resume),
            DeviceError::Stuck { .. } => Some(Hint::RaiseTimeout),
            DeviceError::Rejected(_) => None,
            DeviceError::NoNativeBody { .. } => Some(Hint::OtherDevice),
        }
    }
}
