//! Reading and decoding data sets.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::dataset::Dataset;
use super::error::{DataError, Problem};
use super::formats::Layout;
use super::listing::Listing;
use super::record::Record;
use super::sample::Sample;
use super::sharing::{self, Sharing};
use crate::image::{ColorProfiles, Picture, Preprocess};
use crate::progress::Progress;

/// A data set, and the rows that could not be used.
#[derive(Debug)]
pub struct Loaded {
    /// Usable samples, in file order.
    pub dataset: Dataset,
    /// Rows and files that were left out.
    pub problems: Vec<Problem>,
    /// Remarks on how the files were read, such as the number of subfolders.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Reads a file or folder in any [`Format`](super::Format).
    ///
    /// Pictures are decoded and preprocessed in parallel and kept in memory; `progress` counts
    /// them. Rows that cannot be used are left out and listed.
    ///
    /// # Errors
    /// An unreadable file, no usable row, a setting of the layout that does not apply, or, if
    /// `strict`, any row that cannot be used.
    pub fn load(
        path: &Path,
        preprocess: impl Into<Preprocess>,
        layout: &Layout,
        strict: bool,
        progress: &dyn Progress,
    ) -> Result<Loaded, DataError> {
        Dataset::load_all(&[path.to_owned()], preprocess, layout, strict, progress)
    }

    /// Reads several files or folders, one after the other, into one data set; see
    /// [`load`](Self::load).
    ///
    /// # Errors
    /// As [`load`](Self::load), for the first path that fails.
    pub fn load_all(
        paths: &[PathBuf],
        preprocess: impl Into<Preprocess>,
        layout: &Layout,
        strict: bool,
        progress: &dyn Progress,
    ) -> Result<Loaded, DataError> {
        let listing = Listing::read(paths, layout)?;
        Listing::check(&[&listing], layout)?;
        listing.decode(preprocess, layout, strict, progress)
    }

    /// Reads a UTF-8 text file as samples without pictures, one for every line that is not blank.
    /// The side of the data set is 0.
    ///
    /// # Errors
    /// A file that cannot be read, is not UTF-8, or holds only white space.
    pub fn from_lines(path: &Path) -> Result<Dataset, DataError> {
        let name = path.display().to_string();
        let read = |reason: String| DataError::Read {
            path: name.clone(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|error| read(error.to_string()))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| read(format!("it is not UTF-8 text: {error}. Save it as UTF-8")))?;
        let samples: Vec<Sample> = text
            .trim_start_matches('\u{feff}')
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(number, line)| {
                Sample::new(format!("{name} line {}", number + 1), vec![], line.trim())
            })
            .collect();
        if samples.is_empty() {
            return Err(DataError::Format {
                path: name,
                what: "holds no text".into(),
            });
        }
        Ok(Dataset { side: 0, samples })
    }
}

impl Listing {
    /// Makes samples of the captions without decoding the pictures; they have no pixels.
    ///
    /// # Errors
    /// No usable row, or, if `strict`, any row that cannot be used.
    pub fn without_pictures(self, strict: bool) -> Result<Loaded, DataError> {
        let (mut samples, mut problems, mut notes) = (vec![], vec![], vec![]);
        for file in self.files {
            if let (true, Some(problem)) = (strict, file.rows.problems.first()) {
                return Err(DataError::Strict(problem.clone()));
            }
            if file.rows.records.is_empty() {
                return Err(DataError::Empty {
                    path: file.path.display().to_string(),
                    first: file.rows.problems.first().cloned(),
                });
            }
            let records = file.rows.records.into_iter();
            samples.extend(records.map(|record| record.with_pixels(vec![])));
            problems.extend(file.rows.problems);
            let name = file.path.display();
            notes.extend(file.rows.notes.iter().map(|note| format!("{name}: {note}")));
        }
        Ok(Loaded {
            dataset: Dataset { side: 0, samples },
            problems,
            notes,
        })
    }

    /// Decodes and preprocesses the pictures in parallel; `progress` counts them. Rows that cannot
    /// be used are left out and listed.
    ///
    /// # Errors
    /// A file without a usable row, or, if `strict`, any row that cannot be used.
    pub fn decode(
        self,
        preprocess: impl Into<Preprocess>,
        layout: &Layout,
        strict: bool,
        progress: &dyn Progress,
    ) -> Result<Loaded, DataError> {
        self.decode_among(preprocess, layout, strict, progress, None)
    }

    /// Decodes as [`decode`](Self::decode) does, together with other processes that read the same
    /// listing: each decodes a part of the pictures, and all have all of them afterwards.
    ///
    /// # Errors
    /// As [`decode`](Self::decode); a process that is lost.
    pub fn decode_among(
        self,
        preprocess: impl Into<Preprocess>,
        layout: &Layout,
        strict: bool,
        progress: &dyn Progress,
        sharing: Option<&dyn Sharing>,
    ) -> Result<Loaded, DataError> {
        let preprocess = preprocess.into();
        let profiles = ColorProfiles::unless(layout.ignore_icc);
        let decode = |record: Record| record.sample(preprocess, profiles);
        self.decode_with(preprocess.side, strict, progress, sharing, &decode)
    }

    /// Decodes the pictures as [`decode`](Self::decode), for models that take them in at their own
    /// size: samples hold what `describe` returns for each picture in place of pixels, and the side
    /// of the data set is 0. `describe` is called from several threads.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn describe(
        self,
        layout: &Layout,
        strict: bool,
        progress: &dyn Progress,
        describe: &(dyn Fn(Picture) -> Vec<u8> + Sync),
    ) -> Result<Loaded, DataError> {
        let profiles = ColorProfiles::unless(layout.ignore_icc);
        let decode = |record: Record| {
            let described = describe(record.picture(profiles)?);
            Ok(record.with_pixels(described))
        };
        self.decode_with(0, strict, progress, None, &decode)
    }

    fn decode_with(
        self,
        side: usize,
        strict: bool,
        progress: &dyn Progress,
        sharing: Option<&dyn Sharing>,
        decode: &(dyn Fn(Record) -> Result<Sample, Problem> + Sync),
    ) -> Result<Loaded, DataError> {
        progress.set_total(self.records() as u64);
        let (mut samples, mut problems, mut notes) = (vec![], vec![], vec![]);
        for file in self.files {
            let before = (samples.len(), problems.len());
            if let (true, Some(problem)) = (strict, file.rows.problems.first()) {
                return Err(DataError::Strict(problem.clone()));
            }
            problems.extend(file.rows.problems);
            let decode = |record: Record| {
                let sample = decode(record);
                progress.advance(1);
                sample
            };
            let records = file.rows.records;
            let decoded = match sharing {
                None => records.into_par_iter().map(decode).collect(),
                Some(sharing) => sharing::decode(records, sharing, &decode)?,
            };
            for result in decoded {
                match result {
                    Ok(sample) => samples.push(sample),
                    Err(problem) if strict => return Err(DataError::Strict(problem)),
                    Err(problem) => problems.push(problem),
                }
            }
            if samples.len() == before.0 {
                return Err(DataError::Empty {
                    path: file.path.display().to_string(),
                    first: problems.get(before.1).cloned(),
                });
            }
            let name = file.path.display();
            notes.extend(file.rows.notes.iter().map(|note| format!("{name}: {note}")));
        }
        Ok(Loaded {
            dataset: Dataset { side, samples },
            problems,
            notes,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::duplicates::{Likeness, Twin};
    use super::super::testing::png;
    use super::*;

    /// Counts what is reported.
    #[derive(Default)]
    struct Counter {
        total: AtomicU64,
        done: AtomicU64,
    }

    impl Progress for Counter {
        fn set_total(&self, items: u64) {
            self.total.store(items, Ordering::Relaxed);
        }

        fn advance(&self, items: u64) {
            self.done.fetch_add(items, Ordering::Relaxed);
        }
    }

    #[test]
    fn loads_several_paths_into_one_data_set() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pictures")).unwrap();
        for (name, bytes) in [
            ("pictures/a.png", &png(1)[..]),
            ("pictures/a.txt", b"first"),
            ("pictures/b.png", &png(2)),
            ("c.png", &png(3)),
        ] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let lines = "{\"image\": \"c.png\", \"captions\": [\"second\", \"2nd\"], \"concept\": \"two\"}\n{}\n";
        std::fs::write(dir.path().join("lines.jsonl"), lines).unwrap();
        let progress = Counter::default();
        let load = |names: &[&str], strict| {
            let paths: Vec<PathBuf> = names.iter().map(|name| dir.path().join(name)).collect();
            Dataset::load_all(&paths, 4, &Layout::default(), strict, &progress)
        };
        let Loaded {
            dataset, problems, ..
        } = load(&["pictures", "lines.jsonl"], false).unwrap();
        let counts = [&progress.total, &progress.done].map(|it| it.load(Ordering::Relaxed));
        assert_eq!(counts, [2, 2]);
        let [a, c] = &dataset.samples[..] else {
            panic!("{dataset:?}")
        };
        assert!(
            a.id.ends_with("a.png") && c.id.ends_with("lines.jsonl line 1"),
            "{} {}",
            a.id,
            c.id
        );
        assert_eq!(
            (&c.caption[..], &c.others[..], c.concept.as_deref()),
            ("second", &["2nd".to_owned()][..], Some("two"))
        );
        let places: Vec<_> = problems
            .iter()
            .map(|problem| problem.place.rsplit('/').next().unwrap())
            .collect();
        assert_eq!(places, ["b.png", "lines.jsonl line 2"]);
        assert!(matches!(
            load(&["pictures", "lines.jsonl"], true),
            Err(DataError::Strict(_))
        ));
        let error = load(&["pictures", "absent.json"], false).unwrap_err();
        assert!(error.to_string().contains("absent.json"), "{error}");

        let other = load(&["lines.jsonl", "pictures"], false).unwrap().dataset;
        assert_ne!(dataset.fingerprint(), other.fingerprint());
        let twin = |left, right| Twin {
            left,
            right,
            likeness: Likeness::Exact,
        };
        assert_eq!(dataset.overlap(&other), [twin(0, 1), twin(1, 0)]);
    }

    #[test]
    fn reads_text_lines_and_skips_blank_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text.txt");
        std::fs::write(&path, "\u{feff}red heart\r\n\n  sun \n").unwrap();
        let dataset = Dataset::from_lines(&path).unwrap();
        let captions: Vec<&str> = dataset
            .samples
            .iter()
            .map(|sample| sample.caption.as_str())
            .collect();
        assert_eq!(
            (captions, dataset.samples[1].id.ends_with("text.txt line 3")),
            (vec!["red heart", "sun"], true)
        );
        for (bytes, expected) in [(&b" \n"[..], "holds no text"), (&[0xff, 0xfe], "UTF-8")] {
            std::fs::write(&path, bytes).unwrap();
            let error = Dataset::from_lines(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
