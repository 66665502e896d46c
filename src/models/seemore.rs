//! The *seemore* family: vision transformer, projector, decoder.
//!
//! The decoder sees the encoder's CLS row (seemore), all patch rows (LLaVA), or the patches
//! themselves (Fuyu).

mod config;
mod network;
mod original;

pub use config::{Config, ProjectorConfig, TextConfig, VisionConfig, VisualTokens};
pub use network::Network;
pub use original::{
    OriginalError, export_original, import_original, original_name, without_prefix,
};
