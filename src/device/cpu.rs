//! The executor that runs the Rust bodies of kernels on the processor, without any driver.

mod memory;
mod prepared;
mod processor;
mod threads;

use std::collections::BTreeMap;
use std::fmt;
use std::future::ready;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::memory::{Array, Memory};
use self::threads::Threads;
use super::executor::{Bound, Created, DeviceInfo, Executor, Prepared, Range, Read};
use super::{DeviceError, system_memory};
use crate::graph::{Capabilities, TensorId};

/// Largest array in bytes: kernels count elements in u32.
const MAX_BYTES: u64 = 4 * (u32::MAX as u64) / 16 * 16;

/// State of an open device, shared by the executor and the programs prepared on it.
struct Shared {
    threads: Threads,
    memory: Memory,
    /// Held by whoever uses the arrays, so that programs, reads and writes take effect one by one.
    arrays: Mutex<Arrays>,
    created: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Default)]
struct Arrays(BTreeMap<TensorId, Arc<Array>>);

impl Arrays {
    fn of(&self, id: TensorId) -> &Arc<Array> {
        self.0
            .get(&id)
            .expect("arrays are used between allocation and release")
    }
}

impl Shared {
    fn arrays(&self) -> MutexGuard<'_, Arrays> {
        self.arrays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs programs on the processor: each dispatch in turn, its tasks on all threads.
///
/// Results do not depend on the number of threads.
pub struct CpuExecutor {
    info: DeviceInfo,
    shared: Arc<Shared>,
}

impl fmt::Debug for CpuExecutor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CpuExecutor({})", self.info.line)
    }
}

impl CpuExecutor {
    /// Starts an executor with that many threads, or one for each core that this process may use.
    pub fn new(threads: Option<NonZero<usize>>) -> CpuExecutor {
        let threads = threads.map_or_else(threads::available, NonZero::get);
        let name = processor::name();
        let vectors = processor::vectors();
        let many = if threads == 1 { "thread" } else { "threads" };
        CpuExecutor {
            info: DeviceInfo {
                line: format!("{name} (CPU, {threads} {many}, {vectors})"),
                name,
                timestamps: true,
                facts: vec![
                    ("threads", threads.to_string()),
                    ("vector instructions", vectors.to_owned()),
                    (
                        "largest tensor",
                        format!("{:.1} GB", MAX_BYTES as f64 / 1e9),
                    ),
                ],
            },
            shared: Arc::new(Shared {
                threads: Threads::new(threads),
                memory: Memory::default(),
                arrays: Mutex::default(),
                created: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
            }),
        }
    }
}

impl Executor for CpuExecutor {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            native: true,
            ..Capabilities::MINIMAL
        }
    }

    fn max_bytes(&self) -> u64 {
        MAX_BYTES
    }

    fn free_memory(&self) -> Option<u64> {
        system_memory::free()
    }

    fn created(&self) -> Created {
        Created {
            buffers: self.shared.created.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            ..Created::default()
        }
    }

    fn allocate(&self, bytes: u64) -> Result<TensorId, DeviceError> {
        let array = self
            .shared
            .memory
            .zeroed(bytes)
            .ok_or_else(|| DeviceError::OutOfMemory(format!("{bytes} bytes of memory")))?;
        let id = TensorId(self.shared.created.fetch_add(1, Ordering::Relaxed) + 1);
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.shared.arrays().0.insert(id, Arc::new(array));
        Ok(id)
    }

    fn free(&self, id: TensorId) {
        self.shared.arrays().0.remove(&id);
    }

    fn write(&self, id: TensorId, offset: u64, bytes: &[u8]) {
        self.shared.arrays().of(id).write(offset, bytes);
    }

    fn read(&self, range: Range) -> Read {
        self.read_into(range, vec![])
    }

    fn read_into(&self, range: Range, spare: Vec<u32>) -> Read {
        let words = self.shared.arrays().of(range.id).read(range, spare);
        Box::pin(ready(Ok(words)))
    }

    fn prepare(
        &self,
        schedule: &[Bound],
        _parallel: bool,
    ) -> Result<Box<dyn Prepared>, DeviceError> {
        Ok(Box::new(prepared::prepare(&self.shared, schedule)?))
    }
}
