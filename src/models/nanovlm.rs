//! The *nanoVLM* family.

pub mod preprocess;
