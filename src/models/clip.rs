//! CLIP's image encoder (Radford et al. 2021).

mod config;
mod encoder;
mod model;
pub mod preprocess;

pub use config::Config;
pub(super) use config::{NAMES, PROJECTION};
pub use encoder::Encoder;
pub use model::Clip;
pub(super) use model::OTHERS;
pub use preprocess::PreprocessConfig;
