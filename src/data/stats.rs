//! What is in files of pictures with captions: counts, ranges, duplicates, and a sheet of the pictures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use image::{RgbImage, imageops};
use indicatif::{ParallelProgressIterator, ProgressBar};
use rayon::prelude::*;
use serde::Serialize;

use super::dataset::{DataError, Problem};
use super::formats::{self, Encoded, Format, Layout, Raw};
use super::likeness::{Likeness, Print, Twin, repeats, twins};
use crate::image::Picture;
use crate::image::lettering;

/// What is in some files, and between them.
#[derive(Debug, Serialize)]
pub struct Stats {
    pub files: Vec<FileStats>,
    /// For every two files that have pictures in common.
    pub across: Vec<Across>,
}

/// What is in a file or folder.
#[derive(Debug, Serialize)]
pub struct FileStats {
    pub file: PathBuf,
    pub format: Format,
    /// Of the file and of the pictures that it names.
    pub bytes: u64,
    /// Pictures with captions that can be used.
    pub pictures: usize,
    pub width: Spread,
    pub height: Spread,
    pub captions: usize,
    pub captions_a_picture: Spread,
    pub words: Spread,
    pub characters: Spread,
    pub distinct_captions: usize,
    /// Distinct words, in small letters and without punctuation around them.
    pub vocabulary: usize,
    pub distinct_characters: usize,
    /// With how often each comes.
    pub most_frequent: Vec<(String, usize)>,
    pub distinct_concepts: usize,
    pub without_concept: usize,
    /// Pictures that came before in the file.
    pub repeats: Duplicates,
    pub left_out: usize,
    /// The first of those, and why.
    pub problems: Vec<String>,
}

/// Pictures of one file that are also in another.
#[derive(Debug, Serialize)]
pub struct Across {
    /// The file whose pictures are counted.
    pub file: PathBuf,
    pub other: PathBuf,
    #[serde(flatten)]
    pub duplicates: Duplicates,
}

/// How many pictures are there more than once.
#[derive(Debug, Default, Serialize)]
pub struct Duplicates {
    /// To the pixel.
    pub exact: usize,
    /// To the eye only.
    pub near: usize,
    /// Of both, how many have a caption in common.
    pub same_caption: usize,
    pub examples: Vec<Pair>,
}

/// Two places with the same picture.
#[derive(Debug, Serialize)]
pub struct Pair {
    pub ids: [String; 2],
    pub captions: [String; 2],
    pub likeness: Likeness,
}

/// The least, the middle and the most of some numbers; zeros of none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    pub min: usize,
    pub median: usize,
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

/// Examples listed of each kind.
const LISTED: usize = 10;

/// A picture that was looked at and let go.
struct ImageContext {
    raw: Raw,
    width: usize,
    height: usize,
    print: Print,
}

impl ImageContext {
    fn captions(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.raw.caption).chain(&self.raw.others)
    }
}

impl Stats {
    /// Reads the files, decodes every picture once, and lays at most so many, spread evenly, on a sheet. `progress` counts the
    /// pictures.
    pub fn read(
        paths: &[PathBuf],
        layout: &Layout,
        pictures: usize,
        progress: &ProgressBar,
    ) -> Result<(Stats, Sheet), DataError> {
        let mut read = vec![];
        for path in paths {
            let (format, (raws, problems)) = formats::read(path, layout)?;
            progress.inc_length(raws.len() as u64);
            read.push((path, format, raws, problems));
        }
        let mut sheet = Sheet::default();
        let mut files: Vec<(FileStats, Vec<ImageContext>)> = vec![];
        for (number, (path, format, raws, mut problems)) in read.into_iter().enumerate() {
            let bytes = bytes(path, &raws);
            // an equal part of the sheet for every file
            let share = (number + 1) * pictures / paths.len() - number * pictures / paths.len();
            let shown: BTreeSet<usize> = (0..share.min(raws.len()))
                .map(|i| i * raws.len() / share.min(raws.len()))
                .collect();
            let look = |(index, raw): (usize, Raw)| {
                let picture = raw.picture()?;
                let tile = shown.contains(&index).then(|| {
                    (
                        picture.resize(Sheet::TILE as usize).rgb,
                        raw.caption.clone(),
                    )
                });
                let (width, height, print) = (picture.width, picture.height, Print::new(&picture));
                // its base64 has done its duty
                Ok((
                    ImageContext {
                        raw: Raw {
                            image: Encoded::Base64(String::new()),
                            ..raw
                        },
                        width,
                        height,
                        print,
                    },
                    tile,
                ))
            };
            let looked: Vec<Result<_, Problem>> = raws
                .into_par_iter()
                .enumerate()
                .progress_with(progress.clone())
                .map(look)
                .collect();
            let mut seen = vec![];
            for result in looked {
                match result {
                    Ok((one, tile)) => {
                        seen.push(one);
                        sheet.tiles.extend(tile);
                    }
                    Err(problem) => problems.push(problem),
                }
            }
            files.push((FileStats::new(path, format, bytes, &seen, &problems), seen));
        }
        let mut across = vec![];
        for (number, (file, seen)) in files.iter().enumerate() {
            for (other, before) in &files[..number] {
                let duplicates =
                    Duplicates::new(seen, before, &twins(&prints(seen), &prints(before)));
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

fn prints(seen: &[ImageContext]) -> Vec<Print> {
    seen.iter().map(|one| one.print.clone()).collect()
}

/// On disk: a file that captions came from, and the picture files; of a folder the latter only.
fn bytes(path: &Path, raws: &[Raw]) -> u64 {
    let size = |path: &Path| {
        std::fs::metadata(path).map_or(0, |found| if found.is_file() { found.len() } else { 0 })
    };
    let pictures = raws.iter().map(|raw| match &raw.image {
        Encoded::File(file) => size(file),
        Encoded::Base64(_) => 0,
    });
    size(path) + pictures.sum::<u64>()
}

/// Words as they are counted: `A red, round apple.` has four.
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
        seen: &[ImageContext],
        problems: &[Problem],
    ) -> FileStats {
        let captions = || seen.iter().flat_map(ImageContext::captions);
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
                .filter_map(|one| one.raw.concept.as_ref())
                .collect::<BTreeSet<_>>()
                .len(),
            without_concept: seen.iter().filter(|one| one.raw.concept.is_none()).count(),
            repeats: Duplicates::new(seen, seen, &repeats(&prints(seen))),
            left_out: problems.len(),
            problems: problems
                .iter()
                .take(LISTED)
                .map(Problem::to_string)
                .collect(),
        }
    }
}

impl Duplicates {
    fn new(seen: &[ImageContext], others: &[ImageContext], twins: &[Twin]) -> Duplicates {
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
                let [ids, captions] = [|raw: &Raw| raw.id.clone(), |raw: &Raw| raw.caption.clone()]
                    .map(|of| [of(&one.raw), of(&other.raw)]);
                duplicates.examples.push(Pair {
                    ids,
                    captions,
                    likeness,
                });
            }
        }
        duplicates
    }
}

/// Pictures with their captions under them.
#[derive(Default)]
pub struct Sheet {
    /// Pixels `[112, 112, 3]`, and the caption.
    tiles: Vec<(Vec<u8>, String)>,
}

impl Sheet {
    const TILE: u32 = 112;
    const MARGIN: u32 = 8;
    /// Of 14 letters each.
    const LINES: u32 = 4;
    const PER_ROW: u32 = 12;

    /// Adds a picture, stretched to a tile, with a text of up to four lines.
    pub fn add(&mut self, picture: &Picture, text: &str) {
        self.tiles
            .push((picture.resize(Self::TILE as usize).rgb, text.to_owned()));
    }

    pub fn draw(&self) -> RgbImage {
        let (margin, tile, line) = (Self::MARGIN, Self::TILE, lettering::SIZE + 2);
        let (across, down) = (tile + margin, tile + 4 + Self::LINES * line + margin);
        let count = self.tiles.len() as u32;
        let (columns, rows) = (
            count.clamp(1, Self::PER_ROW),
            count.div_ceil(Self::PER_ROW).max(1),
        );
        let mut canvas = RgbImage::from_pixel(
            margin + columns * across,
            margin + rows * down,
            image::Rgb([255; 3]),
        );
        for (place, (rgb, caption)) in (0..).zip(&self.tiles) {
            let (left, top) = (
                margin + place % columns * across,
                margin + place / columns * down,
            );
            let picture =
                RgbImage::from_raw(tile, tile, rgb.clone()).expect("tiles have their size");
            imageops::replace(&mut canvas, &picture, left as i64, top as i64);
            for (number, text) in (0..).zip(lettering::wrap(
                caption,
                (tile / lettering::SIZE) as usize,
                Self::LINES as usize,
            )) {
                lettering::write(&mut canvas, &text, left, top + tile + 4 + number * line, 1);
            }
        }
        canvas
    }
}
