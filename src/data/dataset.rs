//! Pictures with captions: read from a CSV file or a folder, decoded once.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use indicatif::{ParallelProgressIterator, ProgressBar};
use rayon::prelude::*;

use super::batches::permutation;
use super::picture::{Picture, normalise};

/// One picture, at the model's size, with its caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Where it comes from: `file.csv row 7`, as a spreadsheet counts (the header is row 1), with `(line 9)` after it where the
    /// file's lines count otherwise; or a path.
    pub id: String,
    /// `[side, side, 3]`
    pub rgb: Vec<u8>,
    /// What training and exact match take for the truth.
    pub caption: String,
    /// More captions of the same picture, for evaluation.
    pub others: Vec<String>,
    /// What the picture shows whatever its variant, where the data tell: the class of the class loss.
    pub concept: Option<String>,
    /// Whether other pictures of the data set show variants of the same concept: see [`Dataset::mark_variants`].
    pub varies: bool,
}

impl Sample {
    /// A sample with one caption and no concept.
    pub fn new(id: impl Into<String>, rgb: Vec<u8>, caption: impl Into<String>) -> Sample {
        Sample { id: id.into(), rgb, caption: caption.into(), others: vec![], concept: None, varies: false }
    }

    /// The model's input `[3, side, side]`.
    pub fn normalised(&self) -> Vec<f32> {
        normalise(&self.rgb)
    }
}

/// Samples of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Width and height of every picture, in pixels.
    pub side: usize,
    pub samples: Vec<Sample>,
}

/// The names of a CSV file's columns.
#[derive(Debug, Clone)]
pub struct Columns {
    /// Pictures as base64.
    pub image: String,
    pub caption: String,
}

impl Default for Columns {
    /// Those of the original seemore's `inputs.csv`.
    fn default() -> Columns {
        Columns { image: "b64string_images".into(), caption: "caption".into() }
    }
}

/// A row or file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: `file.csv row 7, column caption`, counted as in [`Sample::id`], or a path.
    pub place: String,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// What was read, and what had to be left out.
#[derive(Debug)]
pub struct Loaded {
    pub dataset: Dataset,
    pub problems: Vec<Problem>,
}

/// Why nothing can be read. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("cannot read {path}: {reason}")]
    Read { path: String, reason: String },
    #[error("{path} {what}")]
    Format { path: String, what: String },
    #[error("{path} has no column `{column}`; it has {have}. Name the columns with --image-column and --caption-column")]
    NoColumn { path: String, column: String, have: String },
    #[error("{0} (fatal because of --strict)")]
    Strict(Problem),
    #[error(
        "{path} holds no usable picture with a caption{first}. It must be a CSV file with base64 pictures and captions, or a folder of pictures with .txt captions beside them"
    )]
    Empty { path: String, first: String },
}

/// A caption and the undecoded picture, before the costly part.
struct Raw {
    id: String,
    source: Source,
    caption: String,
}

enum Source {
    /// Base64 text, and the place to name when it is wrong.
    Base64(String, String),
    File(PathBuf),
}

impl Dataset {
    /// Reads a CSV file, or a folder of pictures (not its subfolders) that have their caption in a `.txt` file of the same
    /// stem, its ending in any case. Pictures are decoded in parallel, stretched to `side`, and kept; `progress` counts them. What cannot be used is
    /// left out and listed, or, when `strict`, an error.
    pub fn load(path: &Path, side: usize, columns: &Columns, strict: bool, progress: &ProgressBar) -> Result<Loaded, DataError> {
        let (raws, mut problems) = if path.is_dir() { folder(path)? } else { csv(path, columns)? };
        if let (true, Some(problem)) = (strict, problems.first()) {
            return Err(DataError::Strict(problem.clone()));
        }
        progress.set_length(raws.len() as u64);
        let decoded: Vec<Result<Sample, Problem>> =
            raws.into_par_iter().progress_with(progress.clone()).map(|raw| raw.decode(side)).collect();
        let mut samples = vec![];
        for result in decoded {
            match result {
                Ok(sample) => samples.push(sample),
                Err(problem) if strict => return Err(DataError::Strict(problem)),
                Err(problem) => problems.push(problem),
            }
        }
        if samples.is_empty() {
            let first = problems.first().map(|problem| format!(" ({problem})")).unwrap_or_default();
            return Err(DataError::Empty { path: path.display().to_string(), first });
        }
        Ok(Loaded { dataset: Dataset { side, samples }, problems })
    }

    /// A number that tells this data set from others: FNV-1a over all pictures and captions, eight bytes at a time.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut add = |bytes: &[u8]| {
            for chunk in bytes.chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            hash = (hash ^ bytes.len() as u64).wrapping_mul(0x0000_0100_0000_01b3);
        };
        for sample in &self.samples {
            add(&sample.rgb);
            add(sample.caption.as_bytes());
        }
        hash
    }

    /// Marks the samples whose concept has variants here: samples whose caption is not their concept.
    pub fn mark_variants(&mut self) {
        let varied = |sample: &Sample| sample.concept.clone().filter(|concept| *concept != sample.caption);
        let concepts: BTreeSet<String> = self.samples.iter().filter_map(varied).collect();
        for sample in &mut self.samples {
            sample.varies = sample.concept.as_ref().is_some_and(|concept| concepts.contains(concept));
        }
    }

    /// Takes a share of the distinct pictures out for validation. Equal pictures stay together, so none is on both sides; with
    /// a share above 0 and two distinct pictures, each side gets at least one. Returns training and validation samples.
    pub fn split(self, share: f64, seed: u64) -> (Dataset, Dataset) {
        let mut groups: BTreeMap<&[u8], usize> = BTreeMap::new();
        let mut group_of = vec![];
        for sample in &self.samples {
            let next = groups.len();
            group_of.push(*groups.entry(&sample.rgb).or_insert(next));
        }
        let distinct = groups.len();
        let taken = ((share * distinct as f64).round() as usize).max((share > 0.0) as usize).min(distinct.saturating_sub(1));
        let mut validates = vec![false; distinct];
        for &group in &permutation(distinct, seed, u64::MAX)[..taken] {
            validates[group] = true;
        }
        let side = self.side;
        let (mut train, mut validation) = (vec![], vec![]);
        for (sample, group) in self.samples.into_iter().zip(group_of) {
            if validates[group] { validation.push(sample) } else { train.push(sample) }
        }
        (Dataset { side, samples: train }, Dataset { side, samples: validation })
    }

    /// Leaves out the samples whose picture, pixel for pixel, is also in `other`, whatever their caption; returns how many
    /// those were. So pictures to validate on are never trained on.
    pub fn without(mut self, other: &Dataset) -> (Dataset, usize) {
        let pictures: BTreeSet<&[u8]> = other.samples.iter().map(|sample| sample.rgb.as_slice()).collect();
        let before = self.samples.len();
        self.samples.retain(|sample| !pictures.contains(sample.rgb.as_slice()));
        let dropped = before - self.samples.len();
        (self, dropped)
    }

    /// Leaves out the samples whose caption takes more than `most` positions, as `length` counts them, and lists them.
    pub fn without_long_captions(self, most: usize, length: impl Fn(&str) -> usize) -> (Dataset, Vec<Problem>) {
        let (mut samples, mut problems) = (vec![], vec![]);
        for sample in self.samples {
            match length(&sample.caption) {
                positions if positions > most => {
                    let what = format!("its caption takes {positions} positions and the model has room for {most}: use a shorter one");
                    problems.push(Problem { place: sample.id, what });
                }
                _ => samples.push(sample),
            }
        }
        (Dataset { side: self.side, samples }, problems)
    }
}

/// Base64 as it is found in files: with a data URL's head (browsers), with line breaks (PEM), as `b'..'` (Python's str of
/// bytes), in the alphabet of URLs, with padding or without.
fn base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    const LENIENT: GeneralPurpose =
        GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
    let quoted = |quote: char| text.strip_prefix('b')?.strip_prefix(quote)?.strip_suffix(quote);
    let text = match quoted('\'').or_else(|| quoted('"')) {
        Some(inner) => inner.replace("\\n", ""),
        None => text.to_owned(),
    };
    let text = text.split_once("base64,").map_or(text.as_str(), |(_, rest)| rest);
    let standard = |character| match character {
        '-' => '+',
        '_' => '/',
        other => other,
    };
    LENIENT.decode(text.chars().filter(|character| !character.is_whitespace()).map(standard).collect::<String>())
}

impl Raw {
    fn decode(self, side: usize) -> Result<Sample, Problem> {
        let (place, picture) = match self.source {
            Source::Base64(text, place) => match base64(&text) {
                Ok(bytes) => (place, Picture::decode(&bytes)),
                Err(error) => return Err(Problem { place, what: format!("it is not base64: {error}") }),
            },
            Source::File(path) => {
                let place = path.display().to_string();
                match std::fs::read(&path) {
                    Ok(bytes) => (place, Picture::decode(&bytes)),
                    Err(error) => return Err(Problem { place, what: format!("it cannot be read: {error}") }),
                }
            }
        };
        match picture {
            Ok(picture) => Ok(Sample::new(self.id, picture.resize(side).rgb, self.caption)),
            Err(error) => Err(Problem { place, what: error.to_string() }),
        }
    }
}

type Rows = (Vec<Raw>, Vec<Problem>);

fn csv(path: &Path, columns: &Columns) -> Result<Rows, DataError> {
    let name = path.display().to_string();
    let read_error = |error: csv::Error| DataError::Read { path: name.clone(), reason: error.to_string() };
    let format_error = |what: String| DataError::Format { path: name.clone(), what };
    let bytes = std::fs::read(path).map_err(|error| DataError::Read { path: name.clone(), reason: error.to_string() })?;
    let body = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(format_error(format!("is empty: its first line must be the header `{},{}`", columns.image, columns.caption)));
    }
    if body.starts_with(&[0xff, 0xfe]) || body.starts_with(&[0xfe, 0xff]) || body[..body.len().min(64)].contains(&0) {
        return Err(format_error("is not UTF-8 text, but perhaps UTF-16: save it as UTF-8".into()));
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(body);
    let headers = reader.byte_headers().map_err(read_error)?.clone();
    let mut places = Places::new(body);
    places.next(&headers);
    let headers: Vec<String> = headers.iter().map(|header| String::from_utf8_lossy(header).trim().to_owned()).collect();
    let column = |wanted: &str| {
        if let Some(index) = headers.iter().position(|header| header == wanted) {
            return Ok(index);
        }
        for (separator, shown) in [(';', ";"), ('\t', "tab")] {
            if headers.iter().any(|header| header.contains(separator)) {
                return Err(format_error(format!("has columns that seem to be separated by `{shown}`: save it with commas")));
            }
        }
        Err(DataError::NoColumn {
            path: name.clone(),
            column: wanted.to_owned(),
            have: headers.iter().map(|header| format!("`{}`", header.chars().take(40).collect::<String>())).collect::<Vec<_>>().join(", "),
        })
    };
    let (image, caption) = (column(&columns.image)?, column(&columns.caption)?);

    let (mut raws, mut problems) = (vec![], vec![]);
    for record in reader.byte_records() {
        let record = record.map_err(read_error)?;
        let id = match places.next(&record) {
            (row, line) if row == line => format!("{name} row {row}"),
            (row, line) => format!("{name} row {row} (line {line})"),
        };
        let place = |column: &str| format!("{id}, column {column}");
        if record.len() > headers.len() {
            let what = format!("it has {} of {} columns: put a caption with commas in quotes", record.len(), headers.len());
            problems.push(Problem { place: id, what });
            continue;
        }
        let mut field = |index: usize, column: &str| match record.get(index).map(std::str::from_utf8) {
            Some(Ok(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            Some(Ok(_)) => {
                problems.push(Problem { place: place(column), what: "it is empty".into() });
                None
            }
            Some(Err(_)) => {
                problems.push(Problem { place: place(column), what: "it is not UTF-8 text: save the file as UTF-8".into() });
                None
            }
            None => {
                let what = format!("it is missing: the row has {} of {} columns", record.len(), headers.len());
                problems.push(Problem { place: place(column), what });
                None
            }
        };
        let text = field(caption, &columns.caption);
        let data = field(image, &columns.image);
        if let (Some(caption), Some(data)) = (text, data) {
            let source = Source::Base64(data, place(&columns.image));
            raws.push(Raw { id, source, caption });
        }
    }
    Ok((raws, problems))
}

/// Counts rows and lines of a CSV file. The reader skips blank lines, which spreadsheets and editors count.
struct Places<'a> {
    bytes: &'a [u8],
    /// All before it has been counted.
    at: usize,
    row: usize,
    line: usize,
}

impl Places<'_> {
    fn new(bytes: &[u8]) -> Places<'_> {
        Places { bytes, at: 0, row: 0, line: 1 }
    }

    /// Line breaks from where the last count ended.
    fn breaks(&mut self, to: usize) -> usize {
        let ends_line = |i: &usize| match self.bytes[*i] {
            b'\n' => true,
            b'\r' => self.bytes.get(i + 1) != Some(&b'\n'),
            _ => false,
        };
        let count = (self.at..to).filter(ends_line).count();
        self.at = to;
        count
    }

    /// The row and the line, both from 1, where the next record starts.
    fn next(&mut self, record: &csv::ByteRecord) -> (usize, usize) {
        // the reader's position is where the record before ended, or between the two bytes of that line's end
        let mut end = record.position().map_or(0, |position| position.byte() as usize);
        if end > 0 && self.bytes[end - 1] == b'\r' && self.bytes.get(end) == Some(&b'\n') {
            end += 1;
        }
        let blank = self.bytes[end..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.line += self.breaks(end);
        let blank = self.breaks(end + blank);
        self.line += blank;
        self.row += blank + 1;
        (self.row, self.line)
    }
}

/// Endings of files that are taken for pictures.
const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

fn folder(path: &Path) -> Result<Rows, DataError> {
    let read_error = |error: std::io::Error| DataError::Read { path: path.display().to_string(), reason: error.to_string() };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(path).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect()).map_err(read_error)?;
    files.sort();
    let is_picture = |path: &Path| {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
    };
    let (mut raws, mut problems) = (vec![], vec![]);
    let is_text = |path: &&PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("txt"));
    let texts: BTreeMap<OsString, PathBuf> =
        files.iter().filter(is_text).filter_map(|text| Some((text.file_stem()?.to_owned(), text.clone()))).collect();
    let stems: BTreeSet<OsString> =
        files.iter().filter(|file| is_picture(file)).filter_map(|file| Some(file.file_stem()?.to_owned())).collect();
    for (_, text) in texts.iter().filter(|(stem, _)| !stems.contains(*stem)) {
        problems.push(Problem { place: text.display().to_string(), what: "there is no picture beside it".into() });
    }
    for picture in files.into_iter().filter(|file| is_picture(file)) {
        let known = picture.file_stem().and_then(|stem| texts.get(stem));
        let sidecar = known.cloned().unwrap_or_else(|| picture.with_extension("txt"));
        let (place, what) = match std::fs::read_to_string(&sidecar) {
            Ok(caption) if !caption.trim().is_empty() => {
                let caption = caption.trim_start_matches('\u{feff}').trim().to_owned();
                raws.push(Raw { id: picture.display().to_string(), source: Source::File(picture), caption });
                continue;
            }
            Ok(_) => (sidecar, "the caption is empty".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let name = sidecar.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (picture, format!("it has no caption: write one into {name} beside it"))
            }
            Err(error) => (sidecar, format!("the caption cannot be read: {error}")),
        };
        problems.push(Problem { place: place.display().to_string(), what });
    }
    Ok((raws, problems))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, Rgb, RgbImage};

    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    fn png(shade: u8) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        RgbImage::from_pixel(6, 4, Rgb([shade, 0, 0])).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn load(path: &Path, strict: bool) -> Result<Loaded, DataError> {
        Dataset::load(path, 4, &Columns::default(), strict, &ProgressBar::hidden())
    }

    fn written(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("inputs.csv");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_csv_in_the_originals_format_is_read_in_order() {
        let b64 = |shade| STANDARD.encode(png(shade));
        let wrapped = format!("data:image/png;base64,{}", b64(30));
        let text = format!("\u{feff}b64string_images,caption\n{},red\n\"{wrapped}\n\",\"dark, red\"\n", b64(250));
        let (_dir, path) = written(text.as_bytes());
        let Loaded { dataset, problems } = load(&path, true).unwrap();
        assert!(problems.is_empty());
        let captions: Vec<_> = dataset.samples.iter().map(|sample| sample.caption.as_str()).collect();
        assert_eq!(captions, ["red", "dark, red"]);
        assert_eq!(dataset.samples[0].rgb[..3], [250, 0, 0]);
        assert_eq!(dataset.samples[1].rgb.len(), 4 * 4 * 3);
        assert!(dataset.samples[1].id.ends_with("inputs.csv row 3"), "{}", dataset.samples[1].id);
    }

    #[test]
    fn bad_rows_are_named_by_row_and_column_and_the_rest_is_used() {
        let good = STANDARD.encode(png(9));
        let mut text = format!("caption,b64string_images\nfine,{good}\nbroken,@@@\nno picture,{}\n", STANDARD.encode("words")).into_bytes();
        text.extend(format!("  ,{good}\nshort\n\"\",\n").as_bytes());
        text.extend(b"bad \xff text,");
        text.extend(format!("{good}\n").as_bytes());
        let (_dir, path) = written(&text);
        let Loaded { dataset, problems } = load(&path, false).unwrap();
        assert_eq!(dataset.samples.len(), 1);
        let list: Vec<String> = problems.iter().map(Problem::to_string).collect();
        let all = list.join("\n");
        for wanted in [
            "row 3, column b64string_images: it is not base64",
            "row 4, column b64string_images: it is not a picture",
            "row 5, column caption: it is empty",
            "row 6, column b64string_images: it is missing",
            "row 7, column caption: it is empty",
            "row 7, column b64string_images: it is empty",
            "row 8, column caption: it is not UTF-8",
        ] {
            assert!(all.contains(wanted), "no `{wanted}` in\n{all}");
        }
        assert_eq!(list.len(), 7);
        assert!(matches!(load(&path, true), Err(DataError::Strict(_))));
    }

    #[test]
    fn a_caption_with_a_bare_comma_is_not_cut() {
        let good = STANDARD.encode(png(9));
        let (_dir, path) = written(format!("b64string_images,caption\n{good},a red, round apple\n{good},fine\n").as_bytes());
        let Loaded { dataset, problems } = load(&path, false).unwrap();
        assert_eq!((dataset.samples.len(), problems.len()), (1, 1));
        let text = problems[0].to_string();
        assert!(text.ends_with("row 2: it has 3 of 2 columns: put a caption with commas in quotes"), "{text}");
    }

    #[test]
    fn rows_are_a_spreadsheets_and_lines_an_editors() {
        let good = STANDARD.encode(png(9));
        for end in ["\n", "\r\n", "\r"] {
            let rows = ["", "b64string_images,caption", "", "", "@,a", "@,\"b\n\nb\"", "@,c", "", "@,d", &format!("{good},e")];
            let (_dir, path) = written(rows.join(end).replace("\n\n", &end.repeat(2)).as_bytes());
            let Loaded { dataset, problems } = load(&path, false).unwrap();
            let places: Vec<_> = problems.iter().map(|problem| problem.place.rsplit('/').next().unwrap().to_owned()).collect();
            let wanted = ["row 5", "row 6", "row 7 (line 9)", "row 9 (line 11)"];
            let wanted = wanted.map(|place| format!("inputs.csv {place}, column b64string_images"));
            assert_eq!(places, wanted, "{end:?}");
            assert!(dataset.samples[0].id.ends_with("row 10 (line 12)"), "{}", dataset.samples[0].id);
        }
    }

    #[test]
    fn base64_is_taken_as_it_is_found() {
        let bytes: Vec<u8> = (0..=255).chain([0; 2]).collect();
        let standard = STANDARD.encode(&bytes);
        let encodebytes = format!("b'{}\\n{}\\n'", &standard[..76], &standard[76..]);
        let ways = [format!("b'{standard}'"), format!("b\"{standard}\""), encodebytes, URL_SAFE_NO_PAD.encode(&bytes), standard];
        for text in ways {
            assert_eq!(base64(&text).as_ref(), Ok(&bytes), "{text}");
        }
        assert!(base64("@@@").is_err());
    }

    #[test]
    fn unreadable_headers_say_what_to_save_instead() {
        let utf16: Vec<u8> = "\u{feff}b64string_images,caption\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: [(&[u8], &str); 6] = [
            (b"", "is empty"),
            (b"\n\n", "is empty"),
            (b"b64string_images;caption\nx;y\n", "separated by `;`: save it with commas"),
            (b"b64string_images\tcaption\nx\ty\n", "separated by `tab`: save it with commas"),
            (&utf16, "save it as UTF-8"),
            (&utf16[2..], "save it as UTF-8"),
        ];
        for (bytes, wanted) in cases {
            let (_dir, path) = written(bytes);
            let error = load(&path, false).unwrap_err().to_string();
            assert!(error.contains("inputs.csv") && error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn missing_files_and_columns_say_what_to_do() {
        assert!(load(Path::new("absent.csv"), false).unwrap_err().to_string().contains("absent.csv"));
        let (_dir, path) = written(b"image,text\nx,y\n");
        let error = load(&path, false).unwrap_err().to_string();
        assert!(error.contains("`image`, `text`") && error.contains("--image-column"), "{error}");
        let (_dir, path) = written(b"b64string_images,caption\n");
        assert!(matches!(load(&path, false), Err(DataError::Empty { .. })));
    }

    #[test]
    fn a_folder_takes_captions_from_beside_the_pictures() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        file("b.png", &png(2));
        file("b.txt", b" second \n");
        file("a.PNG", &png(1));
        file("a.TXT", b"first");
        file("c.png", &png(3));
        file("d.jpg", b"no picture");
        file("d.txt", b"broken");
        file("notes.md", b"not a picture");
        file("lost.txt", b"a caption of nothing");
        let Loaded { dataset, problems } = load(dir.path(), false).unwrap();
        let captions: Vec<_> = dataset.samples.iter().map(|sample| sample.caption.as_str()).collect();
        assert_eq!(captions, ["first", "second"]);
        let text = problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n");
        assert!(problems.len() == 3 && text.contains("c.txt") && text.contains("d.jpg"), "{text}");
        assert!(text.contains("lost.txt: there is no picture beside it"), "{text}");
    }

    #[test]
    fn pictures_of_another_data_set_are_left_out() {
        let sample = |shade: u8, caption: &str| Sample::new(caption, vec![shade; 48], caption);
        let all = Dataset { side: 4, samples: vec![sample(1, "a"), sample(2, "b"), sample(1, "c"), sample(3, "d")] };
        let other = Dataset { side: 4, samples: vec![sample(1, "another caption"), sample(9, "b")] };
        let (left, dropped) = all.clone().without(&other);
        assert_eq!((left.samples, dropped), (vec![sample(2, "b"), sample(3, "d")], 2));
        assert_eq!(all.clone().without(&Dataset { side: 4, samples: vec![] }), (all, 0));
    }

    #[test]
    fn captions_without_room_are_left_out_and_named() {
        let sample = |caption: &str| Sample::new(format!("{caption}.png"), vec![0; 48], caption);
        let all = Dataset { side: 4, samples: vec![sample("four"), sample("five5"), sample("été!")] };
        let (left, problems) = all.without_long_captions(5, |caption| caption.chars().count() + 1);
        assert_eq!(left.samples, [sample("four"), sample("été!")]);
        let list: Vec<_> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(list, ["five5.png: its caption takes 6 positions and the model has room for 5: use a shorter one"]);
    }

    #[test]
    fn equal_pictures_are_never_on_both_sides_of_a_split() {
        let sample = |i: usize| Sample::new(i.to_string(), vec![(i % 20) as u8; 48], i.to_string());
        let all = Dataset { side: 4, samples: (0..60).map(sample).collect() };
        let (train, validation) = all.clone().split(0.1, 7);
        assert_eq!(validation.samples.len(), 6);
        assert_eq!(train.samples.len(), 54);
        assert!(validation.samples.iter().all(|v| train.samples.iter().all(|t| t.rgb != v.rgb)));
        assert_eq!(all.clone().split(0.1, 7).1, validation);
        assert_ne!(all.clone().split(0.1, 8).1, validation);
        assert_eq!(all.clone().split(0.0, 7).1.samples.len(), 0);
        let two = Dataset { side: 4, samples: (0..2).map(sample).collect() };
        assert_eq!(two.split(0.01, 7).1.samples.len(), 1);
        let one = Dataset { side: 4, samples: vec![sample(0)] };
        assert_eq!(one.split(0.5, 7).1.samples.len(), 0);
    }
}
