//! Model families, and models on disk.

pub mod checkpoint;
pub mod seemore;
