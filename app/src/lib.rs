//! The window of seemore. A worker thread owns the device and the models; the window shows what it reports and never waits for it.

#![deny(unsafe_code)]

mod asked;
mod desk;
mod duration;
mod gallery;
mod heat;
mod pages;
mod pictures;
mod toasts;
mod window;
pub mod work;
pub mod worker;

pub use window::{Start, Window};
