//! One file per op: its kernel, its method on [`Tape`](crate::tape::Tape), its f64 reference and its test.

mod add;
mod attention;
mod cache_rows;
#[cfg(test)]
pub(crate) mod check;
mod pad_heads;
mod sum_rows;

pub use attention::Attention;
