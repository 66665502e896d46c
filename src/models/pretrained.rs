//! What the families of pretrained models are made of: a vision transformer, a connector and a
//! Llama-type decoder.
//!
//! A family reads sizes and ids from the files of its models, names the tensors, and puts these
//! parts together as a [`Network`].

mod decoder;
mod fields;
mod info;
mod network;
mod vision;

pub use decoder::{Decoder, DecoderConfig, DecoderNames};
pub(super) use fields::Fields;
pub(super) use info::pretrained_info;
pub use network::{COLOR_VALUES, Connector, Names, Network, WholePicture, thirds};
pub use vision::{VisionActivation, VisionConfig, VisionNames, VisionTransformer};
