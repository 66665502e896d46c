//! The *emoji* family: learns drawings on a plain background from few examples each.
//!
//! Beside pixels the encoder sees histograms of oriented gradients (Dalal & Triggs 2005). A class
//! head tells the concepts of the training set apart; its guess, a histogram of the image's colours
//! and, with additive fusion, the image vector are added to the embedding of every text position.
//! Cosines between decoder states and token embeddings score the tokens.

mod class_head;
mod config;
mod decoder;
mod network;
mod pooling;
mod vision;

pub use config::{
    ClassHeadConfig, Config, Fusion, Output, ProjectorConfig, TextConfig, VisionConfig,
    VisualTokens,
};
pub use network::Network;
