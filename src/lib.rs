//! A vision-language model that trains and runs in WGSL compute shaders, on any GPU that wgpu reaches.
//!
//! Modules record dispatches on a [`Tape`](tape::Tape); `backward` appends more; a [`Plan`](plan::Plan) gives them
//! buffers by liveness; `run` encodes them in one pass and submits once.

#![deny(unsafe_code)]

pub mod atomic_file;
pub mod attention_maps;
pub mod bench;
pub mod caption;
pub mod checkpoint;
#[doc(hidden)]
pub mod cli;
pub mod color_map;
pub mod data;
pub mod eval;
pub mod generate;
pub mod gpu;
pub mod heatmap;
pub mod kernel;
pub mod lettering;
pub mod metrics;
pub mod model;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod plan;
pub mod relevance;
pub mod tape;
pub mod track;
pub mod train;
pub mod tune;
