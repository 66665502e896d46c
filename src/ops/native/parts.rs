//! Outputs that several tasks write.

use std::marker::PhantomData;

/// An output that tasks write disjoint parts of.
pub struct Parts<'a, T> {
    start: *mut T,
    length: usize,
    memory: PhantomData<&'a mut [T]>,
}

// SAFETY: tasks get slices of disjoint ranges
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    /// Returns the parts of `all`.
    pub fn new(all: &'a mut [T]) -> Parts<'a, T> {
        Parts {
            start: all.as_mut_ptr(),
            length: all.len(),
            memory: PhantomData,
        }
    }

    /// Returns the elements of a range.
    ///
    /// # Panics
    /// If the range ends behind the last element.
    ///
    /// # Safety
    /// The ranges of all slices in use at the same time must be disjoint.
    #[inline(always)]
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub unsafe fn slice(&self, start: usize, length: usize) -> &mut [T] {
        assert!(start <= self.length && length <= self.length - start);
        // SAFETY: in bounds, and the caller promises that no other slice overlaps it
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }

    /// Returns a pointer to element `start` of a region that ends before element `end`.
    ///
    /// # Panics
    /// If the region ends behind the last element.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub fn at(&self, start: usize, end: usize) -> *mut T {
        assert!(start <= end && end <= self.length);
        // SAFETY: in bounds
        unsafe { self.start.add(start) }
    }
}
