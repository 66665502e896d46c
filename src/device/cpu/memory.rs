//! Arrays in main memory.

mod slab;

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use self::slab::Slab;
use crate::device::executor::Range;

/// Bytes that arrays are aligned to: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;

/// Memory that arrays come from.
///
/// A decoded token reads all weights once, as fast as the memory allows, and finding each page of 4
/// KB costs a third of that time. On Linux, arrays therefore share slabs of huge pages, unless they
/// are small or large enough for slabs of their own.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The slab that has room left, if any, and the bytes of it that are used.
    current: Mutex<Option<(Arc<Slab>, usize)>>,
}

/// Least bytes of an array in a slab, and least bytes of one with a slab of its own.
const SHARED: usize = 1 << 16;
const ALONE: usize = 1 << 23;
/// Bytes that a thread sets to zero at a time: a huge page.
const ZEROED: usize = 1 << 21;

impl Memory {
    /// Returns an array of zero bytes, or `None` without memory.
    pub fn zeroed(&self, bytes: u64) -> Option<Array> {
        let bytes = usize::try_from(bytes).ok()?.max(ALIGNMENT);
        if bytes < SHARED || !slab::SUPPORTED {
            return Array::alone(bytes);
        }
        if bytes >= ALONE {
            let slab = Arc::new(Slab::new(bytes)?);
            return Some(Array::zeroed_part(slab, 0, bytes));
        }
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |(slab, used): &(Arc<Slab>, usize)| bytes <= slab.bytes() - used;
        let (slab, used) = match current.take().filter(fits) {
            Some(current) => current,
            None => (Arc::new(Slab::new(4 * ALONE)?), 0),
        };
        *current = Some((slab.clone(), used + bytes.next_multiple_of(ALIGNMENT)));
        Some(Array::zeroed_part(slab, used, bytes))
    }
}

/// An array that programs use through raw pointers.
///
/// Whoever touches its elements holds the lock of the executor's arrays; a running dispatch hands
/// them to its body as slices that do not overlap.
#[derive(Debug)]
pub(super) struct Array {
    start: NonNull<u8>,
    bytes: usize,
    /// The slab that it is a part of; none for memory of its own.
    slab: Option<Arc<Slab>>,
}

// SAFETY: the memory belongs to the array alone, and is used under the executor's lock only
#[allow(unsafe_code)]
unsafe impl Send for Array {}
// SAFETY: as for Send
#[allow(unsafe_code)]
unsafe impl Sync for Array {}

impl Array {
    #[allow(unsafe_code)]
    fn alone(bytes: usize) -> Option<Array> {
        // SAFETY: the size is not 0
        let start = NonNull::new(unsafe { alloc_zeroed(layout(bytes)?) })?;
        Some(Array {
            start,
            bytes,
            slab: None,
        })
    }

    /// Returns zeroed bytes of a slab, which no other array uses.
    #[allow(unsafe_code)]
    fn zeroed_part(slab: Arc<Slab>, offset: usize, bytes: usize) -> Array {
        let start = slab.at(offset, bytes);
        // SAFETY: in bounds, and nobody uses these bytes yet
        let part = unsafe { std::slice::from_raw_parts_mut(start.cast().as_ptr(), bytes) };
        // the first use of a page is slow on virtual machines, where the host may have to find it
        part.par_chunks_mut(ZEROED)
            .for_each(|part: &mut [MaybeUninit<u8>]| part.fill(MaybeUninit::new(0)));
        Array {
            start,
            bytes,
            slab: Some(slab),
        }
    }

    /// Returns the start of a range of the array.
    ///
    /// # Panics
    /// If the range ends behind the array.
    #[allow(unsafe_code)]
    pub fn at(&self, offset: u64, bytes: u64) -> *mut u8 {
        let end = offset.checked_add(bytes);
        assert!(end.is_some_and(|end| end <= self.bytes as u64));
        // SAFETY: in bounds
        unsafe { self.start.as_ptr().add(offset as usize) }
    }

    /// Copies bytes into the array. The caller holds the lock of the arrays.
    #[allow(unsafe_code)]
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        let to = self.at(offset, bytes.len() as u64);
        // SAFETY: in bounds; the lock keeps all others away
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// Returns a copy of a range, in the memory of `copy`. The caller holds the lock of the arrays.
    #[allow(unsafe_code)]
    pub fn read(&self, range: Range, mut copy: Vec<u32>) -> Vec<u32> {
        let from = self.at(range.offset, range.bytes).cast::<u32>();
        assert!(from.is_aligned());
        // SAFETY: in bounds, aligned and initialised; the lock keeps writers away
        let words = unsafe { std::slice::from_raw_parts(from, range.bytes as usize / 4) };
        copy.clear();
        copy.extend_from_slice(words);
        copy
    }
}

/// Layout of an array with memory of its own.
fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes, ALIGNMENT).ok()
}

impl Drop for Array {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        match (&self.slab, layout(self.bytes)) {
            (Some(slab), _) => slab.release(self.start, self.bytes),
            // SAFETY: allocated with this layout
            (None, Some(layout)) => unsafe { dealloc(self.start.as_ptr(), layout) },
            (None, None) => unreachable!("the layout was valid before"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(bytes: u64) -> Range {
        Range {
            id: crate::graph::TensorId(0),
            offset: 0,
            bytes,
        }
    }

    #[test]
    fn arrays_of_all_sizes_are_zero_aligned_and_apart() {
        let memory = Memory::default();
        let sizes = [
            1,
            100,
            1 << 16,
            70_000,
            5 << 20,
            9 << 20,
            7 << 20,
            8_000_004,
        ];
        let mut arrays = vec![];
        for round in 0..5u8 {
            for bytes in sizes {
                let array = memory.zeroed(bytes).unwrap();
                assert!(array.start.as_ptr().addr().is_multiple_of(ALIGNMENT));
                let whole = bytes / 4 * 4;
                assert!(
                    array
                        .read(range(whole), vec![])
                        .iter()
                        .all(|&word| word == 0)
                );
                array.write(0, &vec![round + 1; bytes as usize]);
                arrays.push((round + 1, bytes, array));
            }
            // freed in no order
            if round == 2 {
                let mut index = 0;
                arrays.retain(|_| {
                    index += 1;
                    index % 3 != 1
                });
            }
        }
        for (value, bytes, array) in &arrays {
            let word = u32::from_le_bytes([*value; 4]);
            let words = array.read(range(bytes / 4 * 4), vec![]);
            assert!(words.iter().all(|&have| have == word), "{bytes} bytes");
        }
    }

    #[test]
    #[should_panic]
    fn a_range_behind_the_end_is_refused() {
        let array = Memory::default().zeroed(1 << 20).unwrap();
        array.at((1 << 20) - 4, 8);
    }
}
