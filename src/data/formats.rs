//! File formats of captioned pictures, detected by name and content.
//!
//! To add a format, write `formats/NAME.rs` with a [`Definition`], declare the module here and add
//! its line to the table. Tables read their rows through `table`, objects of JSON through `entry`:
//! both know the names of columns and fields from `columns`, and `picture_files` finds the pictures.

mod coco;
mod columns;
mod csv;
mod entry;
mod flickr;
mod folder;
mod folders;
mod json;
mod json_stream;
mod jsonl;
mod karpathy;
mod layout;
mod llava;
mod merge;
mod metadata;
mod open_quotes;
mod parquet;
mod picture_files;
mod picture_folder;
mod row_numbers;
mod table;
mod tokens;
mod webdataset;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::Serialize;

use self::folders::{Walk, walk};
use self::layout::{PARTS, Used, same_split};
use self::picture_files::{extension as extension_of, parent};
use super::captioned::Captioned;
use super::error::{DataError, Problem};
use super::record::{Encoded, Record};
use crate::atomic_file;
use crate::file_kind::{FileKind, START};

pub use layout::{Layout, Setting};
pub(super) use metadata::file_of as metadata_file;
pub(super) use picture_files::endings;
pub use picture_files::is_picture;
pub use picture_folder::{PictureFile, PictureFolder, pictures_in};

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
    /// Tar archive of WebDataset: a picture and its caption under one name.
    Webdataset => webdataset,
    /// Parquet table of pictures and captions, as the Hugging Face Hub keeps them.
    Parquet => parquet,
    /// ImageFolder of Hugging Face's `datasets`: `metadata.csv` or `metadata.jsonl` in a folder.
    Metadata => metadata,
    /// Folder of pictures, each with its caption in a text file beside it.
    Folder => folder,
    /// JSON Lines: an object with `image` and `caption` or `captions` on each line.
    Jsonl => jsonl,
    /// Karpathy's splits: `images` with `sentences` in one JSON object.
    Karpathy => karpathy,
    /// JSON list of objects with a picture and its caption or conversation, or an object that maps
    /// names to captions.
    Json => json,
    /// JSON list of conversations of LLaVA, written; it is read as [`Format::Json`].
    Llava => llava,
    /// COCO captions: `images` and `annotations` in one JSON object.
    Coco => coco,
    /// Token file of Flickr8k or Flickr30k: `name.jpg#0`, a tab and a caption on each line.
    Tokens => tokens,
    /// `captions.txt` of Flickr8k: file names and captions, several rows a picture.
    Flickr => flickr,
    /// CSV, TSV or another table with pictures or their names, and captions; any other text.
    Csv => csv,
}

impl Format {
    /// All formats that can be written.
    pub fn writable() -> impl Iterator<Item = Format> {
        let table = TABLE
            .iter()
            .filter(|(_, definition)| definition.write.is_some());
        table.map(|(format, _)| *format)
    }

    /// Name of the format that is written.
    pub fn name(self) -> &'static str {
        self.definition().name
    }

    /// Noun phrase for messages.
    pub fn description(self) -> &'static str {
        self.definition().description
    }

    /// Whether pictures are written into the file itself.
    pub fn embeds(self) -> bool {
        matches!(self, Format::Webdataset | Format::Parquet | Format::Csv)
    }

    fn definition(self) -> &'static Definition {
        let (_, definition) = TABLE
            .iter()
            .find(|(known, _)| *known == self)
            .expect("the table has every format");
        definition
    }
}

/// Implementation of a format.
struct Definition {
    /// Name of the format that `write` writes.
    name: &'static str,
    /// Noun phrase for messages, with an article where it needs one.
    description: &'static str,
    /// Recognizes the format; earlier formats in the table take precedence.
    detect: fn(&Input) -> bool,
    /// Reads captions and locates their pictures, without decoding them.
    read: fn(&Input, &Layout) -> Result<Rows, DataError>,
    /// Writes captions so that `read` returns them again; returns remarks on what is not.
    write: Option<Write>,
}

/// Writes records to a path.
type Write = fn(&Path, &[Record]) -> Result<Vec<String>, DataError>;

/// What lies at a path.
struct Input<'a> {
    path: &'a Path,
    /// File name extension in lower case, or an empty string; of a compressed file that of its
    /// content.
    extension: String,
    /// Kind of a file that is not text.
    kind: Option<FileKind>,
    content: Content<'a>,
}

/// Content of a file or folder.
enum Content<'a> {
    Folder(&'a Walk),
    /// Text without a byte order mark.
    Text(&'a [u8]),
    Binary(Binary<'a>),
}

/// Where the bytes of a file are.
#[derive(Clone, Copy)]
enum Binary<'a> {
    File(&'a Path),
    Memory(&'a [u8]),
}

impl<'a> Input<'a> {
    fn new(path: &'a Path, kind: Option<FileKind>, content: Content<'a>) -> Input<'a> {
        Input {
            path,
            extension: extension_inside(path),
            kind,
            content,
        }
    }

    /// Content of a text file; empty for others.
    fn text(&self) -> &'a [u8] {
        match self.content {
            Content::Text(text) => text,
            _ => &[],
        }
    }

    fn is_text(&self) -> bool {
        matches!(self.content, Content::Text(_))
    }

    /// Bytes of a file that is not text.
    fn binary(&self) -> Option<Binary<'a>> {
        match self.content {
            Content::Binary(binary) => Some(binary),
            _ => None,
        }
    }

    /// Files of a folder.
    fn walk(&self) -> Option<&'a Walk> {
        match self.content {
            Content::Folder(walk) => Some(walk),
            _ => None,
        }
    }

    /// Whether this is a file of JSON, by its extension or its first character.
    fn is_json(&self) -> bool {
        self.is_text()
            && (self.extension == "json" || self.text().trim_ascii_start().starts_with(b"{"))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// Returns the extension of a path in lower case, or an empty string.
fn extension(path: &Path) -> String {
    extension_of(path).unwrap_or_default()
}

/// Returns the extension that a file has, or once had before it was compressed.
fn extension_inside(path: &Path) -> String {
    match &extension(path)[..] {
        "gz" | "gzip" => extension(&path.with_extension("")),
        "tgz" => "tar".into(),
        other => other.into(),
    }
}

/// Content of a file.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Usable rows.
    pub records: Vec<Record>,
    /// Rows that cannot be used.
    pub problems: Vec<Problem>,
    /// Remarks on how the file was read.
    pub notes: Vec<String>,
    /// Settings that had a meaning.
    pub used: Used,
    /// Names of the parts that the file is divided into, of all its rows.
    pub parts: BTreeSet<String>,
}

impl Rows {
    fn extend(&mut self, other: Rows) {
        self.records.extend(other.records);
        self.problems.extend(other.problems);
        self.notes.extend(other.notes);
        self.used.extend(other.used);
        self.parts.extend(other.parts);
    }
}

/// Files of a folder that are listed; more than that is no data set.
const FILES: usize = 20_000_000;

/// Reads captions and locates their pictures, without decoding them.
pub(super) fn read(path: &Path, layout: &Layout) -> Result<(Format, Rows), DataError> {
    if path.is_dir() {
        return read_folder(path, layout);
    }
    let read_error = |error: io::Error| DataError::Read {
        path: path.display().to_string(),
        reason: error.to_string(),
    };
    let mut start = vec![];
    let mut file = File::open(path).map_err(read_error)?;
    // some devices never end
    if !file.metadata().map_err(read_error)?.is_file() {
        return Err(DataError::Read {
            path: path.display().to_string(),
            reason: "it is neither a file nor a folder".into(),
        });
    }
    (&mut file)
        .take(START as u64)
        .read_to_end(&mut start)
        .map_err(read_error)?;
    let kind = FileKind::of(&start);
    match kind {
        // read where they are, since they may be larger than memory
        Some(FileKind::Tar | FileKind::Parquet) => dispatch(
            &Input::new(path, kind, Content::Binary(Binary::File(path))),
            layout,
        ),
        _ => {
            file.read_to_end(&mut start).map_err(read_error)?;
            parse(path, start, layout)
        }
    }
}

/// Like [`read`] for the bytes of a file; `path` provides the extension, the name in messages and
/// the folder of the pictures.
fn parse(path: &Path, bytes: Vec<u8>, layout: &Layout) -> Result<(Format, Rows), DataError> {
    let kind = FileKind::of(&bytes[..bytes.len().min(START)]);
    match kind {
        Some(FileKind::Gzip) => {
            let bytes = decompressed(path, &bytes)?;
            if FileKind::of(&bytes[..bytes.len().min(START)]) == Some(FileKind::Gzip) {
                return Err(DataError::Format {
                    path: path.display().to_string(),
                    what: "is compressed twice: decompress it first".into(),
                });
            }
            parse(path, bytes, layout)
        }
        Some(FileKind::Tar | FileKind::Parquet) => {
            let content = Content::Binary(Binary::Memory(&bytes));
            dispatch(&Input::new(path, kind, content), layout)
        }
        Some(kind) => Err(DataError::Format {
            path: path.display().to_string(),
            what: format!("is {}: {}", kind.name(), kind.advice()),
        }),
        None if extension_inside(path) == "tar" => {
            let content = Content::Binary(Binary::Memory(&bytes));
            dispatch(&Input::new(path, kind, content), layout)
        }
        None => {
            let mut bytes = without_mark(path, bytes)?;
            if matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'[')) {
                bytes = json_stream::without_nan(bytes);
            }
            dispatch(&Input::new(path, kind, Content::Text(&bytes)), layout)
        }
    }
}

/// Largest content of a compressed file, in bytes.
const LARGEST: u64 = 8 << 30;

/// Decompresses a gzip file.
fn decompressed(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, DataError> {
    let mut content = vec![];
    let length = MultiGzDecoder::new(bytes)
        .take(LARGEST + 1)
        .read_to_end(&mut content)
        .map_err(|error| DataError::Read {
            path: path.display().to_string(),
            reason: format!("it cannot be decompressed: {error}"),
        })?;
    if length as u64 > LARGEST {
        return Err(DataError::Format {
            path: path.display().to_string(),
            what: format!("has more than {LARGEST} bytes when decompressed: decompress it first"),
        });
    }
    Ok(content)
}

fn dispatch(input: &Input, layout: &Layout) -> Result<(Format, Rows), DataError> {
    let (format, definition) = TABLE
        .iter()
        .find(|(_, definition)| (definition.detect)(input))
        .expect("CSV takes every text, Folder every folder, and other files are known by kind");
    Ok((*format, (definition.read)(input, layout)?))
}

/// Names of caption files in the folders of published data sets.
const CAPTION_FILES: [&str; 7] = [
    "captions.txt",
    "flickr8k.token.txt",
    "results.csv",
    "results_20130124.token",
    "flickr_annotations_30k.csv",
    "dataset_flickr8k.json",
    "dataset_flickr30k.json",
];

/// Reads a folder: the caption file of a published data set in it, shards, or its pictures.
fn read_folder(path: &Path, layout: &Layout) -> Result<(Format, Rows), DataError> {
    let read_error = |error: io::Error| DataError::Read {
        path: path.display().to_string(),
        reason: error.to_string(),
    };
    let walk = walk(path, layout.depth, FILES).map_err(read_error)?;
    if let Some(file) = caption_file(path, &walk, layout) {
        let (format, mut rows) = read(&file, layout)?;
        rows.notes.push(format!("captions of {}", file.display()));
        rows.used.insert(Setting::Depth);
        return Ok((format, rows));
    }
    if !walk.files.iter().any(|file| is_picture(file)) {
        let shards: Vec<&PathBuf> = walk.files.iter().filter(|file| is_shard(file)).collect();
        if !shards.is_empty() {
            return read_shards(&shards, layout);
        }
    }
    dispatch(&Input::new(path, None, Content::Folder(&walk)), layout)
}

/// Finds the caption file of a published data set among the files of a folder.
fn caption_file(folder: &Path, walk: &Walk, layout: &Layout) -> Option<PathBuf> {
    const LOOKED_AT: u64 = 1 << 16;
    let is_one = |file: &Path| {
        let mut start = vec![];
        let read = File::open(file).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut start));
        let Ok(bytes) = read
            .map_err(|_| ())
            .and_then(|_| without_mark(file, start).map_err(|_| ()))
        else {
            return false;
        };
        // a last line that is cut off counts as whole
        let input = Input::new(file, None, Content::Text(&bytes));
        let detects = |definition: &Definition| (definition.detect)(&input);
        detects(&flickr::DEFINITION)
            || detects(&tokens::DEFINITION)
            || detects(&karpathy::DEFINITION)
            || input.extension == "csv" && table::has_header(&input, layout)
    };
    CAPTION_FILES.iter().find_map(|name| {
        let mut files = walk.files.iter();
        let file = files.find(|file| {
            let own = file.file_name().unwrap_or_default().to_string_lossy();
            parent(file) == folder && own.to_lowercase() == *name
        })?;
        is_one(file).then(|| file.clone())
    })
}

/// Whether a file is a shard by its extension.
fn is_shard(file: &Path) -> bool {
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    [".tar", ".tar.gz", ".tgz", ".parquet"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// Reads the shards of a folder one after the other; the parts that their names begin with, as in
/// `train-00000-of-00002.parquet`, can be chosen.
fn read_shards(shards: &[&PathBuf], layout: &Layout) -> Result<(Format, Rows), DataError> {
    let split = |file: &Path| {
        let stem = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let first = stem
            .split(['-', '_', '.'])
            .next()
            .unwrap_or_default()
            .to_owned();
        PARTS
            .iter()
            .any(|known| same_split(known, &first))
            .then_some(first)
    };
    let chosen = |file: &Path| {
        split(file).is_some_and(|split| {
            layout
                .splits
                .iter()
                .any(|wanted| same_split(wanted, &split))
        })
    };
    let by_name = shards.iter().any(|file| chosen(file));
    let inner = Layout {
        splits: if by_name {
            vec![]
        } else {
            layout.splits.clone()
        },
        ..layout.clone()
    };
    let (mut rows, mut format, mut count) = (Rows::default(), None, 0);
    for file in shards.iter().filter(|file| !by_name || chosen(file)) {
        let (found, more) = read(file, &inner)?;
        format.get_or_insert(found);
        rows.extend(more);
        count += 1;
    }
    rows.notes
        .push(format!("{count} of {} shards", shards.len()));
    rows.used.insert(Setting::Depth);
    rows.parts
        .extend(shards.iter().filter_map(|file| split(file)));
    if by_name {
        rows.used.insert(Setting::Splits);
    }
    Ok((format.unwrap_or(Format::Webdataset), rows))
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
/// Content that looks like UTF-16, or like no text.
fn without_mark(path: &Path, mut bytes: Vec<u8>) -> Result<Vec<u8>, DataError> {
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(..3);
    }
    let start = &bytes[..bytes.len().min(64)];
    let zeros = start.iter().filter(|byte| **byte == 0).count();
    let marked = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let what = match zeros {
        _ if marked => "is not UTF-8 text, but perhaps UTF-16: save it as UTF-8",
        0 => return Ok(bytes),
        // every other byte of Latin letters
        zeros if 3 * zeros >= start.len() && start.iter().any(u8::is_ascii_alphanumeric) => {
            "is not UTF-8 text, but perhaps UTF-16: save it as UTF-8"
        }
        _ => "is not text and of no known kind",
    };
    Err(DataError::Format {
        path: path.display().to_string(),
        what: what.into(),
    })
}

/// Returns the names under which a file at `path` refers to pictures: relative to its folder for
/// pictures inside it, else the whole path; with slashes on every system.
fn picture_names(path: &Path, records: &[Record]) -> Result<Vec<String>, DataError> {
    let folder = parent(path);
    let name = |record: &Record| {
        let Encoded::File(picture) = &record.image else {
            return Err(embedded(record));
        };
        // the folder of a file in the current folder is empty
        let absolute = |path: &Path| {
            let path = if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            };
            std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
        };
        let inside = picture.strip_prefix(&folder).ok().map(Path::to_owned);
        // one of them may be given from the root, the other from the current folder
        let inside = inside.or_else(|| {
            let picture = absolute(picture);
            Some(picture.strip_prefix(absolute(&folder)).ok()?.to_owned())
        });
        let outside = || match picture.is_absolute() == folder.is_absolute() {
            true => picture.clone(),
            // a path of the current folder means nothing elsewhere
            false => absolute(picture),
        };
        let name = inside.unwrap_or_else(outside);
        name.to_str()
            .map(|name| name.replace(std::path::MAIN_SEPARATOR, "/"))
            .ok_or_else(|| DataError::NotUtf8 {
                path: picture.display().to_string(),
            })
    };
    records.iter().map(name).collect()
}

/// The error of a format that names pictures, for a picture that is no file.
fn embedded(record: &Record) -> DataError {
    DataError::Strict(Problem::new(
        &record.place,
        "the picture is embedded in its file and has to be written to a file of its own first",
    ))
}

/// Whether the name of a picture can be that of a file here.
pub(super) fn is_plain(name: &str) -> bool {
    is_picture(Path::new(name))
        && !name.starts_with('.')
        && !name.contains(|c: char| c.is_control() || "/\\:*?\"<>|".contains(c))
}

/// Whether a path ends as caption files do.
pub(super) fn is_sidecar_ending(path: &Path) -> bool {
    folder::ENDINGS.contains(&&extension(path)[..])
}

/// The ending of caption files that a path asks for.
pub(super) fn sidecar_ending(path: &Path) -> &'static str {
    folder::ending(path)
}

/// Reads the picture of a record.
fn contents(record: &Record) -> Result<Vec<u8>, DataError> {
    match &record.image {
        Encoded::File(path) => read_file(path),
        _ => record.bytes().map_err(DataError::Strict),
    }
}

/// The extension of a picture by its content.
pub(super) fn ending_of(picture: &[u8]) -> &'static str {
    match ::image::guess_format(picture) {
        Ok(::image::ImageFormat::Jpeg) => "jpg",
        Ok(format) => format.extensions_str().first().copied().unwrap_or("png"),
        Err(_) => "png",
    }
}

/// The remark of formats that have no place for concepts.
fn without_concepts(records: &[Record]) -> Vec<String> {
    match records
        .iter()
        .filter(|record| record.concept.is_some())
        .count()
    {
        0 => vec![],
        count => vec![format!(
            "{count} concepts are not kept: the format has none"
        )],
    }
}

/// Writes a whole file.
fn save(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    atomic_file::write(path, bytes).map_err(|reason| DataError::Write {
        path: path.display().to_string(),
        reason,
    })
}

/// Writes records so that [`read`] returns them again; returns remarks on what it does not.
pub(super) fn write(
    path: &Path,
    format: Format,
    records: &[Record],
) -> Result<Vec<String>, DataError> {
    let write = format.definition().write.ok_or_else(|| DataError::Format {
        path: path.display().to_string(),
        what: format!("cannot be written: {} are read only", format.description()),
    })?;
    write(path, records)
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
    /// [`Format::embeds`] tells which formats embed the pictures; [`Format::Folder`] writes a
    /// [`sidecar`](Captioned::sidecar) for each picture and no file `path`.
    ///
    /// # Errors
    /// A picture that cannot be read, a name that is not UTF-8, or a file that cannot be written.
    pub fn write(path: &Path, format: Format, rows: &[Captioned]) -> Result<(), DataError> {
        let records: Vec<Record> = rows.iter().map(Record::from).collect();
        write(path, format, &records).map(drop)
    }
}

/// Keeps the rows whose picture is a file.
fn picture_files_of(rows: Rows) -> (Vec<Captioned>, Vec<Problem>) {
    let mut problems = rows.problems;
    let mut captioned = vec![];
    for record in rows.records {
        match record.image {
            Encoded::File(picture) => captioned.push(Captioned {
                picture,
                caption: record.caption,
            }),
            _ => problems.push(Problem::new(
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
    use super::super::testing::{gzip, png, written};
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
            image_column: Some("image".into()),
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
            rows
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

    #[test]
    fn compressed_files_and_folders_of_data_sets_are_read() {
        let (dir, rows) = pictures();
        let path = dir.path().join("all.csv");
        Captioned::write(&path, Format::Flickr, &rows).unwrap();
        let packed = dir.path().join("all.csv.gz");
        std::fs::write(&packed, gzip(&std::fs::read(&path).unwrap())).unwrap();
        let (read_rows, problems) = Captioned::read(&packed, &Layout::default()).unwrap();
        assert_eq!((read_rows, problems), (rows.clone(), vec![]));
        std::fs::rename(&path, dir.path().join("captions.txt")).unwrap();
        assert_eq!(
            read(dir.path(), &Layout::default()).unwrap().0,
            Format::Flickr
        );
        assert_eq!(
            Captioned::read(dir.path(), &Layout::default()).unwrap().0,
            rows
        );
    }

    #[test]
    fn folders_of_shards_are_read() {
        let (_dir, rows) = pictures();
        let shards = tempfile::tempdir().unwrap();
        Captioned::write(
            &shards.path().join("train-0.tar"),
            Format::Webdataset,
            &rows[..2],
        )
        .unwrap();
        Captioned::write(
            &shards.path().join("test-0.tar"),
            Format::Webdataset,
            &rows[2..],
        )
        .unwrap();
        let count = |splits: &[&str]| {
            let layout = Layout {
                splits: splits.iter().map(|split| split.to_string()).collect(),
                ..Layout::default()
            };
            let loaded = Dataset::load(shards.path(), 4, &layout, true, &Silent);
            loaded.map(|loaded| loaded.dataset.samples.len())
        };
        assert_eq!(
            (
                count(&[]).unwrap(),
                count(&["train"]).unwrap(),
                count(&["test"]).unwrap()
            ),
            (3, 2, 1)
        );
        let error = count(&["val"]).unwrap_err().to_string();
        assert!(
            error.contains("part of the data set does not apply"),
            "{error}"
        );
    }

    #[test]
    fn compressed_files_keep_their_name() {
        let mut shard = tar::Builder::new(vec![]);
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        header.set_mode(0o600);
        shard.append_data(&mut header, "a.png", &b"x"[..]).unwrap();
        let shard = shard.into_inner().unwrap();
        for (name, bytes) in [
            ("00000.tar.gz", &shard[..]),
            ("00000.tgz", &shard),
            ("shard", &shard),
            (
                "lines.jsonl.gz",
                b"{\"image\": \"lost.png\", \"caption\": \"x\"}\n",
            ),
            (
                "list.json.gz",
                b"[{\"image\": \"lost.png\", \"caption\": \"x\"}]",
            ),
            ("table.TSV.GZ", b"image\tcaption\nlost.png\tx\n"),
        ] {
            let (_dir, path) = written(name, gzip(bytes));
            let (_, rows) = read(&path, &Layout::default()).unwrap();
            let [problem] = &rows.problems[..] else {
                panic!("{name}: {:?}", rows.problems)
            };
            assert!(
                problem.place.starts_with(&path.display().to_string()),
                "{problem}"
            );
        }
        let (_dir, path) = written("broken.json.gz", gzip(b"[{\"image\": "));
        let error = read(&path, &Layout::default()).unwrap_err().to_string();
        assert!(error.contains("broken.json.gz"), "{error}");
    }

    #[test]
    fn other_files_are_called_what_they_are() {
        let cases: [(&str, &[u8], &str); 9] = [
            (
                "a.csv",
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
                "Git LFS pointer",
            ),
            ("a.zip", b"PK\x03\x04\0\0", "zip archive"),
            ("a.jsonl.zst", b"\x28\xb5\x2f\xfd\0", "Zstandard"),
            ("a.pkl", b"\x80\x04\x95\x1f\0\0\0\0\0\0\0}", "pickle"),
            (
                "a.png",
                b"\x89PNG\r\n\x1a\n",
                "PNG picture: give the folder",
            ),
            ("a.json", b"<!DOCTYPE html><html>", "HTML page"),
            ("a.gz", b"\x1f\x8b\x08\0\0", "cannot be decompressed"),
            ("a.bin", b"\x01\x02\0\x04abcdefgh", "no known kind"),
            ("a.csv", b"i\0m\0a\0g\0e\0", "UTF-16"),
        ];
        for (name, bytes, wanted) in cases {
            let (_dir, path) = written(name, bytes);
            let error = read(&path, &Layout::default()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(wanted), "{error}");
        }
    }
}
