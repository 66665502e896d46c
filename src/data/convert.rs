//! Conversion of captions from one format to another.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::captioned::Captioned;
use super::error::{DataError, Problem};
use super::formats::{self, Format};
use super::listing::Listing;
use super::record::{Encoded, Record};
use crate::atomic_file;
use crate::progress::Progress;

/// Result of a conversion.
#[derive(Debug)]
pub struct Converted {
    /// Number of pictures.
    pub pictures: usize,
    /// Number of captions.
    pub captions: usize,
    /// Rows that were left out.
    pub problems: Vec<Problem>,
    /// Remarks on what was read and on what the format does not hold.
    pub notes: Vec<String>,
}

impl Listing {
    /// Writes all captions in one format to `out`. Pictures that are embedded in their files are
    /// written into the folder `pictures` if the format names pictures; `progress` counts them. Of
    /// [`Format::Folder`], `out` is the folder: pictures from elsewhere are copied into it. An
    /// `out` that ends as caption files do, such as `.caption`, stands for that ending beside every
    /// picture.
    ///
    /// # Errors
    /// No usable row; a file that exists, unless it may be replaced; a file that cannot be written;
    /// if `strict`, any row that cannot be used.
    pub fn convert(
        self,
        out: &Path,
        format: Format,
        pictures: &Path,
        overwrite: bool,
        strict: bool,
        progress: &dyn Progress,
    ) -> Result<Converted, DataError> {
        let (mut records, mut problems, mut notes) = (vec![], vec![], vec![]);
        let names: Vec<String> = self
            .files
            .iter()
            .map(|file| file.path.display().to_string())
            .collect();
        for file in self.files {
            records.extend(file.rows.records);
            problems.extend(file.rows.problems);
            let name = file.path.display().to_string();
            notes.extend(file.rows.notes.iter().map(|note| format!("{name}: {note}")));
        }
        if let (true, Some(problem)) = (strict, problems.first()) {
            return Err(DataError::Strict(problem.clone()));
        }
        progress.set_total(records.len() as u64);
        let mut usable = vec![];
        let mut names_taken = BTreeSet::new();
        let mut copied = 0;
        for (number, record) in records.into_iter().enumerate() {
            let mut extract = |record, folder: &Path| {
                extracted(record, number, folder, overwrite, &mut names_taken)
            };
            let placed = match &record.image {
                Encoded::File(picture) if format == Format::Folder && is_outside(picture, out) => {
                    copied += 1;
                    extract(record, out)
                }
                Encoded::File(_) => readable(record),
                _ if format.embeds() => readable(record),
                _ => extract(record, pictures),
            };
            progress.advance(1);
            match placed {
                Ok(record) => usable.push(record),
                Err(Failed::Row(problem)) if strict => return Err(DataError::Strict(problem)),
                Err(Failed::Row(problem)) => problems.push(problem),
                Err(Failed::All(error)) => return Err(error),
            }
        }
        if usable.is_empty() {
            return Err(DataError::Empty {
                path: names.join(", "),
                first: problems.first().cloned(),
            });
        }
        if !overwrite && let Some(path) = existing(out, format, &usable) {
            return Err(DataError::Exists {
                path: path.display().to_string(),
            });
        }
        notes.extend(formats::write(out, format, &usable)?);
        if copied > 0 {
            notes.push(format!(
                "{copied} pictures are copied into {}",
                out.display()
            ));
        }
        Ok(Converted {
            pictures: usable.len(),
            captions: usable.iter().map(|record| record.captions().count()).sum(),
            problems,
            notes,
        })
    }
}

/// Whether captions that are written into the folder `out` would not lie beside a picture.
fn is_outside(picture: &Path, out: &Path) -> bool {
    let absolute = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
    let inside = match (absolute(picture), absolute(out)) {
        (Ok(picture), Ok(out)) => picture.starts_with(out),
        _ => false,
    };
    !inside && !formats::is_sidecar_ending(out)
}

/// Why a picture is not converted.
enum Failed {
    /// It cannot be used.
    Row(Problem),
    /// Nothing can be written.
    All(DataError),
}

/// Checks that the picture of a file can be read, so that the writer does not stop at it.
fn readable(record: Record) -> Result<Record, Failed> {
    if let Encoded::File(path) = &record.image {
        let opened = std::fs::File::open(path);
        opened.map_err(|error| {
            Failed::Row(Problem::new(
                &record.place,
                format!("{} cannot be read: {error}", path.display()),
            ))
        })?;
        return Ok(record);
    }
    match record.bytes() {
        Ok(_) => Ok(record),
        Err(problem) => Err(Failed::Row(problem)),
    }
}

/// Writes an embedded picture to a file of its own.
fn extracted(
    record: Record,
    number: usize,
    folder: &Path,
    overwrite: bool,
    taken: &mut BTreeSet<String>,
) -> Result<Record, Failed> {
    let bytes = record.bytes().map_err(Failed::Row)?;
    let ending = formats::ending_of(&bytes);
    let own = record.file_name().filter(|name| formats::is_plain(name));
    let mut name = own.unwrap_or_else(|| format!("{:06}.{ending}", number + 1));
    if !taken.insert(name.to_lowercase()) {
        name = format!("{:06}_{name}", number + 1);
        taken.insert(name.to_lowercase());
    }
    let path = folder.join(&name);
    let failed = |reason| {
        Failed::All(DataError::Write {
            path: path.display().to_string(),
            reason,
        })
    };
    let same = || std::fs::read(&path).is_ok_and(|known| known == bytes);
    if path.exists() && !overwrite && !same() {
        return Err(Failed::All(DataError::Exists {
            path: path.display().to_string(),
        }));
    }
    std::fs::create_dir_all(folder).map_err(failed)?;
    atomic_file::write(&path, &bytes).map_err(failed)?;
    Ok(Record {
        image: Encoded::File(path),
        ..record
    })
}

/// The first file that would be replaced.
fn existing(out: &Path, format: Format, records: &[Record]) -> Option<PathBuf> {
    match format {
        Format::Folder => records.iter().find_map(|record| {
            let Encoded::File(picture) = &record.image else {
                return None;
            };
            let sidecar = Captioned::sidecar_with(picture, formats::sidecar_ending(out));
            let text = std::fs::read_to_string(&sidecar).ok()?;
            let wanted: Vec<&str> = record.captions().collect();
            (text.trim() != wanted.join("\n").trim()).then_some(sidecar)
        }),
        Format::Metadata => Some(formats::metadata_file(out)).filter(|path| path.exists()),
        _ => Some(out.to_owned()).filter(|path| path.exists()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::super::formats::Layout;
    use super::super::testing::png;
    use super::*;
    use crate::progress::Silent;

    /// A picture's caption, further captions and concept.
    type Texts = (String, Vec<String>, Option<String>);

    /// Pictures in a folder, described by a file that holds everything.
    fn source(rows: &[Texts]) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("source.jsonl");
        let records: Vec<Record> = (0..)
            .zip(rows)
            .map(|(number, (caption, others, concept))| {
                let folder = dir.path().join(if number % 2 == 0 {
                    "in"
                } else {
                    "in d\u{e9}tail, \"x\""
                });
                std::fs::create_dir_all(&folder).unwrap();
                let picture = folder.join(format!("picture {number}.png"));
                std::fs::write(&picture, png(number)).unwrap();
                Record {
                    concept: concept.clone(),
                    ..Record::of_file(
                        picture,
                        [std::slice::from_ref(caption), &others[..]].concat(),
                    )
                }
            })
            .collect();
        formats::write(&path, Format::Jsonl, &records).unwrap();
        (dir, path)
    }

    /// The shade of each picture with each caption and the concept, in order.
    fn contents(path: &Path) -> Vec<(u8, String, Option<String>)> {
        let listing = Listing::read(&[path.to_owned()], &Layout::default()).unwrap();
        let problems: Vec<_> = listing.problems().collect();
        assert!(problems.is_empty(), "{}: {problems:?}", path.display());
        let loaded = listing
            .decode(4, &Layout::default(), true, &Silent)
            .unwrap();
        let samples = loaded.dataset.samples.into_iter();
        let pairs = samples.flat_map(|sample| {
            let captions = [vec![sample.caption], sample.others].concat();
            let shade = sample.rgb[0];
            captions
                .into_iter()
                .map(move |caption| (shade, caption, sample.concept.clone()))
        });
        let mut pairs: Vec<_> = pairs.collect();
        // archives and folders have an order of their own
        pairs.sort();
        pairs
    }

    #[test]
    fn folders_get_the_pictures_from_elsewhere() {
        let texts = |text: &str| (text.to_owned(), vec![], None);
        let (dir, from) = source(&[texts("one"), texts("two")]);
        let out = dir.path().join("new folder/v1.5");
        let write = |out: &Path, overwrite| {
            let listing = Listing::read(std::slice::from_ref(&from), &Layout::default()).unwrap();
            listing.convert(out, Format::Folder, out, overwrite, true, &Silent)
        };
        let done = write(&out, false).unwrap();
        assert!(
            done.notes[0].starts_with("2 pictures are copied"),
            "{:?}",
            done.notes
        );
        let pairs: Vec<(u8, String, Option<String>)> = contents(&from);
        assert_eq!(contents(&out), pairs);
        assert!(!dir.path().join("in/picture 0.txt").exists());
        // the same again changes nothing
        write(&out, false).unwrap();
        std::fs::write(out.join("picture 0.png"), png(9)).unwrap();
        let error = write(&out, false).unwrap_err().to_string();
        assert!(error.contains("picture 0.png"), "{error}");
        // an ending asks for text beside the pictures where they are
        let done = write(&dir.path().join("any.caption"), false).unwrap();
        assert!(done.notes.is_empty() && dir.path().join("in/picture 0.caption").exists());
        let folder = dir.path().join("meta.d");
        let listing = Listing::read(std::slice::from_ref(&from), &Layout::default()).unwrap();
        listing
            .convert(&folder, Format::Metadata, &folder, false, true, &Silent)
            .unwrap();
        assert_eq!(contents(&folder.join("metadata.csv")), pairs);
    }

    fn convert(from: &Path, to: Format, dir: &Path, name: &str) -> (PathBuf, Vec<String>) {
        let out = match to {
            Format::Folder => dir.to_owned(),
            Format::Metadata => dir.join(name).with_file_name("metadata.csv"),
            _ => dir.join(name),
        };
        let listing = Listing::read(&[from.to_owned()], &Layout::default()).unwrap();
        let pictures = dir.join("extracted");
        let done = listing.convert(&out, to, &pictures, true, true, &Silent);
        let done =
            done.unwrap_or_else(|error| panic!("{} to {}: {error}", from.display(), to.name()));
        (out, done.notes)
    }

    /// A caption without white space around it.
    fn caption() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z,;|\"'#\\\\]{1,12}",
            "[a-zA-Z\u{e9}\u{4e16}\u{1f415} ,.\"{}\\[\\]]{1,30}",
            Just("image,caption".to_owned()),
            Just("=1+1".to_owned()),
            Just("0".to_owned()),
            Just("a.png".to_owned()),
        ]
        .prop_map(|text| text.trim().to_owned())
        .prop_filter("a list in a cell is several captions", |text| {
            !text.is_empty() && !text.starts_with('[')
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn every_format_keeps_pictures_and_captions(
            rows in proptest::collection::vec((caption(), proptest::collection::vec(caption(), 0..3), proptest::option::of("[a-z]{1,8}")), 1..5)
        ) {
            let (dir, path) = source(&rows);
            let all = contents(&path);
            for first in Format::writable() {
                // a text file holds one text
                if first == Format::Folder {
                    continue;
                }
                let there = tempfile::tempdir().unwrap();
                let (file, notes) = convert(&path, first, there.path(), &format!("first.{}", first.name()));
                let without: Vec<_> = all.iter().cloned().map(|(shade, caption, _)| (shade, caption, None)).collect();
                let keeps = notes.iter().all(|note| !note.contains("concepts are not kept"));
                prop_assert_eq!(&contents(&file), if keeps { &all } else { &without }, "{}", first.name());
                // and from there to another one
                for second in Format::writable().filter(|second| *second != Format::Folder) {
                    let elsewhere = tempfile::tempdir().unwrap();
                    let (again, _) = convert(&file, second, elsewhere.path(), &format!("second.{}", second.name()));
                    let captions = |pairs: Vec<(u8, String, Option<String>)>| -> Vec<(u8, String)> {
                        pairs.into_iter().map(|(shade, caption, _)| (shade, caption)).collect()
                    };
                    prop_assert_eq!(captions(contents(&again)), captions(all.clone()), "{} to {}", first.name(), second.name());
                }
            }
            drop(dir);
        }

        #[test]
        fn folders_keep_one_text_each(texts in proptest::collection::vec(caption(), 1..5)) {
            let rows: Vec<Texts> = texts.into_iter().map(|text| (text, vec![], None)).collect();
            let (dir, path) = source(&rows);
            let all = contents(&path);
            convert(&path, Format::Folder, dir.path(), "");
            std::fs::remove_file(&path).unwrap();
            prop_assert_eq!(contents(dir.path()), all);
        }
    }

    #[test]
    fn embedded_pictures_are_written_and_files_not_replaced() {
        let (dir, path) = source(&[("one".into(), vec![], None), ("two".into(), vec![], None)]);
        let (file, _) = convert(&path, Format::Csv, dir.path(), "all.csv");
        let listing = || Listing::read(std::slice::from_ref(&file), &Layout::default()).unwrap();
        let out = dir.path().join("again.jsonl");
        let pictures = dir.path().join("pictures");
        let write =
            |overwrite| listing().convert(&out, Format::Jsonl, &pictures, overwrite, true, &Silent);
        write(false).unwrap();
        assert!(pictures.join("000002.png").is_file());
        let error = write(false).unwrap_err();
        assert!(
            matches!(&error, DataError::Exists { path } if path.ends_with("again.jsonl")),
            "{error}"
        );
        write(true).unwrap();
        // a picture of the same name that is another one
        std::fs::write(pictures.join("000001.png"), png(9)).unwrap();
        std::fs::remove_file(&out).unwrap();
        let error = write(false).unwrap_err();
        assert!(
            error.to_string().contains("000001.png already exists"),
            "{error}"
        );
    }
}
