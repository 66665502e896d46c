//! One file per op: its kernel, its method on [`Tape`](crate::tape::Tape), its f64 reference and its test.

mod activation;
mod add;
mod argmax;
#[cfg(test)]
pub(crate) mod check;
mod concat;
mod cross_entropy;
mod dropout;
mod embedding;
mod fill;
mod lanes;
mod layernorm;
mod patchify;
mod positions;
mod scale;
mod slice;
mod softmax;
mod sum_rows;

pub use activation::Activation;
pub use cross_entropy::IGNORE;
