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
    /// written into the folder `pictures` if the format names pictures; `progress` counts them.
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
        let names: Vec<String> = self.files.iter().map(|file| file.path.display().to_string()).collect();
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
        for (number, record) in records.into_iter().enumerate() {
            let placed = match format.embeds() || matches!(record.image, Encoded::File(_)) {
                true => readable(record),
                false => extracted(record, number, pictures, overwrite, &mut names_taken),
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
            return Err(DataError::Exists { path: path.display().to_string() });
        }
        if format == Format::Metadata && out.extension().is_none() {
            std::fs::create_dir_all(out).map_err(|reason| DataError::Write {
                path: out.display().to_string(),
                reason,
            })?;
        }
        notes.extend(formats::write(out, format, &usable)?);
        Ok(Converted {
            pictures: usable.len(),
            captions: usable.iter().map(|record| record.captions().count()).sum(),
            problems,
            notes,
        })
    }
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
            Failed::Row(Problem::new(&record.place, format!("{} cannot be read: {error}", path.display())))
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
        return Err(Failed::All(DataError::Exists { path: path.display().to_string() }));
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
        Format::Metadata if out.extension().is_none() => {
            Some(out.join("metadata.csv")).filter(|path| path.exists())
        }
        _ => Some(out.to_owned()).filter(|path| path.exists()),
    }
}
