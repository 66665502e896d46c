//! The image encoder of *CLIP* (Radford et al. 2021).

pub mod preprocess;
