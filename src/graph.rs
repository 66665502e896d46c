//! Recording of computations: kernels, the tape that records dispatches and gradients, and the
//! program made of it.
//!
//! Everything here is plain data: no device, no file, no thread.

mod capabilities;
mod choose;
mod dispatch;
mod error;
mod gradient;
pub mod kernel;
mod native;
mod program;
mod tape;
mod tensor;
#[cfg(test)]
mod tests;

pub use capabilities::Capabilities;
pub use choose::{Always, Candidates, Choose, Precision};
pub use dispatch::{Dispatch, DispatchBuilder, MAX_GROUPS, Param};
pub use error::RecordError;
pub use gradient::Segment;
pub use kernel::{Access, Binding, Entry, Field, Kernel};
pub use native::{Element, Native, NativeArg, NativeCall, Workers};
pub use program::{Memory, Place, Program, Value, padded_bytes};
pub use tape::{Tape, Var};
pub use tensor::{ALIGNMENT, TensorId, TensorRef};
