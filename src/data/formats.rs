//! The forms in which pictures with captions come, told apart by the file's ending and content.

mod coco;
mod csv;
mod flickr;
mod folder;
mod jsonl;

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;

use super::dataset::{DataError, Problem, Sample};
use crate::image::Preprocess;
use crate::image::{self, Picture};

/// What the files themselves do not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The CSV column with pictures as base64.
    pub image_column: String,
    /// The CSV column with captions.
    pub caption_column: String,
    /// Where the pictures are that a file names, if not beside it.
    pub images: Option<PathBuf>,
}

impl Default for Layout {
    /// The columns of the original seemore's `inputs.csv`.
    fn default() -> Layout {
        Layout {
            image_column: "b64string_images".into(),
            caption_column: "caption".into(),
            images: None,
        }
    }
}

/// The form of a file with captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Base64 pictures and captions in two columns, and perhaps concepts in a third.
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// The captions of the COCO data set: `images` and `annotations` in one JSON object.
    Coco,
    /// `captions.txt` of Flickr8k: names of picture files and captions, several rows a picture.
    Flickr,
    /// Pictures with a `.txt` caption beside each.
    Folder,
}

/// Captions and the undecoded picture, before the costly part.
pub(super) struct Raw {
    /// As [`Sample::id`].
    pub id: String,
    /// What to name when the picture is wrong.
    pub place: String,
    pub image: Encoded,
    pub caption: String,
    pub others: Vec<String>,
    pub concept: Option<String>,
}

/// A picture's bytes before they are decoded.
pub(super) enum Encoded {
    Base64(String),
    File(PathBuf),
}

/// What a file holds, and what of it cannot be used.
pub(super) type Rows = (Vec<Raw>, Vec<Problem>);

impl Raw {
    /// The picture at its own size.
    pub fn picture(&self) -> Result<Picture, Problem> {
        let problem = |what: String| Problem {
            place: self.place.clone(),
            what,
        };
        // the place of a picture without more is its path
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

    pub fn sample(self, frame: Preprocess) -> Result<Sample, Problem> {
        let rgb = self.picture()?.framed(frame).rgb;
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

/// Reads captions and finds their pictures, without decoding them.
pub(super) fn read(path: &Path, layout: &Layout) -> Result<(Format, Rows), DataError> {
    if path.is_dir() {
        let captions = path.join("captions.txt");
        return match text(&captions) {
            // as Flickr8k is unpacked
            Ok(bytes) if flickr::has_header(&bytes) => {
                Ok((Format::Flickr, flickr::read(&captions, &bytes, layout)?))
            }
            _ => Ok((Format::Folder, folder::read(path)?)),
        };
    }
    let bytes = std::fs::read(path).map_err(|error| DataError::Read {
        path: path.display().to_string(),
        reason: error.to_string(),
    })?;
    parse(path, bytes, layout)
}

/// The same of the bytes of a file; the path tells its ending, what to name in messages and where pictures lie.
pub(super) fn parse(
    path: &Path,
    bytes: Vec<u8>,
    layout: &Layout,
) -> Result<(Format, Rows), DataError> {
    let bytes = as_text(path, bytes)?;
    let format = match path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase())
        .as_deref()
    {
        Some("jsonl" | "ndjson") => Format::Jsonl,
        Some("json") => json(&bytes),
        _ if bytes.trim_ascii_start().starts_with(b"{") => json(&bytes),
        ending
            if flickr::has_header(&bytes)
                && (ending == Some("txt") || flickr::names_pictures(&bytes)) =>
        {
            Format::Flickr
        }
        _ => Format::Csv,
    };
    let rows = match format {
        Format::Jsonl => jsonl::read(path, &bytes, layout)?,
        Format::Coco => coco::read(path, &bytes, layout)?,
        Format::Flickr => flickr::read(path, &bytes, layout)?,
        _ => csv::read(path, &bytes, layout)?,
    };
    Ok((format, rows))
}

/// Lines of JSON are told from one object by the first of them.
fn json(bytes: &[u8]) -> Format {
    #[derive(serde::Deserialize)]
    #[allow(dead_code, reason = "only whether it is there counts")]
    struct Line {
        image: serde::de::IgnoredAny,
    }
    let first = bytes
        .trim_ascii_start()
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    // a list would do for the fields, too
    if first.starts_with(b"{") && serde_json::from_slice::<Line>(first).is_ok() {
        Format::Jsonl
    } else {
        Format::Coco
    }
}

/// The bytes of a text file without a byte order mark.
fn text(path: &Path) -> Result<Vec<u8>, DataError> {
    let name = || path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| DataError::Read {
        path: name(),
        reason: error.to_string(),
    })?;
    as_text(path, bytes)
}

fn as_text(path: &Path, mut bytes: Vec<u8>) -> Result<Vec<u8>, DataError> {
    let name = || path.display().to_string();
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(..3);
    }
    if bytes.starts_with(&[0xff, 0xfe])
        || bytes.starts_with(&[0xfe, 0xff])
        || bytes[..bytes.len().min(64)].contains(&0)
    {
        return Err(DataError::Format {
            path: name(),
            what: "is not UTF-8 text, but perhaps UTF-16: save it as UTF-8".into(),
        });
    }
    Ok(bytes)
}

/// Endings of files that are taken for pictures.
const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

/// Whether a file's name ends as a picture's.
fn is_picture(path: &Path) -> bool {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// The picture that a file names: in the folder of the layout, else in one of `beside`. Or what is wrong, and what to do.
fn find(name: &str, layout: &Layout, beside: &[PathBuf]) -> Result<PathBuf, String> {
    let places: Vec<PathBuf> = match &layout.images {
        // also for names with folders that are not there: `val2017/1.jpg` in `val2017`
        Some(images) => [Some(name.as_ref()), Path::new(name).file_name()]
            .into_iter()
            .flatten()
            .map(|name| images.join(name))
            .collect(),
        None => beside.iter().map(|folder| folder.join(name)).collect(),
    };
    if let Some(found) = places.iter().find(|place| place.is_file()) {
        return Ok(found.clone());
    }
    Err(match (&layout.images, places.first()) {
        (Some(images), _) => format!(
            "its picture {name} is not in {}, the folder that --images names",
            images.display()
        ),
        (None, Some(first)) => format!(
            "its picture {} is not there: give the folder of the pictures with --images",
            first.display()
        ),
        (None, None) => format!("its picture {name} is not there"),
    })
}

/// The folder that a file lies in.
fn parent(path: &Path) -> PathBuf {
    path.parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// Base64 as it is found in files: with a data URL's head (browsers), with line breaks (PEM), as `b'..'` (Python's str of
/// bytes), in the alphabet of URLs, with padding or without.
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
pub(super) mod tests {
    use std::io::Cursor;

    use ::image::{ImageFormat, Rgb, RgbImage};
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use indicatif::ProgressBar;

    use super::super::dataset::{Dataset, Loaded};
    use super::*;

    /// A picture of one colour.
    pub fn png(shade: u8) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        RgbImage::from_pixel(6, 4, Rgb([shade, 0, 0]))
            .write_to(&mut bytes, ImageFormat::Png)
            .unwrap();
        bytes.into_inner()
    }

    pub fn load(path: &Path, strict: bool) -> Result<Loaded, DataError> {
        Dataset::load(path, 4, &Layout::default(), strict, &ProgressBar::hidden())
    }

    /// A folder with a file.
    pub fn written(name: &str, text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn base64_is_taken_as_it_is_found() {
        let bytes: Vec<u8> = (0..=255).chain([0; 2]).collect();
        let standard = STANDARD.encode(&bytes);
        let encodebytes = format!("b'{}\\n{}\\n'", &standard[..76], &standard[76..]);
        let ways = [
            format!("b'{standard}'"),
            format!("b\"{standard}\""),
            encodebytes,
            URL_SAFE_NO_PAD.encode(&bytes),
            standard,
        ];
        for text in ways {
            assert_eq!(base64(&text).as_ref(), Ok(&bytes), "{text}");
        }
        assert!(base64("@@@").is_err());
    }

    #[test]
    fn formats_are_told_by_ending_and_content() {
        let coco = "{\n\"images\": [],\n\"annotations\": []}";
        let line = "{\"caption\": \"a\", \"image\": \"a.png\"}\n";
        let cases = [
            ("a.csv", "b64string_images,caption\nAAAA,red\n", Format::Csv),
            ("a.CSV", "image,caption\nA.png,red\n", Format::Flickr),
            ("a.txt", "\u{feff}Image, caption\r\n", Format::Flickr),
            ("a.jsonl", "", Format::Jsonl),
            ("a.JSON", coco, Format::Coco),
            (
                "a.json",
                "{\"images\": [], \"annotations\": []}",
                Format::Coco,
            ),
            ("a.json", line, Format::Jsonl),
            ("captions", coco, Format::Coco),
            ("captions", line, Format::Jsonl),
        ];
        for (name, text, format) in cases {
            let (_dir, path) = written(name, text);
            assert_eq!(
                read(&path, &Layout::default())
                    .map(|(format, _)| format)
                    .unwrap(),
                format,
                "{name} {text}"
            );
        }
        // base64 under the same header
        let (_dir, path) = written("a.csv", "image,caption\nAAAA,red\n");
        let layout = Layout {
            image_column: "image".into(),
            ..Layout::default()
        };
        assert_eq!(read(&path, &layout).unwrap().0, Format::Csv);
    }
}
