//! A row of a caption file before its picture is decoded.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::captioned::Captioned;
use super::error::Problem;
use super::sample::{Sample, Turn};
use crate::image::{self, ColorProfiles, MAX_BYTES, Picture, Preprocess};

/// Captions with an undecoded picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    /// Same as [`Sample::id`].
    pub id: String,
    /// Location to report when the picture is invalid.
    pub place: String,
    pub image: Encoded,
    pub caption: String,
    pub others: Vec<String>,
    pub concept: Option<String>,
    /// Same as [`Sample::image_id`].
    pub image_id: Option<String>,
    /// Same as [`Sample::repeats`].
    pub repeats: usize,
    /// Same as [`Sample::turns`].
    pub turns: Vec<Turn>,
}

/// Undecoded content of a picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Encoded {
    Base64(String),
    File(PathBuf),
    /// Content of a file, and the name that it had.
    Bytes {
        name: String,
        bytes: Vec<u8>,
    },
    /// A part of the file `path`, and its name there.
    Part {
        path: PathBuf,
        name: String,
        at: u64,
        length: u64,
    },
}

/// Longest text that a message shows whole, in bytes.
const LONGEST_SHOWN: usize = 80;

impl Record {
    /// Creates a record with one or several captions and nothing else; the first caption counts
    /// most.
    ///
    /// # Panics
    /// Panics if there is no caption.
    pub fn new(
        id: impl Into<String>,
        place: impl Into<String>,
        image: Encoded,
        captions: Vec<String>,
    ) -> Record {
        let mut captions = captions.into_iter();
        Record {
            id: id.into(),
            place: place.into(),
            image,
            caption: captions.next().expect("a record has a caption"),
            others: captions.collect(),
            concept: None,
            image_id: None,
            repeats: 1,
            turns: vec![],
        }
    }

    /// Creates the record of a picture file, which is its own place.
    pub fn of_file(picture: PathBuf, captions: Vec<String>) -> Record {
        let id = picture.display().to_string();
        Record::new(id.clone(), id, Encoded::File(picture), captions)
    }

    /// Returns all captions in order.
    pub fn captions(&self) -> impl Iterator<Item = &str> {
        [&self.caption]
            .into_iter()
            .chain(&self.others)
            .map(String::as_str)
    }

    /// Returns the file name of the picture, if it has one.
    pub fn file_name(&self) -> Option<String> {
        let path = match &self.image {
            Encoded::Base64(_) => return None,
            Encoded::File(path) => path.as_path(),
            Encoded::Bytes { name, .. } | Encoded::Part { name, .. } => Path::new(name),
        };
        Some(path.file_name()?.to_string_lossy().into_owned()).filter(|name| !name.is_empty())
    }

    /// How messages name the picture: a place without a caption file is the picture's own path.
    fn named(&self) -> String {
        match &self.image {
            Encoded::File(path) if *path != Path::new(&self.place) => path.display().to_string(),
            Encoded::Part { name, .. } | Encoded::Bytes { name, .. }
                if !name.is_empty() && !self.place.ends_with(name.as_str()) =>
            {
                name.clone()
            }
            _ => "it".into(),
        }
    }

    /// Size of the picture as it is encoded, if it can be read.
    pub fn size(&self) -> Option<u64> {
        match &self.image {
            Encoded::Base64(text) => Some(text.len() as u64),
            Encoded::File(path) => Some(path.metadata().ok()?.len()),
            Encoded::Bytes { bytes, .. } => Some(bytes.len() as u64),
            Encoded::Part { length, .. } => Some(*length),
        }
    }

    /// Reads the picture as it is encoded.
    pub fn bytes(&self) -> Result<Vec<u8>, Problem> {
        let problem = |what: String| Problem::new(&self.place, what);
        let unreadable =
            |error: io::Error| problem(format!("{} cannot be read: {error}", self.named()));
        match &self.image {
            Encoded::Base64(text) => base64(text).map_err(|error| {
                problem(match text.len() > LONGEST_SHOWN {
                    true => format!("it is not base64: {error}"),
                    false => format!("`{text}` is neither a picture's name nor base64: {error}"),
                })
            }),
            Encoded::File(path) => image::read(path).map_err(unreadable),
            Encoded::Bytes { bytes, .. } => Ok(bytes.clone()),
            Encoded::Part {
                path, at, length, ..
            } => part(path, *at, *length).map_err(unreadable),
        }
    }

    /// Decodes the picture at its own size.
    pub fn picture(&self, profiles: ColorProfiles) -> Result<Picture, Problem> {
        let it = self.named();
        Picture::decode_with(&self.bytes()?, profiles).map_err(|error| {
            Problem::new(
                &self.place,
                match &it[..] {
                    "it" => error.to_string(),
                    it => format!("{it}: {error}"),
                },
            )
        })
    }

    /// Decodes the picture and resizes it to the model's input.
    pub fn sample(
        self,
        preprocess: Preprocess,
        profiles: ColorProfiles,
    ) -> Result<Sample, Problem> {
        let rgb = self.picture(profiles)?.framed(preprocess).rgb;
        Ok(self.with_pixels(rgb))
    }

    /// Makes a sample of the captions and pixels, which may be none.
    pub fn with_pixels(self, rgb: Vec<u8>) -> Sample {
        let picture = match self.image {
            Encoded::File(path) => Some(path),
            Encoded::Part { name, .. } => Some(name.into()),
            Encoded::Bytes { name, .. } if !name.is_empty() => Some(name.into()),
            _ => None,
        };
        Sample {
            id: self.id,
            rgb,
            caption: self.caption,
            others: self.others,
            concept: self.concept,
            varies: false,
            picture,
            image_id: self.image_id,
            repeats: self.repeats,
            turns: self.turns,
        }
    }
}

impl From<&Captioned> for Record {
    fn from(row: &Captioned) -> Record {
        Record::of_file(row.picture.clone(), vec![row.caption.clone()])
    }
}

/// Reads a part of a file.
fn part(path: &Path, at: u64, length: u64) -> io::Result<Vec<u8>> {
    if length > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it has more than {MAX_BYTES} bytes; make it smaller or leave it out"
        )));
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![];
    file.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Returns a caption without white space, byte order marks and other invisible characters around
/// it, or `None` if nothing is left.
pub(super) fn caption_text(text: &str) -> Option<String> {
    // a variation selector or a joiner belongs to the emoji before it
    let invisible = |character: char| {
        character.is_whitespace()
            || character.is_control()
            || matches!(
                character,
                '\u{ad}'
                    | '\u{180e}'
                    | '\u{200b}'
                    | '\u{200e}'
                    | '\u{200f}'
                    | '\u{2060}'
                    | '\u{feff}'
            )
    };
    let text = text.trim_matches(invisible);
    let joiners =
        |character: char| matches!(character, '\u{200c}' | '\u{200d}') || invisible(character);
    (!text.chars().all(joiners)).then(|| text.to_owned())
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
    fn captions_lose_what_is_invisible_around_them() {
        for blank in [
            "",
            " \r\n",
            "\u{feff}",
            "\u{feff} \n",
            "\u{200b}\u{2060}",
            "\0\0",
            "\u{200d}",
        ] {
            assert_eq!(caption_text(blank), None, "{blank:?}");
        }
        let text = "a\u{200d}b\n\nc\u{fe0f}";
        assert_eq!(
            caption_text(&format!("\u{feff} {text}\u{200b}\n")).as_deref(),
            Some(text)
        );
    }

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
