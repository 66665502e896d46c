//! What a device must be able to do. Everything else in the library is written against this trait.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::time::Duration;

use super::DeviceError;
use crate::graph::{Capabilities, Dispatch, TensorId};

/// A range of bytes on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Array that it lies in.
    pub id: TensorId,
    /// First byte, a multiple of 4.
    pub offset: u64,
    /// Number of bytes, a multiple of 4.
    pub bytes: u64,
}

/// The contents of a range as 4-byte words, once all work submitted before the read is done.
pub type Read = Pin<Box<dyn Future<Output = Result<Vec<u32>, DeviceError>> + Send>>;

/// The time of each dispatch of a run, or `None` if the device cannot measure it.
pub type Times<'a> = Pin<Box<dyn Future<Output = Result<Option<Vec<Duration>>, DeviceError>> + 'a>>;

/// The first error that attempted work caused, if any.
pub type Attempt = Pin<Box<dyn Future<Output = Option<DeviceError>>>>;

/// A dispatch with the memory that its values are bound to, in binding order.
pub struct Bound<'p> {
    /// Kernel, parameters and grid.
    pub dispatch: &'p Dispatch,
    /// Memory of each of [`Dispatch::args`].
    pub args: Vec<Range>,
}

/// Facts about a device, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Name as the driver gives it.
    pub name: String,
    /// One line for records: name, kind, backend, driver.
    pub line: String,
    /// Whether the time of single dispatches can be measured.
    pub timestamps: bool,
    /// Properties that decide what runs and how fast, by name.
    pub facts: Vec<(&'static str, String)>,
}

/// Counts of objects created on a device since it was opened.
///
/// Staging memory that the driver library creates for host writes is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Created {
    /// Buffers.
    pub buffers: u64,
    /// Bytes of these buffers.
    pub bytes: u64,
    /// Bind groups.
    pub bind_groups: u64,
    /// Compiled kernels.
    pub pipelines: u64,
}

/// Runs programs: arrays of bytes by id, kernels, and submission in order.
///
/// Reads are asynchronous, so that an implementation may run where blocking is impossible;
/// [`Device`](super::Device) has the blocking forms. All other work takes effect in the order of
/// the calls.
pub trait Executor: fmt::Debug + Send + Sync {
    /// Returns facts for people.
    fn info(&self) -> &DeviceInfo;

    /// Returns the properties that select kernel variants.
    fn capabilities(&self) -> Capabilities;

    /// Returns the size of the largest array that a kernel can bind, in bytes.
    fn max_bytes(&self) -> u64;

    /// Returns the bytes that can still be allocated, if the device tells. Other programs may take
    /// them at any time.
    fn free_memory(&self) -> Option<u64>;

    /// Returns counts of created objects.
    fn created(&self) -> Created;

    /// Allocates an array of zero bytes. The size is a multiple of 16 and at most
    /// [`max_bytes`](Self::max_bytes).
    ///
    /// # Errors
    /// A device without memory, as far as it tells at once; otherwise [`check`](Self::check) does
    /// later.
    fn allocate(&self, bytes: u64) -> Result<TensorId, DeviceError>;

    /// Frees an array. Prepared programs that use it keep it until they are dropped.
    fn free(&self, id: TensorId);

    /// Writes bytes of the host, before all work submitted later.
    fn write(&self, id: TensorId, offset: u64, bytes: &[u8]);

    /// Reads a range after all work submitted so far.
    fn read(&self, range: Range) -> Read;

    /// Reads as [`read`](Self::read) does, in the memory of `spare` if it can, whose content is lost.
    fn read_into(&self, range: Range, spare: Vec<u32>) -> Read {
        drop(spare);
        self.read(range)
    }

    /// Compiles kernels and binds memory, for any number of runs. With `parallel`, kernels may be
    /// compiled on several threads.
    ///
    /// # Errors
    /// A device that failed.
    fn prepare(&self, schedule: &[Bound], parallel: bool)
    -> Result<Box<dyn Prepared>, DeviceError>;

    /// Makes pending reads progress without waiting. Does nothing by default: for executors whose
    /// submissions return when their work is done.
    fn poll(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// Waits until all submitted work is done. Does nothing by default, as [`poll`](Self::poll).
    fn wait(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// Returns the first error since the device was opened. It stays: after one, no result can be
    /// trusted. By default there is none.
    fn check(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// Runs `work` at once, so that errors it causes on this thread do not count as failures of the
    /// device but are returned. By default work causes no errors of the device.
    fn attempt(&self, work: &mut dyn FnMut()) -> Attempt {
        work();
        Box::pin(ready(None))
    }
}

/// A program that an [`Executor`] can run.
pub trait Prepared: Send + Sync {
    /// Submits all dispatches once, without waiting for them.
    fn submit(&self) -> Result<(), DeviceError>;

    /// Submits all dispatches and reads a range after them.
    fn submit_and_read(&self, range: Range) -> Read;

    /// Submits some of the dispatches, without waiting for them.
    fn submit_some(&self, dispatches: std::ops::Range<usize>) -> Result<(), DeviceError>;

    /// Runs all dispatches and returns the time of each, or `None` if the device cannot measure it.
    fn times(&self) -> Times<'_>;
}
