//! Building blocks of the Rust bodies of kernels: loops over rows on all threads, and vector
//! arithmetic.
//!
//! Work is cut into tasks by its size alone, and sums are taken in a fixed order, so results do not
//! depend on the number of threads. Only those of `product` and of [`vectors`] depend on the
//! processor.

pub mod activation;
pub mod bf16;
pub mod math;
mod parts;
pub mod product;
pub mod random;
mod rows;
pub mod vectors;

pub use parts::Parts;
pub use rows::{
    blocks, elements, rows, rows_of_three, rows_of_two, rows_of_two_with_cost, rows_with_cost,
    vectorized,
};

use std::borrow::Cow;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::graph::NativeCall;

/// Returns the floats of an argument that the entry point only reads, unpacked if it holds two
/// halves in each element.
#[track_caller]
pub fn floats<'a>(call: &NativeCall<'a>, name: &str) -> Cow<'a, [f32]> {
    if call.holds_floats(name) {
        return Cow::Borrowed(call.read(name));
    }
    let halves: &[u16] = bytemuck::cast_slice(call.read::<u32>(name));
    let mut floats = vec![0.0; halves.len()];
    halves
        .reinterpret_cast::<f16>()
        .convert_to_f32_slice(&mut floats);
    Cow::Owned(floats)
}
