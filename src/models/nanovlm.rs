//! nanoVLM (Wiedmann et al. 2025): SigLIP, pixel shuffle, a linear layer and SmolLM2.

mod config;
pub mod preprocess;
pub mod prompt;

pub use config::Config;
pub use preprocess::PreprocessConfig;
pub use prompt::{GLOBAL, PLACEHOLDER, PromptConfig, TileTokens, question};
