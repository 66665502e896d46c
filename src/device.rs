//! Where a recorded program runs: adapters, buffers, plans.

mod gpu;
mod plan;
mod tuning;

pub use gpu::{AdapterInfo, Capabilities, Created, Device, DeviceError, Tensor};
pub(crate) use gpu::{Pipeline, Place, padded_bytes};
pub use plan::{DispatchInfo, Finding, Memory, Plan, Timing};
pub use tuning::{Tuner, cache_folder};
