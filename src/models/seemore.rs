//! The vision-language model: image encoder, projector, decoder.

mod caches;
mod class_head;
mod config;
mod decoder;
mod original;
mod part;
mod pooling;
mod projector;
mod vision;
mod vlm;

pub use caches::Caches;
pub use class_head::ClassHead;
pub use config::{
    AttentionScale, Config, ConfigError, Fusion, Output, Preset, Projection, VisualTokens,
};
pub use decoder::Decoder;
pub use original::{OriginalError, export_original, import_original, original_name};
pub use part::Part;
pub use pooling::Pooling;
pub use projector::Projector;
pub use vision::Vision;
pub use vlm::{Features, Logits, Vlm};
