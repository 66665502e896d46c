//! SmolVLM and SmolVLM2 (Marafioti et al. 2025), which are Idefics3 (Laurençon et al. 2024) with
//! small parts: SigLIP, pixel shuffle, a linear layer and SmolLM2.

mod config;
pub mod preprocess;
pub mod prompt;

pub use config::Config;
pub use preprocess::PreprocessConfig;
pub use prompt::TileTokens;
