//! One file per op: its kernel, its method on [`Tape`](crate::tape::Tape), its f64 reference and its test.

mod activation;
mod add;
#[cfg(test)]
pub(crate) mod check;
mod dropout;
mod fill;
mod lanes;
mod layernorm;
mod matmul;
mod scale;
mod sum_rows;

pub use activation::Activation;
pub use matmul::{Matrix, transposed};
