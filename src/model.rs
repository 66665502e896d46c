//! The vision-language model: image encoder, projector, decoder.

mod config;
mod decoder;
mod original;
mod projector;
mod vision;
mod vlm;

pub use config::{AttentionScale, Config, ConfigError, Preset, Projection, VisualTokens};
pub use decoder::Decoder;
pub use original::{OriginalError, export_original, import_original, original_name};
pub use projector::Projector;
pub use vision::Vision;
pub use vlm::{Logits, Vlm};
