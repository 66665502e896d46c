//! Arrays on a device that outlive programs.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::executor::{Range, Read};
use super::{Device, DeviceError};
use crate::graph::{TensorId, TensorRef};

/// Memory on a device, freed when the last tensor that uses it is dropped.
pub(super) struct Allocation {
    pub id: TensorId,
    pub device: Device,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        self.device.forget(self.id);
    }
}

/// An array of 4-byte elements (`f32` or `u32`) that stays on the device between runs: parameters,
/// optimizer state, caches.
///
/// Cheap to clone; clones share their elements. A tensor may be a [`part`](Self::part) of another.
#[derive(Clone)]
pub struct Tensor {
    allocation: Arc<Allocation>,
    reference: TensorRef,
}

impl Tensor {
    /// Allocates a tensor of zeros.
    ///
    /// # Errors
    /// A tensor larger than the device can bind, or a device without memory.
    pub fn zeros(device: &Device, shape: &[usize]) -> Result<Tensor, DeviceError> {
        let allocation = device.allocate(shape)?;
        let reference = TensorRef {
            id: allocation.id,
            offset: 0,
            shape: shape.to_vec(),
        };
        Ok(Tensor {
            allocation,
            reference,
        })
    }

    /// Allocates a tensor with the given elements, row-major.
    ///
    /// # Errors
    /// A tensor larger than the device can bind, or a device without memory.
    ///
    /// # Panics
    /// If the number of elements does not fit the shape.
    #[track_caller]
    pub fn new<T: bytemuck::Pod>(
        device: &Device,
        shape: &[usize],
        data: &[T],
    ) -> Result<Tensor, DeviceError> {
        let tensor = Self::zeros(device, shape)?;
        tensor.write(data);
        Ok(tensor)
    }

    /// Returns the elements from position `first` on as a tensor of the given shape, without a
    /// copy.
    ///
    /// # Panics
    /// If it would reach past the end.
    #[track_caller]
    pub fn part(&self, first: usize, shape: &[usize]) -> Tensor {
        let len: usize = shape.iter().product();
        assert!(
            first + len <= self.len(),
            "{shape:?} from element {first} on is not a part of {:?}",
            self.shape()
        );
        Tensor {
            allocation: self.allocation.clone(),
            reference: TensorRef {
                id: self.reference.id,
                offset: self.reference.offset + first,
                shape: shape.to_vec(),
            },
        }
    }

    /// Splits the tensor into parts of one axis with at most `len` elements, in order, for reads and
    /// writes that need little memory.
    pub(crate) fn pieces(&self, len: usize) -> impl Iterator<Item = Tensor> {
        let starts = (0..self.len()).step_by(len);
        starts.map(move |first| self.part(first, &[len.min(self.len() - first)]))
    }

    /// Returns whether a kernel can bind it: all tensors but parts that do not start at a multiple
    /// of 256 bytes.
    pub fn is_aligned(&self) -> bool {
        self.reference.is_aligned()
    }

    /// Returns the shape.
    pub fn shape(&self) -> &[usize] {
        &self.reference.shape
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.reference.len()
    }

    /// Returns whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.reference.is_empty()
    }

    /// Returns the name under which tapes know it.
    pub fn reference(&self) -> &TensorRef {
        &self.reference
    }

    pub(super) fn range(&self) -> Range {
        Range {
            id: self.reference.id,
            offset: 4 * self.reference.offset as u64,
            bytes: 4 * self.len() as u64,
        }
    }

    /// Replaces all elements.
    ///
    /// # Panics
    /// If the number of elements differs.
    #[track_caller]
    pub fn write<T: bytemuck::Pod>(&self, data: &[T]) {
        self.allocation.device.write(self.range(), data);
    }

    /// Reads all elements, waiting for the device.
    ///
    /// # Errors
    /// A device that failed.
    ///
    /// # Panics
    /// If `T` does not have the size and alignment of `f32`.
    pub fn read<T: bytemuck::Pod>(&self) -> Result<Vec<T>, DeviceError> {
        self.allocation.device.read(self.range())
    }

    /// Begins to read all elements, as they are after the work that was submitted so far, in the
    /// memory of `spare` if the device can.
    pub(crate) fn begin_read(&self, spare: Vec<u32>) -> Reading {
        let device = self.allocation.device.clone();
        Reading {
            read: device.executor().read_into(self.range(), spare),
            device,
        }
    }

    /// Returns a tensor that only has a shape: for counting, not to be read, written or bound.
    pub(crate) fn placeholder(&self, shape: &[usize]) -> Tensor {
        let mut tensor = self.clone();
        tensor.reference.shape = shape.to_vec();
        tensor
    }
}

/// A read on its way, which does not wait for work that was submitted after it.
pub(crate) struct Reading {
    device: Device,
    read: Read,
}

impl Reading {
    /// Time after which work counts as slow, and the device is asked whether it is stuck.
    const SLOW: Duration = Duration::from_secs(5);

    /// Returns the elements if they have come.
    ///
    /// # Errors
    /// A device that failed.
    pub fn look(&mut self) -> Result<Option<Vec<u32>>, DeviceError> {
        self.device.executor().poll()?;
        let mut context = Context::from_waker(Waker::noop());
        match self.read.as_mut().poll(&mut context) {
            Poll::Ready(words) => words.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    /// Waits for the elements.
    ///
    /// # Errors
    /// A device that failed.
    pub fn wait(mut self) -> Result<Vec<u32>, DeviceError> {
        let start = Instant::now();
        loop {
            if let Some(words) = self.look()? {
                return Ok(words);
            }
            if start.elapsed() > Self::SLOW {
                self.device.wait()?;
            }
            std::thread::yield_now();
        }
    }
}

impl From<&Tensor> for TensorRef {
    fn from(tensor: &Tensor) -> TensorRef {
        tensor.reference.clone()
    }
}
