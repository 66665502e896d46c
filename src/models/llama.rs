//! Llama (Touvron et al. 2023) and models of its architecture, such as SmolLM2: text only.

mod config;

pub use config::Config;
pub(super) use config::NAMES;
