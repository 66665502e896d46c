//! One file per op: its kernel, its method on [`Tape`](crate::tape::Tape), its f64 reference and its test.

mod add;
#[cfg(test)]
pub(crate) mod check;
mod fill;
mod lanes;
mod layernorm;
mod sum_rows;
