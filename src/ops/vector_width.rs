//! Kernels compiled twice: for rows whose length is a multiple of four, and for others.

use crate::graph::Kernel;
use crate::graph::Tape;

/// A kernel with `lanes` as `vec4f` and as `f32`. Loads of four elements matter most on software
/// adapters.
pub(crate) struct VectorWidth {
    /// Reads four elements at a time.
    pub wide: Kernel,
    /// Reads single elements.
    pub narrow: Kernel,
}

/// Declares [`VectorWidth`] as [`kernel!`](crate::kernel!) declares a kernel, with the Rust bodies
/// of its entry points.
macro_rules! vector_width {
    ($name:literal $(, $shared:expr)*; native: $bodies:expr) => {
        $crate::ops::vector_width::VectorWidth {
            wide: $crate::kernel!($name, $crate::ops::shared::WIDE $(, $shared)*).native($bodies),
            narrow: $crate::kernel!($name, $crate::ops::shared::NARROW $(, $shared)*)
                .native($bodies),
        }
    };
}
pub(crate) use vector_width;

impl VectorWidth {
    /// Returns the kernel for rows of `cols` elements, and the number of `lanes` in such a row.
    pub fn of(&'static self, cols: usize) -> (&'static Kernel, usize) {
        if cols.is_multiple_of(4) {
            (&self.wide, cols / 4)
        } else {
            (&self.narrow, cols)
        }
    }
}

impl Tape {
    /// Returns the workgroup size for reducing a row of `cols` lanes.
    pub(crate) fn row_workgroup(&self, cols: usize) -> u32 {
        let capabilities = self.capabilities();
        // one subgroup on lavapipe: 592 rows of 512 take 1.0 ms, with 1, 4 or 64 invocations 2.3,
        // 1.2 and 2.5 ms
        let (least, most) = if capabilities.software {
            (8, 8)
        } else {
            (32, 256)
        };
        // keeps loops over a row below lavapipe's limit of 65,535 rounds
        let enough = cols.div_ceil(8192).next_power_of_two() as u32;
        let useful = (cols.div_ceil(2).next_power_of_two() as u32).clamp(least, most);
        // a reduction needs a power of two
        useful.max(enough).min(1 << capabilities.workgroup.ilog2())
    }
}
