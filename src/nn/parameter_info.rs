//! What a parameter belongs to and what it learns from, recorded when it is created.

use serde::{Deserialize, Serialize};

use super::{LORA_A, LORA_B};

/// Part of a vision-language model that can be frozen, or loaded from a checkpoint, on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Image encoder with its class head
    Encoder,
    /// Layers between image encoder and decoder
    Projector,
    /// Language model
    Decoder,
}

/// Place of a parameter in the model: its part, and the losses whose gradient reaches it.
///
/// [`Parameters::with_role`](super::Parameters::with_role) sets the role of the parameters that a
/// module creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// Part of the model that the parameter belongs to.
    pub part: Part,
    /// Whether the parameter is used only when an image is given.
    pub needs_image: bool,
    /// Whether the gradient of the caption loss reaches the parameter.
    pub learns_from_captions: bool,
    /// Whether the gradient of the class loss reaches the parameter.
    pub learns_from_classes: bool,
}

impl Role {
    /// Image encoder: used by captions and by the class head.
    pub const ENCODER: Role = Role {
        part: Part::Encoder,
        needs_image: true,
        learns_from_captions: true,
        learns_from_classes: true,
    };

    /// Class head, and layers that only the class head uses.
    pub const CLASS_HEAD: Role = Role {
        learns_from_captions: false,
        ..Role::ENCODER
    };

    /// Projector between image encoder and decoder.
    pub const PROJECTOR: Role = Role {
        part: Part::Projector,
        learns_from_classes: false,
        ..Role::ENCODER
    };

    /// Decoder layers that process text.
    pub const DECODER: Role = Role {
        part: Part::Decoder,
        needs_image: false,
        learns_from_captions: true,
        learns_from_classes: false,
    };

    /// Decoder layers that take in the image.
    pub const CONDITIONING: Role = Role {
        needs_image: true,
        ..Role::DECODER
    };
}

/// Name, shape and role of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Module path, which is also the name of the tensor in checkpoints, such as
    /// `blocks.0.attn.q.weight`.
    pub name: String,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// Part of the model, and the losses that train it.
    pub role: Role,
}

impl ParameterInfo {
    /// Whether the parameter belongs to an adapter of a layer.
    pub fn is_adapter(&self) -> bool {
        [LORA_A, LORA_B].iter().any(|end| self.name.ends_with(end))
    }

    /// Whether the parameter is a matrix or a table of embeddings rather than a bias, a norm or
    /// another vector.
    ///
    /// Axes of length 1 do not count.
    pub fn is_matrix(&self) -> bool {
        self.shape.iter().filter(|&&len| len > 1).count() > 1
    }
}
