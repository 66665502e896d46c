//! The desktop app of seemore.
//!
//! A worker thread owns the device and the models. The window sends it [commands](worker::Command),
//! shows the [events](worker::Event) that come back, and never waits for it. Each page is one file
//! in [`pages`] and one entry of its registry. Pages draw and remember; what takes long runs in the
//! worker or on background threads, which no page starts itself.

#![deny(unsafe_code)]
#![warn(missing_docs)]

mod background;
pub mod file_dialog;
mod format;
mod gallery;
mod generation;
mod heat;
pub mod hint;
mod loader;
#[cfg(test)]
mod memory_storage;
pub mod page;
pub mod pages;
mod path_field;
pub mod pictures;
mod progress;
pub mod theme;
mod toasts;
mod window;
pub mod worker;

pub use generation::GenerationSettings;
pub use window::{StartOptions, Window};
