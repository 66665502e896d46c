//! Statistics of captioned pictures: counts, ranges and duplicates.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::duplicates::{Fingerprint, Likeness, Twin, repeats, twins};
use super::error::{DataError, Problem};
use super::formats::{Format, Layout};
use super::listing::{FileRows, Listing};
use super::record::{Encoded, Record};
use crate::image::{ColorProfiles, ContactSheet};
use crate::progress::Progress;

/// Statistics of several files and of the duplicates between them.
#[derive(Debug, Serialize)]
pub struct Stats {
    /// Statistics of each file.
    pub files: Vec<FileStats>,
    /// Duplicates of each pair of files that have pictures in common.
    pub across: Vec<Across>,
}

/// Statistics of a file or folder.
#[derive(Debug, Serialize)]
pub struct FileStats {
    /// Path of the file or folder.
    pub file: PathBuf,
    /// Detected format.
    pub format: Format,
    /// Size of the file and of the pictures that it names, in bytes.
    pub bytes: u64,
    /// Number of usable pictures with captions.
    pub pictures: usize,
    /// Widths of the pictures, in pixels.
    pub width: Spread,
    /// Heights of the pictures, in pixels.
    pub height: Spread,
    /// Number of captions.
    pub captions: usize,
    /// Number of captions per picture.
    pub captions_a_picture: Spread,
    /// Number of words per caption.
    pub words: Spread,
    /// Number of characters per caption.
    pub characters: Spread,
    /// Number of distinct captions.
    pub distinct_captions: usize,
    /// Number of distinct words, in lower case and without surrounding punctuation.
    pub vocabulary: usize,
    /// Number of distinct characters.
    pub distinct_characters: usize,
    /// Most frequent captions with their counts.
    pub most_frequent: Vec<(String, usize)>,
    /// Number of distinct concepts.
    pub distinct_concepts: usize,
    /// Number of pictures without a concept.
    pub without_concept: usize,
    /// Pictures that also occur earlier in the file.
    pub repeats: Duplicates,
    /// Number of rows that cannot be used.
    pub left_out: usize,
    /// Descriptions of the first of these rows.
    pub problems: Vec<String>,
    /// Remarks on how the file was read, such as the number of subfolders.
    pub notes: Vec<String>,
    /// First of the rows that cannot be used.
    #[serde(skip)]
    pub first_problem: Option<Problem>,
}

/// Pictures of one file that are also in another file.
#[derive(Debug, Serialize)]
pub struct Across {
    /// File whose pictures are counted.
    pub file: PathBuf,
    /// File in which they are found.
    pub other: PathBuf,
    /// Number of pictures in both.
    #[serde(flatten)]
    pub duplicates: Duplicates,
}

/// Number of pictures that occur more than once.
#[derive(Debug, Default, Serialize)]
pub struct Duplicates {
    /// Number of exact duplicates.
    pub exact: usize,
    /// Number of near duplicates that are not exact.
    pub near: usize,
    /// Number of exact and near duplicates with a caption in common.
    pub same_caption: usize,
    /// First duplicates found.
    pub examples: Vec<Pair>,
}

/// A duplicate.
#[derive(Debug, Serialize)]
pub struct Pair {
    /// Origins of both pictures; see [`Sample::id`](super::Sample::id).
    pub ids: [String; 2],
    /// First captions of both pictures.
    pub captions: [String; 2],
    /// Degree of similarity.
    pub likeness: Likeness,
}

/// Range and median of a set of numbers; all zero for an empty set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// Smallest number.
    pub min: usize,
    /// Median; the lower of two middle numbers.
    pub median: usize,
    /// Largest number.
    pub max: usize,
}

impl Spread {
    fn of(values: impl Iterator<Item = usize>) -> Spread {
        let mut values: Vec<usize> = values.collect();
        values.sort_unstable();
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        Spread {
            min: at(0),
            median: at(values.len().saturating_sub(1) / 2),
            max: at(values.len().saturating_sub(1)),
        }
    }
}

/// Number of examples in each list.
const LISTED: usize = 10;

/// A picture that was decoded and dropped.
struct Inspected {
    record: Record,
    width: usize,
    height: usize,
    fingerprint: Fingerprint,
}

impl Inspected {
    fn captions(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.record.caption).chain(&self.record.others)
    }
}

impl Stats {
    /// Reads the files and decodes every picture once. Also returns a contact sheet of at most
    /// `tiles` pictures, spread evenly over the files. `progress` counts the pictures.
    ///
    /// # Errors
    /// An unreadable file, content that does not follow its format, or a setting of the layout that
    /// does not apply.
    pub fn read(
        paths: &[PathBuf],
        layout: &Layout,
        tiles: usize,
        progress: &dyn Progress,
    ) -> Result<(Stats, ContactSheet), DataError> {
        let listing = Listing::read(paths, layout)?;
        Listing::check(&[&listing], layout)?;
        let profiles = ColorProfiles::unless(layout.ignore_icc);
        progress.set_total(listing.records() as u64);
        let mut sheet = ContactSheet::default();
        let mut files: Vec<(FileStats, Vec<Inspected>)> = vec![];
        for (number, file) in listing.files.into_iter().enumerate() {
            let FileRows { path, format, rows } = file;
            let (records, mut problems) = (rows.records, rows.problems);
            let bytes = bytes(&path, &records);
            // an equal part of the sheet for every file
            let share = (number + 1) * tiles / paths.len() - number * tiles / paths.len();
            let share = share.min(records.len());
            let shown: BTreeSet<usize> = (0..share).map(|i| i * records.len() / share).collect();
            let inspect = |(index, record): (usize, Record)| {
                let picture = record.picture(profiles);
                progress.advance(1);
                let picture = picture?;
                let tile = shown
                    .contains(&index)
                    .then(|| ContactSheet::tile(&picture, &record.caption));
                Ok((
                    Inspected {
                        width: picture.width,
                        height: picture.height,
                        fingerprint: Fingerprint::new(&picture),
                        // frees the base64 text
                        record: Record {
                            image: Encoded::Base64(String::new()),
                            ..record
                        },
                    },
                    tile,
                ))
            };
            let inspected: Vec<Result<_, Problem>> =
                records.into_par_iter().enumerate().map(inspect).collect();
            let mut seen = vec![];
            for result in inspected {
                match result {
                    Ok((one, tile)) => {
                        seen.push(one);
                        sheet.extend(tile);
                    }
                    Err(problem) => problems.push(problem),
                }
            }
            let mut stats = FileStats::new(&path, format, bytes, &seen, &problems);
            stats.notes = rows.notes;
            files.push((stats, seen));
        }
        let mut across = vec![];
        for (number, (file, seen)) in files.iter().enumerate() {
            for (other, before) in &files[..number] {
                let duplicates = Duplicates::new(
                    seen,
                    before,
                    &twins(&fingerprints(seen), &fingerprints(before)),
                );
                if duplicates.exact + duplicates.near > 0 {
                    across.push(Across {
                        file: file.file.clone(),
                        other: other.file.clone(),
                        duplicates,
                    });
                }
            }
        }
        Ok((
            Stats {
                files: files.into_iter().map(|(file, _)| file).collect(),
                across,
            },
            sheet,
        ))
    }
}

fn fingerprints(seen: &[Inspected]) -> Vec<Fingerprint> {
    seen.iter().map(|one| one.fingerprint.clone()).collect()
}

/// Returns the size on disk of a caption file and its picture files, in bytes; for a folder, of the
/// picture files alone.
fn bytes(path: &Path, records: &[Record]) -> u64 {
    let size = |path: &Path| {
        std::fs::metadata(path).map_or(0, |found| if found.is_file() { found.len() } else { 0 })
    };
    let pictures = records.iter().map(|record| match &record.image {
        Encoded::File(file) => size(file),
        // of a file the size is known
        _ if path.is_file() => 0,
        Encoded::Part { length, .. } => *length,
        Encoded::Bytes { bytes, .. } => bytes.len() as u64,
        Encoded::Base64(text) => text.len() as u64,
    });
    size(path) + pictures.sum::<u64>()
}

/// Splits a caption at white space into words in lower case, without surrounding punctuation.
fn words(caption: &str) -> impl Iterator<Item = String> {
    let bare = |word: &str| {
        word.trim_matches(|letter: char| !letter.is_alphanumeric())
            .to_lowercase()
    };
    caption
        .split_whitespace()
        .map(bare)
        .filter(|word| !word.is_empty())
}

impl FileStats {
    fn new(
        path: &Path,
        format: Format,
        bytes: u64,
        seen: &[Inspected],
        problems: &[Problem],
    ) -> FileStats {
        let captions = || seen.iter().flat_map(Inspected::captions);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        captions().for_each(|caption| *counts.entry(caption).or_default() += 1);
        let mut most_frequent: Vec<(String, usize)> = counts
            .iter()
            .map(|(&caption, &count)| (caption.to_owned(), count))
            .collect();
        most_frequent.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        most_frequent.truncate(LISTED);
        FileStats {
            file: path.to_owned(),
            format,
            bytes,
            pictures: seen.len(),
            width: Spread::of(seen.iter().map(|one| one.width)),
            height: Spread::of(seen.iter().map(|one| one.height)),
            captions: captions().count(),
            captions_a_picture: Spread::of(seen.iter().map(|one| one.captions().count())),
            words: Spread::of(captions().map(|caption| words(caption).count())),
            characters: Spread::of(captions().map(|caption| caption.chars().count())),
            distinct_captions: counts.len(),
            vocabulary: captions()
                .flat_map(|caption| words(caption))
                .collect::<BTreeSet<_>>()
                .len(),
            distinct_characters: captions()
                .flat_map(|caption| caption.chars())
                .collect::<BTreeSet<_>>()
                .len(),
            most_frequent,
            distinct_concepts: seen
                .iter()
                .filter_map(|one| one.record.concept.as_ref())
                .collect::<BTreeSet<_>>()
                .len(),
            without_concept: seen
                .iter()
                .filter(|one| one.record.concept.is_none())
                .count(),
            repeats: Duplicates::new(seen, seen, &repeats(&fingerprints(seen))),
            left_out: problems.len(),
            problems: problems
                .iter()
                .take(LISTED)
                .map(Problem::to_string)
                .collect(),
            notes: vec![],
            first_problem: problems.first().cloned(),
        }
    }
}

impl Duplicates {
    fn new(seen: &[Inspected], others: &[Inspected], twins: &[Twin]) -> Duplicates {
        let mut duplicates = Duplicates::default();
        for &Twin {
            left,
            right,
            likeness,
        } in twins
        {
            let (one, other) = (&seen[left], &others[right]);
            match likeness {
                Likeness::Exact => duplicates.exact += 1,
                Likeness::Near => duplicates.near += 1,
            }
            duplicates.same_caption += one
                .captions()
                .any(|caption| other.captions().any(|known| caption == known))
                as usize;
            if duplicates.examples.len() < LISTED {
                let pair = [&one.record, &other.record];
                duplicates.examples.push(Pair {
                    ids: pair.map(|record| record.id.clone()),
                    captions: pair.map(|record| record.caption.clone()),
                    likeness,
                });
            }
        }
        duplicates
    }
}
