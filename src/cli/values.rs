//! Names and help texts of the command line's own choices, and the parser of all of them.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::caption::WriteAs;
use super::model::Quantization;
use crate::data::Format;
use crate::named::Named;

/// Returns a parser that accepts the names of `T` and lists them with their help.
pub fn named<T: Named>() -> impl TypedValueParser<Value = T> {
    let values = T::VALUES
        .iter()
        .map(|(_, name, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(values)
        .map(|name| T::named(&name).expect("the parser accepts only known names"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named::tests::check;

    #[test]
    fn names_are_unique_and_lead_back_to_their_values() {
        check::<Format>();
        check::<WriteAs>();
        check::<Quantization>();
    }
}
