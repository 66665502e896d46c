//! Kernels compiled once for each format of packed weights.

use super::Encoding;
use crate::graph::{DispatchBuilder, Kernel, NativeCall, Var};

/// A kernel for each format.
pub(crate) struct PackedKernels {
    pub f16: Kernel,
    pub bf16: Kernel,
    pub q8_0: Kernel,
    pub q5_0: Kernel,
    pub q5_1: Kernel,
    pub q4_0: Kernel,
    pub q4_1: Kernel,
    pub q4_k: Kernel,
    pub q5_k: Kernel,
    pub q6_k: Kernel,
}

/// Declares [`PackedKernels`] from a file of WGSL, with the Rust bodies that a function returns for
/// each format.
macro_rules! packed_kernels {
    ($name:literal, $bodies:ident) => {
        $crate::ops::encoding::PackedKernels {
            f16: packed_kernels!($name, $bodies, PACKED_F16, F16),
            bf16: packed_kernels!($name, $bodies, PACKED_BF16, Bf16),
            q8_0: packed_kernels!($name, $bodies, PACKED_Q8_0, Q80),
            q5_0: packed_kernels!($name, $bodies, PACKED_Q5_0, Q50),
            q5_1: packed_kernels!($name, $bodies, PACKED_Q5_1, Q51),
            q4_0: packed_kernels!($name, $bodies, PACKED_Q4_0, Q40),
            q4_1: packed_kernels!($name, $bodies, PACKED_Q4_1, Q41),
            q4_k: packed_kernels!($name, $bodies, PACKED_Q4_K, Q4K),
            q5_k: packed_kernels!($name, $bodies, PACKED_Q5_K, Q5K),
            q6_k: packed_kernels!($name, $bodies, PACKED_Q6_K, Q6K),
        }
    };
    ($name:literal, $bodies:ident, $shared:ident, $format:ident) => {
        $crate::kernel!(
            $name,
            $crate::ops::shared::PACKED,
            $crate::ops::shared::$shared
        )
        .unchecked()
        .native($bodies::<$crate::ops::encoding::$format>())
    };
}
pub(crate) use packed_kernels;

impl PackedKernels {
    /// Returns the kernel of a format; none for F32, which is not packed.
    pub fn of(&self, encoding: Encoding) -> Option<&Kernel> {
        match encoding {
            Encoding::F32 => None,
            Encoding::F16 => Some(&self.f16),
            Encoding::Bf16 => Some(&self.bf16),
            Encoding::Q8_0 => Some(&self.q8_0),
            Encoding::Q5_0 => Some(&self.q5_0),
            Encoding::Q5_1 => Some(&self.q5_1),
            Encoding::Q4_0 => Some(&self.q4_0),
            Encoding::Q4_1 => Some(&self.q4_1),
            Encoding::Q4K => Some(&self.q4_k),
            Encoding::Q5K => Some(&self.q5_k),
            Encoding::Q6K => Some(&self.q6_k),
        }
    }
}

/// Binds packed weights as quads of words and, where the format reads them, as words.
pub(crate) fn bind_packed(call: DispatchBuilder<'_>, weight: Var) -> DispatchBuilder<'_> {
    let reads_words = call.has_binding("words");
    let call = call.bind("quads", weight);
    if reads_words {
        call.bind("words", weight)
    } else {
        call
    }
}

/// Returns the words of packed weights, which [`bind_packed`] may have bound twice.
pub(crate) fn packed_words<'a>(call: &NativeCall<'a>) -> &'a [u32] {
    if call.has_binding("words") {
        let _ = call.read::<u32>("words");
    }
    call.read("quads")
}
