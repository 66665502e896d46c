//! Model families, and models on disk.
//!
//! A [`Model`] is what training, captioning, evaluation and explanation work with, whatever its
//! family. A family is one folder: its configuration, which implements [`FamilyConfig`], and its
//! forward pass, which implements [`VisionLanguage`]. The line in [`family`](mod@family) registers
//! it.

mod caches;
pub mod clip;
pub mod composition;
pub mod config;
mod dialogue;
pub mod emoji;
pub mod family;
mod info;
pub mod library;
pub mod llama;
pub mod load;
mod model;
pub mod nanovlm;
mod preset;
pub mod pretrained;
pub mod processor;
pub mod prompt;
pub mod seemore;
pub mod smolvlm;
mod upgrade;

pub use caches::Caches;
pub use config::{ConfigError, Overrides};
pub use dialogue::{Dialogue, DialogueError};
pub use family::{FamilyConfig, ModelConfig};
pub use info::{ImagePlaceholder, ImageTokens, ModelInfo, StackInfo};
pub use load as checkpoint;
pub use load::CheckpointError;
pub use model::{ClassHeadTensors, ImageFeatures, Logits, Model, VisionLanguage};
pub use preset::Preset;
pub use prompt::PromptError;

pub use crate::nn::Part;
