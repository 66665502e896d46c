//! Compositions: a pretrained image encoder, a projector trained here, and a pretrained decoder.
//!
//! A composition is a small folder. Its `config.json` names the encoder and the decoder, which stay
//! where they are: a path relative to the folder, an absolute path, or a repository of the Hugging
//! Face Hub. `model.safetensors` holds the projector, and in place of the decoder's and the
//! encoder's own those tensors that were trained; an adapter lies beside it in PEFT's files.

mod config;
mod create;
mod parts;

pub use config::{Config, DecoderPart, EncoderPart, IMAGE_TOKEN, NameSet, ProjectorConfig};
pub(crate) use config::{EMBEDDING_LAYER, EMBEDDING_NORM, NAME_TOKENS, names_layer};
pub use create::{CHATML, Recipe, create};
pub(super) use create::{reference_from, relative};
pub use parts::missing_parts;
pub(super) use parts::open;
