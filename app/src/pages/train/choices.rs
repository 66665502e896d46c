//! Values of the settings that are chosen from a list, with their names and help.

use seemore::graph::Precision;
use seemore::image::{Augment, Strength, Tiling};
use seemore::models::Preset;
use seemore::text::{Style, TokenKind};
use seemore::train::{OnNan, Schedule, Tuned};

/// Values of a setting, each with its name and a help text.
pub type Choices<T> = &'static [(T, &'static str, &'static str)];

/// Presets.
pub const PRESETS: Choices<Preset> = &[
    (
        Preset::Seemore,
        "seemore",
        "The original's sizes: 12.9 million parameters",
    ),
    (
        Preset::SeemoreOriginal,
        "seemore-original",
        "The original's sizes and arithmetic, for its checkpoints",
    ),
    (
        Preset::Llava,
        "llava",
        "All patch tokens go to the decoder, as in LLaVA",
    ),
    (
        Preset::Fuyu,
        "fuyu",
        "No image encoder: patches go to the projector, as in Fuyu",
    ),
    (Preset::Tiny, "tiny", "Trains in seconds on a CPU"),
    (
        Preset::Emoji,
        "emoji",
        "Learns drawings from few examples each; uses word tokens",
    ),
];

/// Kinds of tokenizers.
pub const TOKENIZERS: Choices<TokenKind> = &[
    (
        TokenKind::Characters,
        "characters",
        "One token per character",
    ),
    (
        TokenKind::Words,
        "words",
        "One token per word and punctuation mark",
    ),
    (
        TokenKind::Bpe,
        "bpe",
        "Byte-pair encoding: bytes and frequent runs of them",
    ),
];

/// Kinds of captions.
pub const STYLES: Choices<Style> = &[
    (Style::Short, "short", "Captions of one sentence"),
    (Style::Detailed, "detailed", "Captions of a paragraph"),
    (
        Style::AltText,
        "alt text",
        "Text for people who cannot see the picture",
    ),
    (Style::Tags, "tags", "Keywords, separated by commas"),
];

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

/// Strengths of augmentation.
pub const AUGMENTATIONS: Choices<Strength> = &[
    (Strength::None, "none", "Pictures unchanged"),
    (
        Strength::Light,
        "light",
        "Small changes of size, position, rotation and colour",
    ),
    (
        Strength::Strong,
        "strong",
        "Larger changes, mirroring, grey, outlines and noise, as far as the caption allows",
    ),
];

/// Learning-rate schedules.
pub const SCHEDULES: Choices<Schedule> = &[
    (
        Schedule::Cosine,
        "cosine",
        "Half a cosine from the peak to zero",
    ),
    (Schedule::Linear, "linear", "Straight line to zero"),
    (Schedule::Constant, "constant", "The peak until the end"),
];

/// Number formats.
pub const PRECISIONS: Choices<Precision> = &[
    (Precision::F32, "f32", "Single precision"),
    (
        Precision::F16,
        "f16",
        "Half precision for matrix products and attention: less memory, faster on many GPUs",
    ),
];

/// Reactions to non-finite losses.
pub const ON_NAN: Choices<OnNan> = &[
    (OnNan::Stop, "stop", "Save the last good state and end"),
    (OnNan::Skip, "skip", "Skip the step; end after 20 in a row"),
    (
        OnNan::Rollback,
        "roll back",
        "Return to the last save with half the learning rate, at most 5 times",
    ),
];

/// Returns the strength that an augmentation is, or `None` if its settings are custom.
pub fn strength(augment: &Augment) -> Option<Strength> {
    AUGMENTATIONS
        .iter()
        .map(|(strength, ..)| *strength)
        .find(|strength| Augment::from(*strength) == *augment)
}
