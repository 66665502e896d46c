//! Captions of files whose pictures are not decoded yet.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::captioned::Captioned;
use super::dataset::ContentHash;
use super::error::{DataError, Problem};
use super::formats::{self, Format, Layout, Rows};
use super::record::Record;

/// Captions of several files and folders, with where their pictures are.
///
/// [`decode`](Self::decode) makes a data set of them, [`convert`](Self::convert) another file.
#[derive(Debug)]
pub struct Listing {
    pub(super) files: Vec<FileRows>,
}

/// Content of a file or folder.
#[derive(Debug)]
pub(super) struct FileRows {
    pub path: PathBuf,
    pub format: Format,
    pub rows: Rows,
}

impl Listing {
    /// Reads captions and locates their pictures.
    ///
    /// # Errors
    /// An unreadable file, or content that does not follow its format.
    pub fn read(paths: &[PathBuf], layout: &Layout) -> Result<Listing, DataError> {
        let read = |path: &PathBuf| {
            let (format, rows) = formats::read(path, layout)?;
            Ok(FileRows {
                path: path.clone(),
                format,
                rows,
            })
        };
        Ok(Listing {
            files: paths.iter().map(read).collect::<Result<_, DataError>>()?,
        })
    }

    /// Lists captions that are in memory; `place` names their origin in messages.
    pub fn of(captioned: &[Captioned], place: &Path) -> Listing {
        let rows = Rows {
            records: captioned.iter().map(Record::from).collect(),
            ..Rows::default()
        };
        Listing {
            files: vec![FileRows {
                path: place.to_owned(),
                format: Format::Folder,
                rows,
            }],
        }
    }

    /// Fails if the layout has a setting that none of the files has made use of.
    ///
    /// # Errors
    /// Such a setting.
    pub fn check(all: &[&Listing], layout: &Layout) -> Result<(), DataError> {
        let files = || all.iter().flat_map(|listing| &listing.files);
        let used = files()
            .flat_map(|file| file.rows.used.iter().copied())
            .collect();
        let paths: Vec<PathBuf> = files().map(|file| file.path.clone()).collect();
        layout.check_used(&used, &paths)
    }

    /// Names of the parts that the files are divided into, whether they are read or not.
    pub fn parts(&self) -> BTreeSet<&str> {
        let parts = self.files.iter().flat_map(|file| &file.rows.parts);
        parts.map(String::as_str).collect()
    }

    /// Number of pictures.
    pub fn records(&self) -> usize {
        self.files.iter().map(|file| file.rows.records.len()).sum()
    }

    /// Returns a hash of the captions, the names and sizes of the pictures, and the content of at
    /// most `pictures` of them, spread over the listing.
    pub fn fingerprint(&self, pictures: usize) -> u64 {
        let mut hash = ContentHash::default();
        let every = self.records().div_ceil(pictures).max(1);
        let records = self.files.iter().flat_map(|file| &file.rows.records);
        for (index, record) in records.enumerate() {
            let name = record.file_name().unwrap_or_default();
            hash.add(name.as_bytes());
            record
                .captions()
                .for_each(|caption| hash.add(caption.as_bytes()));
            hash.add(&record.size().unwrap_or_default().to_le_bytes());
            if index % every == 0 {
                hash.add(&record.bytes().unwrap_or_default());
            }
        }
        hash.0
    }

    /// Rows that cannot be used, as far as this is known without decoding.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.files.iter().flat_map(|file| &file.rows.problems)
    }

    /// Path and detected format of each file.
    pub fn formats(&self) -> impl Iterator<Item = (&Path, Format)> {
        self.files
            .iter()
            .map(|file| (file.path.as_path(), file.format))
    }
}
