//! A vision-language model that trains and runs in WGSL compute shaders, on any GPU that wgpu reaches.
//!
//! Modules record dispatches on a [`Tape`](tape::Tape); `backward` appends more; a [`Plan`](plan::Plan) gives them
//! buffers by liveness; `run` encodes them in one pass and submits once.

pub mod gpu;
pub mod kernel;
pub mod ops;
pub mod plan;
pub mod tape;
