//! Choices of the window that are worded otherwise than on the command line; the others are in
//! [`seemore::named`].

use seemore::image::{Augment, Strength, Tiling};
use seemore::named::Named;
use seemore::train::Tuned;

/// Values of a setting, each with its name and a help text.
pub type Choices<T> = &'static [(T, &'static str, &'static str)];

/// Tiles that a pretrained model sees a picture in.
pub const TILES: Choices<Tiling> = &[
    (Tiling::One, "1", "The whole picture as one tile: fastest"),
    (
        Tiling::Auto,
        "auto",
        "As many as the model's files say: sees more, takes longer",
    ),
];

/// Parts of a pretrained model.
pub const PARTS: Choices<Tuned> = &[
    (
        Tuned::Projector,
        "Projector",
        "Layers between image encoder and decoder",
    ),
    (
        Tuned::Lora,
        "LoRA adapters",
        "Low-rank adapters of the decoder's layers: little memory",
    ),
    (Tuned::Decoder, "Decoder", "All weights of the decoder"),
    (
        Tuned::All,
        "Whole model",
        "All weights, those of the image encoder included",
    ),
];

/// Returns the strength that an augmentation is, or `None` if its settings are custom.
pub fn strength(augment: &Augment) -> Option<Strength> {
    Strength::VALUES
        .iter()
        .map(|(strength, ..)| *strength)
        .find(|strength| Augment::from(*strength) == *augment)
}
