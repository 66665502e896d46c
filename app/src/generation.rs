//! Settings of caption generation, shared by the pages that write captions.

use serde::{Deserialize, Serialize};

/// How captions are generated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerationSettings {
    /// Sampling temperature; 0 always takes the most likely token.
    pub temperature: f32,
    /// Number of most likely tokens to sample from; 0 samples from all.
    pub top_k: usize,
    /// Probability mass to sample from: only the most likely tokens that together reach it.
    pub top_p: f32,
    /// Seed of the sampler.
    pub seed: u64,
    /// Maximum caption length in tokens.
    #[serde(alias = "most")]
    pub max_len: usize,
    /// Text that every caption starts with. It belongs to the page that asks for it, and is not
    /// stored.
    #[serde(skip)]
    pub prefix: String,
    /// Hypotheses of a beam search; 1 disables it.
    pub beams: usize,
}

impl Default for GenerationSettings {
    fn default() -> GenerationSettings {
        GenerationSettings {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 1,
            max_len: 40,
            prefix: String::new(),
            beams: 1,
        }
    }
}

impl GenerationSettings {
    /// Returns settings that write something else than the last time: the seed moves on, and a
    /// temperature of 0, which always writes the same, is raised.
    pub fn varied(&self, times: u64) -> GenerationSettings {
        GenerationSettings {
            seed: self.seed.wrapping_add(times),
            temperature: match self.temperature > 0.0 {
                true => self.temperature,
                false => VARIED,
            },
            beams: 1,
            ..self.clone()
        }
    }
}

/// Temperature of a caption that is to differ from the likeliest one.
const VARIED: f32 = 0.7;
