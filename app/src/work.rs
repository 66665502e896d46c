//! What the worker thread does for each page.

pub mod attention;
pub mod batching;
pub mod captioning;
pub mod inspection;
pub mod training;
