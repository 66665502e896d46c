//! Where programs run: devices, tensors, and the executors behind them.
//!
//! A [`Device`] is a handle to an [`Executor`], the trait that a new kind of device implements. A
//! [`Plan`] is a program with its memory on a device.

mod choose;
mod cpu;
mod error;
pub mod executor;
mod plan;
mod system_memory;
mod tensor;
#[cfg(test)]
mod tests;
mod tuning;
#[cfg(feature = "wgpu")]
mod wgpu;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

#[cfg(feature = "wgpu")]
pub use self::wgpu::AdapterInfo;
pub use crate::graph::Memory;
pub use choose::DEVICE_VARIABLE;
pub use cpu::CpuExecutor;
pub use error::DeviceError;
pub use executor::{Created, Executor};
pub use plan::{DispatchInfo, Finding, Plan, Timing};
pub(crate) use tensor::Reading;
pub use tensor::Tensor;
pub use tuning::{Measured, Tuner};

use self::executor::{DeviceInfo, Range};
use self::tensor::Allocation;
use crate::graph::{Capabilities, Choose, Tape, TensorId, padded_bytes};

struct Shared {
    executor: Arc<dyn Executor>,
    /// Arrays that exist, for programs that know them by id.
    allocations: Mutex<BTreeMap<TensorId, Weak<Allocation>>>,
}

/// An open device. Cheap to clone; clones are the same device.
#[derive(Clone)]
pub struct Device {
    shared: Arc<Shared>,
    chooser: Option<Arc<dyn Choose>>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Device({})", self.adapter())
    }
}

/// Time that a read spins before it sleeps: a few decoded tokens.
///
/// Sleeping costs a wake-up, and on a software adapter lets the cores fall asleep that every
/// dispatch must then wake: a token took 6 to 8 ms on two idle cores, 2.9 ms with spinning, and
/// less CPU time too.
const SPIN: Duration = Duration::from_millis(10);

impl Device {
    /// Lists the graphics adapters, best first, in the order that indices count. The CPU is no
    /// adapter: it is always there.
    #[cfg(feature = "wgpu")]
    pub fn adapters() -> Vec<AdapterInfo> {
        pollster::block_on(self::wgpu::adapters())
    }

    /// Opens the best device: the one that `SEEMORE_DEVICE` names, else a GPU, else the CPU.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn best() -> Result<Device, DeviceError> {
        Self::open(None)
    }

    /// Opens the device that `wanted` names, as [`open`](Self::open) does, for one of several processes
    /// on a machine: of several GPUs the one of number `local`, starting again after the last; of the
    /// CPU so many threads, unless `wanted` says how many.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_share(
        wanted: Option<&str>,
        local: usize,
        threads: usize,
    ) -> Result<Device, DeviceError> {
        choose::open_share(wanted, local, threads)
    }

    /// Opens the device that `wanted` names:
    ///
    /// - `auto`: a discrete, integrated or virtual GPU, else the CPU;
    /// - `gpu`: such a GPU;
    /// - `cpu`: the CPU with a thread for each core, or `cpu:4` with four;
    /// - an index of [`adapters`](Self::adapters), or part of a name there. Only so is a software
    ///   graphics driver chosen.
    ///
    /// `None` takes the word in `SEEMORE_DEVICE` or, for names of adapters, `WGPU_ADAPTER_NAME`,
    /// else `auto`.
    ///
    /// # Errors
    /// No such device, or a driver that refuses to open it.
    pub fn open(wanted: Option<&str>) -> Result<Device, DeviceError> {
        choose::open(wanted)
    }

    /// Returns a device that runs on the given executor.
    pub fn with_executor(executor: Arc<dyn Executor>) -> Device {
        let shared = Shared {
            executor,
            allocations: Mutex::default(),
        };
        Device {
            shared: Arc::new(shared),
            chooser: None,
        }
    }

    /// Returns the same device with `chooser` deciding between kernel variants.
    pub fn choosing(&self, chooser: Arc<dyn Choose>) -> Device {
        Device {
            shared: self.shared.clone(),
            chooser: Some(chooser),
        }
    }

    /// Returns an empty tape that records for this device.
    pub fn tape(&self) -> Tape {
        let mut tape = Tape::new(self.capabilities());
        if let Some(chooser) = &self.chooser {
            tape.choose_by(chooser.clone());
        }
        tape
    }

    pub(crate) fn executor(&self) -> &dyn Executor {
        &*self.shared.executor
    }

    /// Returns the properties that select kernel variants.
    pub fn capabilities(&self) -> Capabilities {
        self.executor().capabilities()
    }

    fn info(&self) -> &DeviceInfo {
        self.executor().info()
    }

    /// Returns the adapter's name as the driver gives it.
    pub fn name(&self) -> &str {
        &self.info().name
    }

    /// Returns one line for records: name, kind, backend, driver.
    pub fn adapter(&self) -> String {
        self.info().line.clone()
    }

    /// Returns the adapter in words for people, with a warning if it is software.
    pub fn describe(&self) -> String {
        let line = self.adapter();
        if self.capabilities().software {
            format!(
                "{line}\nThis is a software graphics driver. The device `cpu` runs several times as fast"
            )
        } else {
            line
        }
    }

    /// Returns features and limits that decide what runs and how fast, by name.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        self.info().facts.clone()
    }

    /// Returns the bytes that can still be allocated, if the device tells. Other programs may take
    /// them at any time.
    pub fn free_memory(&self) -> Option<u64> {
        self.executor().free_memory()
    }

    /// Returns whether the time of single dispatches can be measured.
    pub fn has_timestamps(&self) -> bool {
        self.info().timestamps
    }

    /// Returns counts of the objects created so far.
    pub fn created(&self) -> Created {
        self.executor().created()
    }

    /// Returns the size of the largest tensor that a kernel can bind, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.executor().max_bytes()
    }

    /// Returns the largest number of elements of a tensor.
    pub(crate) fn max_elements(&self) -> usize {
        (self.max_bytes() / 4) as usize
    }

    /// Returns the first error that the device reported since it was opened. It stays: after one,
    /// no result can be trusted.
    ///
    /// # Errors
    /// That error.
    pub fn check(&self) -> Result<(), DeviceError> {
        self.executor().check()
    }

    /// Waits for all submitted work.
    ///
    /// # Errors
    /// A device that failed, or work that took longer than the time limit.
    pub fn wait(&self) -> Result<(), DeviceError> {
        self.executor().wait()
    }

    /// Runs work that may fail on this driver without harm to what comes after: its errors are
    /// returned, and do not count as failures of the device.
    pub(crate) fn attempt<T>(
        &self,
        work: impl FnOnce() -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let (mut work, mut result) = (Some(work), None);
        let errors = self.executor().attempt(&mut || {
            result = work.take().map(|work| work());
        });
        match (pollster::block_on(errors), result) {
            (Some(error), _) => Err(error),
            (None, Some(result)) => result,
            (None, None) => unreachable!("an executor runs the attempted work"),
        }
    }

    fn allocate(&self, shape: &[usize]) -> Result<Arc<Allocation>, DeviceError> {
        let (bytes, limit) = (padded_bytes(shape), self.max_bytes());
        if bytes > limit {
            return Err(DeviceError::TooLarge {
                shape: shape.to_vec(),
                bytes,
                limit,
                adapter: self.name().to_owned(),
            });
        }
        let allocation = Arc::new(Allocation {
            id: self.executor().allocate(bytes)?,
            device: self.clone(),
        });
        self.allocations()
            .insert(allocation.id, Arc::downgrade(&allocation));
        Ok(allocation)
    }

    fn allocations(&self) -> std::sync::MutexGuard<'_, BTreeMap<TensorId, Weak<Allocation>>> {
        let allocations = self.shared.allocations.lock();
        allocations.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the memory of that id, if it exists.
    fn allocation(&self, id: TensorId) -> Option<Arc<Allocation>> {
        self.allocations().get(&id).and_then(Weak::upgrade)
    }

    fn forget(&self, id: TensorId) {
        self.allocations().remove(&id);
        self.executor().free(id);
    }

    #[track_caller]
    fn write<T: bytemuck::Pod>(&self, range: Range, data: &[T]) {
        assert!(
            size_of::<T>() == 4 && size_of_val(data) as u64 == range.bytes,
            "writing {} elements of {} bytes into {} of 4",
            data.len(),
            size_of::<T>(),
            range.bytes / 4
        );
        self.executor()
            .write(range.id, range.offset, bytemuck::cast_slice(data));
    }

    fn read<T: bytemuck::Pod>(&self, range: Range) -> Result<Vec<T>, DeviceError> {
        let words = self.block_on(self.executor().read(range))?;
        Ok(bytemuck::cast_vec(words))
    }

    /// Waits for a read: the blocking form of the executor's asynchronous ones.
    fn block_on<T>(
        &self,
        future: impl Future<Output = Result<T, DeviceError>>,
    ) -> Result<T, DeviceError> {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        let start = Instant::now();
        loop {
            if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
                // brings the bookkeeping of submissions up to date, and reports failures
                return result.and_then(|value| self.wait().map(|()| value));
            }
            if start.elapsed() < SPIN {
                self.executor().poll()?;
                std::thread::yield_now();
            } else {
                self.wait()?;
            }
        }
    }
}
