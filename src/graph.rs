//! Recording: kernels and their bindings, and the tape that dispatches and gradients are recorded on.

pub mod kernel;
mod tape;

pub use kernel::{Access, Binding, Entry, Field, Kernel};
pub use tape::{
    Always, Candidates, Choose, DispatchBuilder, MAX_GROUPS, Param, Precision, Segment, Tape, Var,
};
pub(crate) use tape::{Dispatch, Home};
