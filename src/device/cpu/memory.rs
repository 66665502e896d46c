//! Arrays in main memory.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use crate::device::executor::Range;

/// Bytes that arrays are aligned to: a cache line, and the widest vector.
const ALIGNMENT: usize = 64;

/// An array that programs use through raw pointers.
///
/// Whoever touches its elements holds the lock of the executor's arrays; a running dispatch hands
/// them to its body as slices that do not overlap.
#[derive(Debug)]
pub(super) struct Array {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory belongs to the array alone, and is used under the executor's lock only
#[allow(unsafe_code)]
unsafe impl Send for Array {}
// SAFETY: as for Send
#[allow(unsafe_code)]
unsafe impl Sync for Array {}

impl Array {
    /// Returns an array of zero bytes, or `None` without memory. Systems hand out its pages on
    /// first use.
    #[allow(unsafe_code)]
    pub fn zeroed(bytes: u64) -> Option<Array> {
        let bytes = usize::try_from(bytes).ok()?.max(ALIGNMENT);
        let layout = Layout::from_size_align(bytes, ALIGNMENT).ok()?;
        // SAFETY: the size is not 0
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Array { start, layout })
    }

    /// Returns the start of a range of the array.
    ///
    /// # Panics
    /// If the range ends behind the array.
    #[allow(unsafe_code)]
    pub fn at(&self, offset: u64, bytes: u64) -> *mut u8 {
        let end = offset.checked_add(bytes);
        assert!(end.is_some_and(|end| end <= self.layout.size() as u64));
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

    /// Returns a copy of a range. The caller holds the lock of the arrays.
    #[allow(unsafe_code)]
    pub fn read(&self, range: Range) -> Vec<u32> {
        let from = self.at(range.offset, range.bytes).cast::<u32>();
        assert!(from.is_aligned());
        // SAFETY: in bounds, aligned and initialised; the lock keeps writers away
        unsafe { std::slice::from_raw_parts(from, range.bytes as usize / 4) }.to_vec()
    }
}

impl Drop for Array {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: allocated with this layout
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}
