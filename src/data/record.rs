//! A row of a caption file before its picture is decoded.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::Problem;
use super::sample::Sample;
use crate::image::{self, Picture, Preprocess};

/// Captions with an undecoded picture.
pub(super) struct Record {
    /// Same as [`Sample::id`].
    pub id: String,
    /// Location to report when the picture is invalid.
    pub place: String,
    pub image: Encoded,
    pub caption: String,
    pub others: Vec<String>,
    pub concept: Option<String>,
}

/// Undecoded content of a picture.
pub(super) enum Encoded {
    Base64(String),
    File(PathBuf),
}

impl Record {
    /// Decodes the picture at its own size.
    pub fn picture(&self) -> Result<Picture, Problem> {
        let problem = |what: String| Problem::new(&self.place, what);
        // the place of a picture without a caption file is its own path
        let it = match &self.image {
            Encoded::File(path) if *path != Path::new(&self.place) => path.display().to_string(),
            _ => "it".into(),
        };
        let bytes = match &self.image {
            Encoded::Base64(text) => {
                base64(text).map_err(|error| problem(format!("it is not base64: {error}")))?
            }
            Encoded::File(path) => image::read(path)
                .map_err(|error| problem(format!("{it} cannot be read: {error}")))?,
        };
        Picture::decode(&bytes).map_err(|error| {
            problem(if it == "it" {
                error.to_string()
            } else {
                format!("{it}: {error}")
            })
        })
    }

    /// Decodes the picture and resizes it to the model's input.
    pub fn sample(self, preprocess: Preprocess) -> Result<Sample, Problem> {
        let rgb = self.picture()?.framed(preprocess).rgb;
        Ok(Sample {
            id: self.id,
            rgb,
            caption: self.caption,
            others: self.others,
            concept: self.concept,
            varies: false,
        })
    }
}

/// Decodes base64 in the variants found in practice: with the head of a data URL (browsers), with
/// line breaks (PEM), as `b'..'` (Python's `str` of bytes), in the URL alphabet, padded or not.
fn base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let quoted = |quote: char| {
        text.strip_prefix('b')?
            .strip_prefix(quote)?
            .strip_suffix(quote)
    };
    let text = match quoted('\'').or_else(|| quoted('"')) {
        Some(inner) => inner.replace("\\n", ""),
        None => text.to_owned(),
    };
    let text = text
        .split_once("base64,")
        .map_or(text.as_str(), |(_, rest)| rest);
    let standard = |character| match character {
        '-' => '+',
        '_' => '/',
        other => other,
    };
    LENIENT.decode(
        text.chars()
            .filter(|character| !character.is_whitespace())
            .map(standard)
            .collect::<String>(),
    )
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn decodes_base64_variants() {
        let bytes: Vec<u8> = (0..=255).chain([0; 2]).collect();
        let standard = STANDARD.encode(&bytes);
        let encodebytes = format!("b'{}\\n{}\\n'", &standard[..76], &standard[76..]);
        let variants = [
            format!("b'{standard}'"),
            format!("b\"{standard}\""),
            encodebytes,
            URL_SAFE_NO_PAD.encode(&bytes),
            standard,
        ];
        for text in variants {
            assert_eq!(base64(&text).as_ref(), Ok(&bytes), "{text}");
        }
        assert!(base64("@@@").is_err());
    }
}
