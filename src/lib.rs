//! A vision-language model that trains and runs in WGSL compute shaders, on any GPU that wgpu reaches.
//!
//! Modules record dispatches on a [`Tape`](graph::Tape); `backward` appends more; a [`Plan`](device::Plan) gives them
//! buffers by liveness; `run` encodes them in one pass and submits once.

#![deny(unsafe_code)]

pub mod atomic_file;
pub mod caption;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod data;
pub mod device;
pub mod eval;
pub mod explain;
pub mod graph;
pub mod hint;
pub mod image;
pub mod models;
pub mod nn;
pub mod ops;
pub mod progress;
pub mod text;
pub mod track;
pub mod train;
