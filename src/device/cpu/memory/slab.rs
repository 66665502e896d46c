//! Slabs of huge pages.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

/// Whether the system gives huge pages when asked.
pub const SUPPORTED: bool = cfg!(target_os = "linux");

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// Memory for several arrays.
#[derive(Debug)]
pub struct Slab {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a slab is only a place: the bytes belong to the arrays in it
#[allow(unsafe_code)]
unsafe impl Send for Slab {}
// SAFETY: as for Send
#[allow(unsafe_code)]
unsafe impl Sync for Slab {}

impl Slab {
    /// Returns a slab of at least that many bytes, or `None` without memory. The system hands out
    /// its pages on first use.
    #[allow(unsafe_code)]
    pub fn new(bytes: usize) -> Option<Slab> {
        let bytes = bytes.checked_next_multiple_of(HUGE)?;
        let layout = Layout::from_size_align(bytes, HUGE).ok()?;
        // SAFETY: the size is not 0
        let start = NonNull::new(unsafe { alloc(layout) })?;
        let slab = Slab { start, layout };
        #[cfg(target_os = "linux")]
        slab.advise(0, bytes, libc::MADV_HUGEPAGE);
        Some(slab)
    }

    /// Returns the number of bytes.
    pub fn bytes(&self) -> usize {
        self.layout.size()
    }

    /// Returns the start of a range.
    ///
    /// # Panics
    /// If the range ends behind the slab.
    #[allow(unsafe_code)]
    pub fn at(&self, offset: usize, bytes: usize) -> NonNull<u8> {
        assert!(offset <= self.bytes() && bytes <= self.bytes() - offset);
        // SAFETY: in bounds
        unsafe { self.start.add(offset) }
    }

    /// Gives the pages of an array that nobody uses any more back to the system.
    pub fn release(&self, start: NonNull<u8>, bytes: usize) {
        #[cfg(target_os = "linux")]
        {
            let offset = start.as_ptr().addr() - self.start.as_ptr().addr();
            // pages are aligned as the slab is; those that other arrays share stay
            let page = page_size();
            let first = offset.next_multiple_of(page);
            let last = (offset + bytes) / page * page;
            if first < last {
                self.advise(first, last - first, libc::MADV_DONTNEED);
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (start, bytes);
    }

    /// Tells the system about the use of a range. It may ignore that.
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    fn advise(&self, offset: usize, bytes: usize, advice: libc::c_int) {
        let start = self.at(offset, bytes);
        // SAFETY: a range of this slab, in which no array is, as the callers see to
        unsafe {
            libc::madvise(start.as_ptr().cast(), bytes, advice);
        }
    }
}

/// Returns the bytes of a page, at most a huge one.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn page_size() -> usize {
    // SAFETY: has no preconditions
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).map_or(HUGE, |size| size.clamp(1, HUGE))
}

impl Drop for Slab {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: allocated with this layout
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}
