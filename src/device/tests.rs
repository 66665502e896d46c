//! Tests of devices and plans: what was recorded, run on a real adapter and on an executor that
//! only counts.

mod counting;
mod plans;
mod tensors;
mod translation;
mod uniformity;
mod variants;
