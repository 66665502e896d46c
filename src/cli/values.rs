//! Names and help texts of the library's enums on the command line.
//!
//! The library's enums know nothing of the command line: each gets one table here.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::caption::WriteAs;
use super::model::Quantization;
use crate::data::{Existing, Format};
use crate::graph::Precision;
use crate::image::Strength;
use crate::models::{Part, Preset};
use crate::nn::Projection;
use crate::text::{Style, TokenKind};
use crate::train::{Decay, Moments, OnNan, Rule, Schedule, Tuned};

/// An enum whose values can be given on the command line.
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

/// Returns a parser that accepts the names of `T` and lists them with their help.
pub fn named<T: Named>() -> impl TypedValueParser<Value = T> {
    let values = T::VALUES
        .iter()
        .map(|(_, name, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(values)
        .map(|name| T::named(&name).expect("the parser accepts only known names"))
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

impl Named for Quantization {
    const VALUES: &'static [(Quantization, &'static str, &'static str)] = &[
        (
            Quantization::Bf16,
            "bf16",
            "16-bit bfloat: half of f32, hardly a difference",
        ),
        (
            Quantization::F16,
            "f16",
            "16-bit IEEE float: half of f32, hardly a difference",
        ),
        (
            Quantization::Q8,
            "q8_0",
            "8 bits: a quarter of f32, close to it",
        ),
        (
            Quantization::Q4,
            "q4_0",
            "4 bits: an eighth of f32, with a loss of quality",
        ),
    ];
}

impl Named for Format {
    const VALUES: &'static [(Format, &'static str, &'static str)] = &[
        (
            Format::Folder,
            "folder",
            "A text file beside each picture; --out x.caption for that ending",
        ),
        (Format::Jsonl, "jsonl", "JSON Lines"),
        (Format::Json, "json", "JSON list"),
        (Format::Llava, "llava", "JSON list of conversations"),
        (Format::Coco, "coco", "COCO captions"),
        (
            Format::Karpathy,
            "karpathy",
            "Karpathy's split file, with one part",
        ),
        (
            Format::Flickr,
            "csv",
            "CSV with the names of pictures; TSV if --out ends in .tsv",
        ),
        (
            Format::Csv,
            "csv-embedded",
            "CSV with the pictures as base64",
        ),
        (Format::Tokens, "tokens", "Token file of Flickr8k"),
        (
            Format::Metadata,
            "metadata",
            "metadata.csv or metadata.jsonl of ImageFolder",
        ),
        (
            Format::Webdataset,
            "webdataset",
            "Tar shard of WebDataset, with the pictures",
        ),
        #[cfg(feature = "parquet")]
        (
            Format::Parquet,
            "parquet",
            "Parquet table with the pictures",
        ),
    ];
}

impl Named for WriteAs {
    const VALUES: &'static [(WriteAs, &'static str, &'static str)] = &[
        (WriteAs::Txt, "txt", "A .txt file for each picture"),
        (
            WriteAs::Caption,
            "caption",
            "A .caption file for each picture",
        ),
        (WriteAs::Jsonl, "jsonl", "JSON Lines"),
        (WriteAs::Csv, "csv", "CSV with the names of pictures"),
        (WriteAs::Coco, "coco", "COCO captions"),
        (WriteAs::Metadata, "metadata", "metadata.csv of ImageFolder"),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check<T: Named + std::fmt::Debug>() {
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
        check::<Precision>();
        check::<Format>();
        check::<WriteAs>();
        check::<Existing>();
        check::<Preset>();
        check::<Part>();
        check::<TokenKind>();
        check::<Strength>();
        check::<Rule>();
        check::<Moments>();
        check::<Decay>();
        check::<Schedule>();
        check::<OnNan>();
    }
}
