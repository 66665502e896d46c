//! The executor that runs WGSL through wgpu: on Vulkan, Metal and DirectX 12.

mod adapters;
mod budget;
mod memory;
mod open;
mod pipelines;
mod prepared;
mod submission;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use adapters::AdapterInfo;
pub(super) use adapters::{adapters, no_gpu};

use self::memory::Memory;
use self::pipelines::Pipelines;
use self::submission::Submissions;
use super::executor::{Attempt, Bound, Created, DeviceInfo, Executor, Prepared, Range, Read};
use super::{DeviceError, system_memory};
use crate::graph::{Capabilities, TensorId};

#[derive(Default)]
struct Counters {
    buffers: AtomicU64,
    bytes: AtomicU64,
    bind_groups: AtomicU64,
    pipelines: AtomicU64,
}

/// State of an open device, shared by the executor and the programs prepared on it.
struct Shared {
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: wgpu::Limits,
    features: wgpu::Features,
    info: DeviceInfo,
    capabilities: Capabilities,
    pipelines: Pipelines,
    memory: Memory,
    submissions: Submissions,
    failure: Arc<Failure>,
    counters: Counters,
}

/// The first error that a device reported.
#[derive(Default)]
struct Failure(Mutex<Option<DeviceError>>);

impl Failure {
    fn keep_first(&self, error: DeviceError) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(error);
    }

    fn check(&self) -> Result<(), DeviceError> {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.clone().map_or(Ok(()), Err)
    }
}

/// Runs programs on a graphics adapter.
pub struct WgpuExecutor(Arc<Shared>);

impl fmt::Debug for WgpuExecutor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "WgpuExecutor({})", self.0.info.line)
    }
}

impl Executor for WgpuExecutor {
    fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    fn max_bytes(&self) -> u64 {
        open::max_bytes(&self.0.limits)
    }

    fn free_memory(&self) -> Option<u64> {
        if self.0.capabilities.software {
            system_memory::free()
        } else {
            budget::vulkan(&self.0.device)
        }
    }

    fn created(&self) -> Created {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.0.counters;
        Created {
            buffers: read(&counters.buffers),
            bytes: read(&counters.bytes),
            bind_groups: read(&counters.bind_groups),
            pipelines: read(&counters.pipelines),
        }
    }

    fn allocate(&self, bytes: u64) -> Result<TensorId, DeviceError> {
        Ok(self.0.allocate(bytes))
    }

    fn free(&self, id: TensorId) {
        self.0.memory.remove(id);
    }

    fn write(&self, id: TensorId, offset: u64, bytes: &[u8]) {
        let buffer = self.0.memory.buffer(id);
        self.0.queue.write_buffer(&buffer, offset, bytes);
    }

    fn read(&self, range: Range) -> Read {
        let commands = self.0.device.create_command_encoder(&Default::default());
        self.0.submit_and_read(commands, range)
    }

    fn prepare(
        &self,
        schedule: &[Bound],
        parallel: bool,
    ) -> Result<Box<dyn Prepared>, DeviceError> {
        Ok(Box::new(prepared::prepare(&self.0, schedule, parallel)))
    }

    fn poll(&self) -> Result<(), DeviceError> {
        self.0.poll()
    }

    fn wait(&self) -> Result<(), DeviceError> {
        self.0.wait()
    }

    fn check(&self) -> Result<(), DeviceError> {
        self.0.failure.check()
    }

    fn attempt(&self, work: &mut dyn FnMut()) -> Attempt {
        self.0.attempt(work)
    }
}

/// Values made on first use, each once. Different ones are made at the same time; callers block
/// while another thread makes the same one.
struct Once<K, T>(Mutex<BTreeMap<K, Arc<std::sync::OnceLock<T>>>>);

impl<K, T> Default for Once<K, T> {
    fn default() -> Self {
        Once(Mutex::default())
    }
}

impl<K: Ord, T: Clone> Once<K, T> {
    fn get_or_make(&self, key: K, make: impl FnOnce() -> T) -> T {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = values.entry(key).or_default().clone();
        drop(values);
        cell.get_or_init(make).clone()
    }
}

#[cfg(test)]
mod tests;
