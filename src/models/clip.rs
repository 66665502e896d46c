//! CLIP's image encoder (Radford et al. 2021).

mod config;
mod encoder;
mod model;
pub mod preprocess;

pub use config::Config;
pub use encoder::Encoder;
pub use model::Clip;
pub use preprocess::PreprocessConfig;
