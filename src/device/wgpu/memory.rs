//! Buffers by id, and reading them back.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};

use super::Shared;
use crate::device::DeviceError;
use crate::device::executor::{Range, Read};
use crate::graph::TensorId;

/// All buffers of a device by id, and staging buffers for reads.
#[derive(Default)]
pub(super) struct Memory {
    buffers: RwLock<BTreeMap<TensorId, wgpu::Buffer>>,
    /// Staging buffers that no read uses now.
    staging: Mutex<Vec<wgpu::Buffer>>,
}

/// Number of the next array: unique among all devices, so that an array of another device is never
/// taken for one of this.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Memory {
    pub fn remove(&self, id: TensorId) {
        let mut buffers = self.buffers.write().unwrap_or_else(PoisonError::into_inner);
        buffers.remove(&id);
    }

    /// # Panics
    /// If there is no such buffer: a mistake of the caller, who holds what it uses.
    pub fn buffer(&self, id: TensorId) -> wgpu::Buffer {
        let buffers = self.buffers.read().unwrap_or_else(PoisonError::into_inner);
        match buffers.get(&id) {
            Some(buffer) => buffer.clone(),
            None => panic!("{id:?} is not an array of this device"),
        }
    }

    /// Takes a staging buffer of at least `size` bytes out of the pool.
    fn take_staging(&self, size: u64) -> Option<wgpu::Buffer> {
        let mut pool = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = pool.iter().position(|buffer| buffer.size() >= size)?;
        Some(pool.swap_remove(fits))
    }

    /// Puts a staging buffer into the pool, which keeps the largest.
    fn put_staging(&self, buffer: wgpu::Buffer) {
        const KEPT: usize = 2;
        let mut pool = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        pool.push(buffer);
        pool.sort_by_key(|buffer| buffer.size());
        if pool.len() > KEPT {
            pool.remove(0);
        }
    }
}

impl Shared {
    /// Creates a zeroed buffer that kernels may use, and returns its id.
    pub fn allocate(&self, bytes: u64) -> TensorId {
        use wgpu::BufferUsages as Usage;
        let usage = Usage::STORAGE | Usage::UNIFORM | Usage::COPY_DST | Usage::COPY_SRC;
        let buffer = self.create_buffer(bytes, usage);
        let id = TensorId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let buffers = self.memory.buffers.write();
        buffers
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, buffer);
        id
    }

    pub fn create_buffer(&self, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.counters.buffers.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(size, Ordering::Relaxed);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    /// Submits `commands`, and reads a range after them.
    pub fn submit_and_read(self: &Arc<Self>, commands: wgpu::CommandEncoder, range: Range) -> Read {
        let buffer = self.memory.buffer(range.id);
        self.submit_and_read_buffer(commands, &buffer, range.offset, range.bytes)
    }

    /// Submits `commands`, and reads bytes of a buffer after them.
    pub fn submit_and_read_buffer(
        self: &Arc<Self>,
        mut commands: wgpu::CommandEncoder,
        buffer: &wgpu::Buffer,
        offset: u64,
        bytes: u64,
    ) -> Read {
        let size = bytes.next_multiple_of(8);
        let staging = self.memory.take_staging(size).unwrap_or_else(|| {
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            self.create_buffer(staging_bytes(size, self.limits.max_buffer_size), usage)
        });
        commands.copy_buffer_to_buffer(buffer, offset, &staging, 0, bytes);
        self.queue.submit([commands.finish()]);
        let mapped = Arc::new(Mutex::new(Mapped::default()));
        let result = mapped.clone();
        staging.map_async(wgpu::MapMode::Read, 0..size, move |outcome| {
            let mut mapped = result.lock().unwrap_or_else(PoisonError::into_inner);
            mapped.outcome = Some(outcome.map_err(|error| error.to_string()));
            if let Some(waker) = mapped.waker.take() {
                waker.wake();
            }
        });
        Box::pin(Readback {
            shared: self.clone(),
            staging: Some(staging),
            mapped,
            size,
            bytes: bytes as usize,
        })
    }
}

/// Whether a staging buffer is mapped, and who wants to know.
#[derive(Default)]
struct Mapped {
    outcome: Option<Result<(), String>>,
    waker: Option<Waker>,
}

/// A read under way.
struct Readback {
    shared: Arc<Shared>,
    /// Taken when the read is done.
    staging: Option<wgpu::Buffer>,
    mapped: Arc<Mutex<Mapped>>,
    size: u64,
    bytes: usize,
}

impl Future for Readback {
    type Output = Result<Vec<u32>, DeviceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<Self::Output> {
        let outcome = {
            let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
            match mapped.outcome.take() {
                Some(outcome) => outcome,
                None => {
                    mapped.waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        };
        let Some(staging) = self.staging.take() else {
            return Poll::Pending;
        };
        let lost = |reason: String| DeviceError::Lost(reason);
        let read = || {
            outcome.map_err(lost)?;
            let range = staging.get_mapped_range(0..self.size);
            let range = range.map_err(|error| lost(error.to_string()))?;
            Ok(bytemuck::pod_collect_to_vec(&range[..self.bytes]))
        };
        let data = read();
        if data.is_ok() {
            staging.unmap();
            self.shared.memory.put_staging(staging);
        }
        Poll::Ready(data)
    }
}

/// Returns the size of a staging buffer for reads of `size` bytes: larger where the limit allows
/// it, so that it is seldom replaced.
fn staging_bytes(size: u64, limit: u64) -> u64 {
    size.next_power_of_two().max(1 << 16).min(limit).max(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_buffers_stay_within_the_limit() {
        const GIB: u64 = 1 << 30;
        assert_eq!(staging_bytes(16, 2 * GIB), 1 << 16);
        assert_eq!(staging_bytes(3 << 20, 2 * GIB), 4 << 20);
        assert_eq!(staging_bytes(GIB + 16, 2 * GIB - 1), 2 * GIB - 1);
        // the copy is rounded up to 16 bytes
        assert_eq!(staging_bytes(2 * GIB, 2 * GIB - 4), 2 * GIB);
    }
}
