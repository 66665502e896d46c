//! File formats of captioned pictures, detected by name and content.
//!
//! To add a format, write `formats/NAME.rs` with a [`Definition`], declare the module here and add
//! its line to the table.

mod coco;
mod csv;
mod flickr;
mod folder;
mod jsonl;
mod picture_files;
mod row_numbers;

use std::path::Path;

use serde::Serialize;

use self::picture_files::parent;
use super::captioned::Captioned;
use super::error::{DataError, Problem};
use super::record::{Encoded, Record};
use crate::atomic_file;

pub use picture_files::Layout;

macro_rules! formats {
    ($($(#[$doc:meta])* $variant:ident => $module:ident,)*) => {
        /// Format of a file or folder with captions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Format {
            $($(#[$doc])* $variant,)*
        }

        /// All formats, in the order of detection.
        const TABLE: &[(Format, Definition)] = &[$((Format::$variant, $module::DEFINITION),)*];
    };
}

formats! {
    /// JSON Lines: an object with `image` and `caption` or `captions` on each line.
    Jsonl => jsonl,
    /// COCO captions: `images` and `annotations` in one JSON object.
    Coco => coco,
    /// `captions.txt` of Flickr8k: file names and captions, several rows a picture.
    Flickr => flickr,
    /// Folder of pictures, each with its caption in a `.txt` file beside it.
    Folder => folder,
    /// CSV with base64 pictures, captions and optional concepts; any other file.
    Csv => csv,
}

/// Implementation of a format.
struct Definition {
    /// Noun phrase for messages, with an article where it needs one.
    description: &'static str,
    /// Recognizes the format; earlier formats in the table take precedence.
    detect: fn(&Input) -> bool,
    /// Reads captions and locates their pictures, without decoding them.
    read: fn(&Input, &Layout) -> Result<Rows, DataError>,
    /// Writes captions so that `read` returns them again.
    write: fn(&Path, &[Captioned]) -> Result<(), DataError>,
}

/// What lies at a path.
struct Input<'a> {
    path: &'a Path,
    /// File name extension in lower case, or an empty string.
    extension: String,
    /// Content of a file without a byte order mark; `None` for a folder.
    body: Option<&'a [u8]>,
}

impl<'a> Input<'a> {
    fn new(path: &'a Path, body: Option<&'a [u8]>) -> Input<'a> {
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        Input {
            path,
            extension,
            body,
        }
    }

    /// Content of a file; empty for a folder.
    fn text(&self) -> &'a [u8] {
        self.body.unwrap_or_default()
    }

    /// Whether this is a file of JSON, by its extension or its first character.
    fn is_json(&self) -> bool {
        self.body.is_some()
            && (self.extension == "json" || self.text().trim_ascii_start().starts_with(b"{"))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// Usable rows of a file, and problems with the others.
pub(super) type Rows = (Vec<Record>, Vec<Problem>);

/// Reads captions and locates their pictures, without decoding them.
pub(super) fn read(path: &Path, layout: &Layout) -> Result<(Format, Rows), DataError> {
    if path.is_dir() {
        dispatch(&Input::new(path, None), layout)
    } else {
        parse(path, read_file(path)?, layout)
    }
}

/// Like [`read`] for the bytes of a file; `path` provides the extension, the name in messages and
/// the folder of the pictures.
fn parse(path: &Path, bytes: Vec<u8>, layout: &Layout) -> Result<(Format, Rows), DataError> {
    let bytes = without_mark(path, bytes)?;
    dispatch(&Input::new(path, Some(&bytes)), layout)
}

fn dispatch(input: &Input, layout: &Layout) -> Result<(Format, Rows), DataError> {
    let (format, definition) = TABLE
        .iter()
        .find(|(_, definition)| (definition.detect)(input))
        .expect("CSV takes every file, and Folder every folder");
    Ok((*format, (definition.read)(input, layout)?))
}

/// Names all formats for a message.
pub(super) fn supported() -> String {
    let names: Vec<&str> = TABLE.iter().map(|(_, format)| format.description).collect();
    match names.split_last() {
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    std::fs::read(path).map_err(|error| DataError::Read {
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

/// Removes a UTF-8 byte order mark.
///
/// # Errors
/// Content that looks like UTF-16.
fn without_mark(path: &Path, mut bytes: Vec<u8>) -> Result<Vec<u8>, DataError> {
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(..3);
    }
    if bytes.starts_with(&[0xff, 0xfe])
        || bytes.starts_with(&[0xfe, 0xff])
        || bytes[..bytes.len().min(64)].contains(&0)
    {
        return Err(DataError::Format {
            path: path.display().to_string(),
            what: "is not UTF-8 text, but perhaps UTF-16: save it as UTF-8".into(),
        });
    }
    Ok(bytes)
}

/// Returns the names under which a file at `path` refers to pictures: relative to its folder for
/// pictures inside it, else the whole path; with slashes on every system.
fn picture_names(path: &Path, rows: &[Captioned]) -> Result<Vec<String>, DataError> {
    let folder = parent(path);
    rows.iter()
        .map(|Captioned { picture, .. }| {
            let name = picture.strip_prefix(&folder).unwrap_or(picture).to_str();
            name.map(|name| name.replace(std::path::MAIN_SEPARATOR, "/"))
                .ok_or_else(|| DataError::NotUtf8 {
                    path: picture.display().to_string(),
                })
        })
        .collect()
}

/// Writes a whole file.
fn save(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    atomic_file::write(path, bytes).map_err(|reason| DataError::Write {
        path: path.display().to_string(),
        reason,
    })
}

impl Captioned {
    /// Reads which captions a file or folder gives to which picture files, without opening the
    /// pictures. Of several captions the first counts. Rows that cannot be used are listed, and so
    /// are pictures embedded in the file itself.
    ///
    /// # Errors
    /// An unreadable file, or content that does not follow the format.
    pub fn read(path: &Path, layout: &Layout) -> Result<(Vec<Captioned>, Vec<Problem>), DataError> {
        Ok(picture_files_of(read(path, layout)?.1))
    }

    /// Like [`read`](Self::read) for the bytes of a file; `path` provides the extension, the name
    /// in messages and the folder of the pictures.
    ///
    /// # Errors
    /// Content that does not follow the format.
    pub fn parse(
        path: &Path,
        bytes: Vec<u8>,
        layout: &Layout,
    ) -> Result<(Vec<Captioned>, Vec<Problem>), DataError> {
        Ok(picture_files_of(parse(path, bytes, layout)?.1))
    }

    /// Writes captions so that [`Dataset::load`](super::Dataset::load) reads them again, replacing
    /// an existing file.
    ///
    /// Pictures inside the file's folder are named relative to it, others by their whole path.
    /// [`Format::Csv`] embeds the pictures; [`Format::Folder`] writes a
    /// [`sidecar`](Captioned::sidecar) for each picture and no file `path`.
    ///
    /// # Errors
    /// A picture that cannot be read, a name that is not UTF-8, or a file that cannot be written.
    pub fn write(path: &Path, format: Format, rows: &[Captioned]) -> Result<(), DataError> {
        let (_, definition) = TABLE
            .iter()
            .find(|(known, _)| *known == format)
            .expect("the table has every format");
        (definition.write)(path, rows)
    }
}

/// Keeps the rows whose picture is a file.
fn picture_files_of((records, mut problems): Rows) -> (Vec<Captioned>, Vec<Problem>) {
    let mut captioned = vec![];
    for record in records {
        match record.image {
            Encoded::File(picture) => captioned.push(Captioned {
                picture,
                caption: record.caption,
            }),
            Encoded::Base64(_) => problems.push(Problem::new(
                record.place,
                "the picture is embedded in this file, so the caption belongs to no picture file",
            )),
        }
    }
    (captioned, problems)
}

#[cfg(test)]
mod tests {
    use super::super::dataset::Dataset;
    use super::super::testing::{png, written};
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn detects_formats_by_extension_and_content() {
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
        // base64 under the header of Flickr8k
        let (_dir, path) = written("a.csv", "image,caption\nAAAA,red\n");
        let layout = Layout {
            image_column: "image".into(),
            ..Layout::default()
        };
        assert_eq!(read(&path, &layout).unwrap().0, Format::Csv);
    }

    const CAPTIONS: [&str; 3] = ["a red one", "a \"darker\" one, with a comma", "zwölf Rote"];

    /// A folder with three pictures, one of them in a subfolder.
    fn pictures() -> (tempfile::TempDir, Vec<Captioned>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        let row = |(name, caption): (&str, &str)| {
            let picture = dir.path().join(name);
            std::fs::write(&picture, png(name.len() as u8)).unwrap();
            Captioned {
                picture,
                caption: caption.into(),
            }
        };
        let rows = ["a.png", "be.PNG", "in/see.png"]
            .into_iter()
            .zip(CAPTIONS)
            .map(row)
            .collect();
        (dir, rows)
    }

    #[test]
    fn files_round_trip() {
        let (dir, rows) = pictures();
        for (name, format) in [
            ("all.jsonl", Format::Jsonl),
            ("all.json", Format::Coco),
            ("all.csv", Format::Flickr),
            ("inside.csv", Format::Csv),
        ] {
            let path = dir.path().join(name);
            Captioned::write(&path, format, &rows).unwrap();
            let (read, problems) = Captioned::read(&path, &Layout::default()).unwrap();
            if format == Format::Csv {
                assert!(
                    read.is_empty()
                        && problems.len() == 3
                        && problems[2].to_string().contains("row 4"),
                    "{problems:?}"
                );
            } else {
                assert_eq!((read, problems), (rows.clone(), vec![]), "{name}");
            }
            let loaded = Dataset::load(&path, 4, &Layout::default(), true, &Silent).unwrap();
            let captions: Vec<&str> = loaded
                .dataset
                .samples
                .iter()
                .map(|sample| sample.caption.as_str())
                .collect();
            assert_eq!(captions, CAPTIONS, "{name}");
        }
        let text = std::fs::read_to_string(dir.path().join("all.json")).unwrap();
        assert!(
            text.contains("\"width\": 6") && text.contains("\"height\": 4"),
            "{text}"
        );
    }

    #[test]
    fn names_pictures_in_other_folders_by_their_whole_path() {
        let (_dir, rows) = pictures();
        let other = tempfile::tempdir().unwrap();
        let path = other.path().join("all.jsonl");
        Captioned::write(&path, Format::Jsonl, &rows).unwrap();
        assert_eq!(Captioned::read(&path, &Layout::default()).unwrap().0, rows);
    }

    #[test]
    fn writes_sidecars_beside_the_pictures() {
        let (dir, rows) = pictures();
        Captioned::write(dir.path(), Format::Folder, &rows).unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.path().join("in/see.txt")).unwrap(),
            "zwölf Rote\n"
        );
        assert_eq!(
            Captioned::read(dir.path(), &Layout::default()).unwrap().0,
            rows[..2]
        );
    }

    #[test]
    fn failed_writes_name_the_file_and_keep_the_old_one() {
        let (dir, mut rows) = pictures();
        let path = dir.path().join("all.csv");
        std::fs::write(&path, "before").unwrap();
        rows[1].picture = dir.path().join("gone.png");
        let error = Captioned::write(&path, Format::Csv, &rows)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("gone.png") && std::fs::read_to_string(&path).unwrap() == "before",
            "{error}"
        );
        let error = Captioned::write(&dir.path().join("no/where.csv"), Format::Flickr, &rows)
            .unwrap_err()
            .to_string();
        assert!(error.contains("where.csv"), "{error}");
    }
}
