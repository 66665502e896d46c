//! Names of arrays that outlive a program.

/// Identifies an array on a device: parameters, optimizer state, caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub u64);

/// Offset alignment, in elements, at which every device can bind a part of an array: 256 bytes.
pub const ALIGNMENT: usize = 64;

/// A contiguous part of an array on a device, or all of it, with a shape.
///
/// Plain data: it keeps nothing alive. The array must exist when a program that refers to it is
/// prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorRef {
    /// The array.
    pub id: TensorId,
    /// Position of the first element within the array.
    pub offset: usize,
    /// Shape in elements of 4 bytes, row-major.
    pub shape: Vec<usize>,
}

impl TensorRef {
    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether a kernel can bind it: its offset is a multiple of [`ALIGNMENT`].
    pub fn is_aligned(&self) -> bool {
        self.offset.is_multiple_of(ALIGNMENT)
    }

    /// Returns the position of its first element within `whole`, if it lies inside `whole`.
    pub fn offset_in(&self, whole: &TensorRef) -> Option<usize> {
        let offset = self.offset.checked_sub(whole.offset)?;
        (self.id == whole.id && offset + self.len() <= whole.len()).then_some(offset)
    }

    /// Returns whether the two share an element.
    pub fn overlaps(&self, other: &TensorRef) -> bool {
        self.id == other.id
            && self.offset < other.offset + other.len()
            && other.offset < self.offset + self.len()
    }
}
