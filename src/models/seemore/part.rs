//! The three parts of a vision-language model, as stages of training name them.

use serde::{Deserialize, Serialize};

/// A part of the model, by the names of its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The image encoder with its class head: `vit.` and `class.weight`
    Encoder,
    /// `proj`
    Projector,
    /// All else.
    Decoder,
}

impl Part {
    /// The part that a parameter belongs to.
    pub fn of(parameter: &str) -> Part {
        if parameter.starts_with("vit.") || parameter == "class.weight" {
            Part::Encoder
        } else if parameter.starts_with("proj") {
            Part::Projector
        } else {
            Part::Decoder
        }
    }

    /// Whether a parameter plays a part only when there is a picture.
    pub fn needs_picture(parameter: &str) -> bool {
        let takes_in = ["ln_image.", "ln_guess.", "colors.", "ln_colors.", "class."];
        Part::of(parameter) != Part::Decoder
            || takes_in.iter().any(|module| parameter.starts_with(module))
    }
}
