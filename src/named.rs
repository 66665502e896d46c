//! Names and help texts of settings that a user chooses from a list, on the command line and in the
//! window.

use crate::data::Existing;
use crate::graph::Precision;
use crate::image::Strength;
use crate::models::{Part, Preset};
use crate::nn::Projection;
use crate::text::{Style, TokenKind};
use crate::train::{Decay, Moments, OnNan, Rule, Schedule, Tuned};

/// An enum whose values a user chooses from a list.
pub trait Named: Copy + PartialEq + Send + Sync + 'static {
    /// Every value with its name and a short help text.
    const VALUES: &'static [(Self, &'static str, &'static str)];

    /// Returns the name of a value.
    fn name(self) -> &'static str {
        Self::VALUES
            .iter()
            .find(|(value, ..)| *value == self)
            .map_or("", |(_, name, _)| name)
    }

    /// Returns the value with a name.
    fn named(name: &str) -> Option<Self> {
        Self::VALUES
            .iter()
            .find(|(_, known, _)| *known == name)
            .map(|(value, ..)| *value)
    }
}

impl Named for Preset {
    const VALUES: &'static [(Preset, &'static str, &'static str)] = &[
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
            "Learns drawings from few examples each; use it with word tokens",
        ),
    ];
}

impl Named for Part {
    const VALUES: &'static [(Part, &'static str, &'static str)] = &[
        (Part::Encoder, "encoder", "Image encoder and its class head"),
        (Part::Projector, "projector", "Image-to-text projector"),
        (Part::Decoder, "decoder", "Text decoder"),
    ];
}

impl Named for Projection {
    const VALUES: &'static [(Projection, &'static str, &'static str)] = &[
        (Projection::Linear, "linear", "One layer"),
        (
            Projection::Mlp,
            "mlp",
            "Two layers with a GELU between them",
        ),
    ];
}

impl Named for TokenKind {
    const VALUES: &'static [(TokenKind, &'static str, &'static str)] = &[
        (TokenKind::Characters, "characters", "One character"),
        (
            TokenKind::Words,
            "words",
            "A word with the space before it, or a punctuation mark",
        ),
        (
            TokenKind::Bpe,
            "bpe",
            "Byte-pair encoding: bytes and frequent runs of them",
        ),
    ];
}

impl Named for Style {
    const VALUES: &'static [(Style, &'static str, &'static str)] = &[
        (Style::Short, "short", "One sentence"),
        (Style::Detailed, "detailed", "Several sentences"),
        (
            Style::AltText,
            "alt-text",
            "One sentence for someone who cannot see the picture",
        ),
        (
            Style::Tags,
            "tags",
            "Words for the things in the picture, separated by commas",
        ),
    ];
}

impl Named for Strength {
    const VALUES: &'static [(Strength, &'static str, &'static str)] = &[
        (Strength::None, "none", "Pictures unchanged"),
        (
            Strength::Light,
            "light",
            "Small changes of size, position, rotation and color",
        ),
        (
            Strength::Strong,
            "strong",
            "Larger changes, mirroring, gray, outlines and noise, as far as the caption allows",
        ),
    ];
}

impl Named for Precision {
    const VALUES: &'static [(Precision, &'static str, &'static str)] = &[
        (Precision::F32, "f32", "Single precision"),
        (
            Precision::F16,
            "f16",
            "Half precision: half the bytes, and tensor cores where the adapter has them",
        ),
    ];
}

impl Named for Tuned {
    const VALUES: &'static [(Tuned, &'static str, &'static str)] = &[
        (
            Tuned::Projector,
            "projector",
            "Layers between image encoder and decoder",
        ),
        (Tuned::Lora, "lora", "Low-rank adapters of the decoder"),
        (Tuned::Decoder, "decoder", "The whole decoder"),
        (Tuned::All, "all", "The whole model, image encoder included"),
    ];
}

impl Named for Rule {
    const VALUES: &'static [(Rule, &'static str, &'static str)] = &[
        (Rule::Adam, "adam", "Kingma & Ba 2015"),
        (
            Rule::Adamw,
            "adamw",
            "Adam with decoupled weight decay, Loshchilov & Hutter 2019",
        ),
    ];
}

impl Named for Moments {
    const VALUES: &'static [(Moments, &'static str, &'static str)] = &[
        (Moments::F32, "f32", "32-bit floats, 8 bytes a parameter"),
        (
            Moments::Eight,
            "8bit",
            "8-bit codes with a scale for 64 of them, 2.1 bytes a parameter, Dettmers et al. 2022",
        ),
    ];
}

impl Named for Decay {
    const VALUES: &'static [(Decay, &'static str, &'static str)] = &[
        (Decay::All, "all", "All parameters, as PyTorch's AdamW"),
        (
            Decay::Matrices,
            "matrices",
            "Matrices and embeddings; not biases, norms and other vectors",
        ),
    ];
}

impl Named for Schedule {
    const VALUES: &'static [(Schedule, &'static str, &'static str)] = &[
        (
            Schedule::Cosine,
            "cosine",
            "Half a cosine from the peak to zero",
        ),
        (Schedule::Linear, "linear", "Straight line to zero"),
        (Schedule::Constant, "constant", "The peak until the end"),
    ];
}

impl Named for OnNan {
    const VALUES: &'static [(OnNan, &'static str, &'static str)] = &[
        (
            OnNan::Stop,
            "stop",
            "Save the state before the step, then end with an error",
        ),
        (OnNan::Skip, "skip", "Skip the step; end after 20 in a row"),
        (
            OnNan::Rollback,
            "rollback",
            "Return to the last save with half the learning rate, at most 5 times",
        ),
    ];
}

impl Named for Existing {
    const VALUES: &'static [(Existing, &'static str, &'static str)] = &[
        (Existing::Skip, "skip", "Keep their caption"),
        (
            Existing::Replace,
            "replace",
            "Write the new caption in its place",
        ),
        (Existing::Append, "append", "Write the new caption after it"),
    ];
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Checks that names are unique and lead back to their values.
    pub(crate) fn check<T: Named + std::fmt::Debug>() {
        let names: BTreeSet<&str> = T::VALUES.iter().map(|(_, name, _)| *name).collect();
        assert_eq!(names.len(), T::VALUES.len());
        for (value, name, help) in T::VALUES {
            assert_eq!(T::named(name), Some(*value));
            assert_eq!(value.name(), *name);
            assert!(!help.is_empty() && !help.ends_with('.'), "{name}: {help}");
        }
    }

    #[test]
    fn names_are_unique_and_lead_back_to_their_values() {
        check::<Preset>();
        check::<Part>();
        check::<Projection>();
        check::<TokenKind>();
        check::<Style>();
        check::<Strength>();
        check::<Precision>();
        check::<Tuned>();
        check::<Rule>();
        check::<Moments>();
        check::<Decay>();
        check::<Schedule>();
        check::<OnNan>();
        check::<Existing>();
    }
}
