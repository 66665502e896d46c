//! A kernel in two forms, for rows whose length four divides and for others.

use crate::graph::Kernel;
use crate::graph::Tape;

/// One WGSL file with `lanes` as `vec4f` and as `f32`. Loads of four at a time matter most on software adapters.
pub(crate) struct VectorWidth {
    pub wide: Kernel,
    pub narrow: Kernel,
}

/// Declares [`VectorWidth`] as [`kernel!`](crate::kernel!) declares a kernel.
macro_rules! vector_width {
    ($name:literal $(, $shared:literal)* $(,)?) => {
        $crate::ops::vector_width::VectorWidth {
            wide: $crate::kernel!($name, "wide" $(, $shared)*),
            narrow: $crate::kernel!($name, "narrow" $(, $shared)*),
        }
    };
}
pub(crate) use vector_width;

impl VectorWidth {
    /// The form for rows of `cols` elements, and how many `lanes` such a row has.
    pub fn of(&'static self, cols: usize) -> (&'static Kernel, usize) {
        if cols.is_multiple_of(4) {
            (&self.wide, cols / 4)
        } else {
            (&self.narrow, cols)
        }
    }
}

impl Tape {
    /// Invocations of a workgroup that reduces a row of `cols` lanes.
    pub(crate) fn row_workgroup(&self, cols: usize) -> u32 {
        let capabilities = self.capabilities();
        // one subgroup on lavapipe: 592 rows of 512 take 1.0 ms, with 1, 4 or 64 invocations 2.3, 1.2 and 2.5 ms
        let (least, most) = if capabilities.software {
            (8, 8)
        } else {
            (32, 256)
        };
        // no loop over a row may come near lavapipe's limit of 65,535 rounds
        let enough = cols.div_ceil(8192).next_power_of_two() as u32;
        let useful = (cols.div_ceil(2).next_power_of_two() as u32).clamp(least, most);
        // workgroup sizes of adapters are powers of two in practice; a reduction needs one
        useful.max(enough).min(1 << capabilities.workgroup.ilog2())
    }
}
