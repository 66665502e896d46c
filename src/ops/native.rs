//! What Rust bodies of kernels are written with: loops over rows on all threads, and vector
//! arithmetic.
//!
//! Work is cut into tasks by its size alone, and sums are taken in a fixed order, so results do not
//! depend on the number of threads or on the width of the processor's vectors.

pub mod activation;
pub mod math;
pub mod random;
mod rows;

pub use rows::{
    blocks, columns, elements, rows, rows_of_three, rows_of_two, rows_with_cost, vectorized,
};
