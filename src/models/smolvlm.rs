//! The *SmolVLM* family: SmolVLM, SmolVLM2 and other models of Idefics3's architecture.

pub mod preprocess;
