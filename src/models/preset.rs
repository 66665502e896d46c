//! Named configurations.

use serde::{Deserialize, Serialize};

use super::{ModelConfig, emoji, seemore};

/// Named model configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Sizes of the original seemore with standard arithmetic: 12,907,970 parameters at 66
    /// characters
    Seemore,
    /// Sizes and arithmetic of the original seemore, for its checkpoints
    SeemoreOriginal,
    /// All patch tokens go to the decoder, as in LLaVA
    Llava,
    /// No image encoder: patches go straight to the projector, as in Fuyu
    Fuyu,
    /// Small enough to train in seconds on a CPU
    Tiny,
    /// Learns drawings from few examples each: oriented gradients, pooled patches, and an image
    /// vector at every text position. For a tokenizer of words
    Emoji,
}

impl Preset {
    /// Returns the configuration of this name.
    pub fn config(self) -> ModelConfig {
        match self {
            Preset::Seemore => seemore::Config::default().into(),
            Preset::SeemoreOriginal => seemore::Config::original().into(),
            Preset::Llava => seemore::Config::llava().into(),
            Preset::Fuyu => seemore::Config::fuyu().into(),
            Preset::Tiny => seemore::Config::tiny().into(),
            Preset::Emoji => emoji::Config::default().into(),
        }
    }
}
