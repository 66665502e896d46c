//! Pictures with captions, decoded once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use indicatif::{ParallelProgressIterator, ProgressBar};
use rayon::prelude::*;

use super::batches::permutation;
use super::formats::{self, Layout};
use super::likeness::{Print, Twin, twins};
use crate::image::Preprocess;
use crate::image::{Picture, normalise};

/// One picture, at the model's size, with its caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Where it comes from: `file.csv row 7`, as a spreadsheet counts (the header is row 1), with `(line 9)` after it where the
    /// file's lines count otherwise; `file.jsonl line 7`; `file.json image 391895`; or a picture's path.
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
        Sample {
            id: id.into(),
            rgb,
            caption: caption.into(),
            others: vec![],
            concept: None,
            varies: false,
        }
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
    #[error(
        "{path} has no column `{column}`; it has {have}. Name the columns with --image-column and --caption-column"
    )]
    NoColumn {
        path: String,
        column: String,
        have: String,
    },
    #[error("{0} (fatal because of --strict)")]
    Strict(Problem),
    #[error(
        "{path} holds no usable picture with a caption{first}. It must be a CSV file with base64 pictures and captions, JSON lines, COCO's captions, captions.txt of Flickr8k, or a folder of pictures with .txt captions beside them"
    )]
    Empty { path: String, first: String },
}

impl Dataset {
    /// Reads a file in one of the forms of [`Format`](super::Format), or a folder. Pictures are decoded in parallel, framed as the
    /// model wants them, and kept; `progress` counts them. What cannot be used is left out and listed, or, when `strict`, an error.
    pub fn load(
        path: &Path,
        frame: impl Into<Preprocess>,
        layout: &Layout,
        strict: bool,
        progress: &ProgressBar,
    ) -> Result<Loaded, DataError> {
        let frame = frame.into();
        let (_, (raws, mut problems)) = formats::read(path, layout)?;
        if let (true, Some(problem)) = (strict, problems.first()) {
            return Err(DataError::Strict(problem.clone()));
        }
        progress.inc_length(raws.len() as u64);
        let decoded: Vec<Result<Sample, Problem>> = raws
            .into_par_iter()
            .progress_with(progress.clone())
            .map(|raw| raw.sample(frame))
            .collect();
        let mut samples = vec![];
        for result in decoded {
            match result {
                Ok(sample) => samples.push(sample),
                Err(problem) if strict => return Err(DataError::Strict(problem)),
                Err(problem) => problems.push(problem),
            }
        }
        if samples.is_empty() {
            let first = problems
                .first()
                .map(|problem| format!(" ({problem})"))
                .unwrap_or_default();
            return Err(DataError::Empty {
                path: path.display().to_string(),
                first,
            });
        }
        Ok(Loaded {
            dataset: Dataset {
                side: frame.side,
                samples,
            },
            problems,
        })
    }

    /// Reads several files, one after the other, into one data set: see [`load`](Self::load).
    pub fn load_all(
        paths: &[PathBuf],
        frame: impl Into<Preprocess>,
        layout: &Layout,
        strict: bool,
        progress: &ProgressBar,
    ) -> Result<Loaded, DataError> {
        let frame = frame.into();
        let mut all = Loaded {
            dataset: Dataset {
                side: frame.side,
                samples: vec![],
            },
            problems: vec![],
        };
        for path in paths {
            let Loaded { dataset, problems } =
                Dataset::load(path, frame, layout, strict, progress)?;
            all.dataset.samples.extend(dataset.samples);
            all.problems.extend(problems);
        }
        Ok(all)
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
            sample
                .others
                .iter()
                .for_each(|caption| add(caption.as_bytes()));
            // no caption starts so
            sample
                .concept
                .iter()
                .for_each(|concept| add(format!("\0{concept}").as_bytes()));
        }
        hash
    }

    /// Marks the samples whose concept has variants here: samples whose caption is not their concept.
    pub fn mark_variants(&mut self) {
        let varied = |sample: &Sample| {
            sample
                .concept
                .clone()
                .filter(|concept| *concept != sample.caption)
        };
        let concepts: BTreeSet<String> = self.samples.iter().filter_map(varied).collect();
        for sample in &mut self.samples {
            sample.varies = sample
                .concept
                .as_ref()
                .is_some_and(|concept| concepts.contains(concept));
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
        let taken = ((share * distinct as f64).round() as usize)
            .max((share > 0.0) as usize)
            .min(distinct.saturating_sub(1));
        let mut validates = vec![false; distinct];
        for &group in &permutation(distinct, seed, u64::MAX)[..taken] {
            validates[group] = true;
        }
        let side = self.side;
        let (mut train, mut validation) = (vec![], vec![]);
        for (sample, group) in self.samples.into_iter().zip(group_of) {
            if validates[group] {
                validation.push(sample)
            } else {
                train.push(sample)
            }
        }
        (
            Dataset {
                side,
                samples: train,
            },
            Dataset {
                side,
                samples: validation,
            },
        )
    }

    /// For every sample whose picture is also in `other`, to the pixel or to the eye, whatever their captions: which it is there.
    pub fn overlap(&self, other: &Dataset) -> Vec<Twin> {
        let prints = |dataset: &Dataset| -> Vec<Print> {
            let (width, height) = (dataset.side, dataset.side);
            dataset
                .samples
                .par_iter()
                .map(|sample| {
                    Print::new(&Picture {
                        width,
                        height,
                        rgb: sample.rgb.clone(),
                    })
                })
                .collect()
        };
        twins(&prints(self), &prints(other))
    }

    /// Leaves out the samples whose picture, pixel for pixel, is also in `other`, whatever their caption; returns how many
    /// those were. So pictures to validate on are never trained on.
    pub fn without(mut self, other: &Dataset) -> (Dataset, usize) {
        let pictures: BTreeSet<&[u8]> = other
            .samples
            .iter()
            .map(|sample| sample.rgb.as_slice())
            .collect();
        let before = self.samples.len();
        self.samples
            .retain(|sample| !pictures.contains(sample.rgb.as_slice()));
        let dropped = before - self.samples.len();
        (self, dropped)
    }

    /// Leaves out the samples whose caption takes more than `most` positions, as `length` counts them, and lists them.
    pub fn without_long_captions(
        self,
        most: usize,
        length: impl Fn(&str) -> usize,
    ) -> (Dataset, Vec<Problem>) {
        let (mut samples, mut problems) = (vec![], vec![]);
        for sample in self.samples {
            match length(&sample.caption) {
                positions if positions > most => {
                    let what = format!(
                        "its caption takes {positions} positions and the model has room for {most}: use a shorter one"
                    );
                    problems.push(Problem {
                        place: sample.id,
                        what,
                    });
                }
                _ => samples.push(sample),
            }
        }
        (
            Dataset {
                side: self.side,
                samples,
            },
            problems,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::formats::tests::png;
    use super::super::likeness::Likeness;
    use super::*;

    #[test]
    fn pictures_of_another_data_set_are_left_out() {
        let sample = |shade: u8, caption: &str| Sample::new(caption, vec![shade; 48], caption);
        let all = Dataset {
            side: 4,
            samples: vec![
                sample(1, "a"),
                sample(2, "b"),
                sample(1, "c"),
                sample(3, "d"),
            ],
        };
        let other = Dataset {
            side: 4,
            samples: vec![sample(1, "another caption"), sample(9, "b")],
        };
        let (left, dropped) = all.clone().without(&other);
        assert_eq!(
            (left.samples, dropped),
            (vec![sample(2, "b"), sample(3, "d")], 2)
        );
        assert_eq!(
            all.clone().without(&Dataset {
                side: 4,
                samples: vec![]
            }),
            (all, 0)
        );
    }

    #[test]
    fn captions_without_room_are_left_out_and_named() {
        let sample = |caption: &str| Sample::new(format!("{caption}.png"), vec![0; 48], caption);
        let all = Dataset {
            side: 4,
            samples: vec![sample("four"), sample("five5"), sample("été!")],
        };
        let (left, problems) = all.without_long_captions(5, |caption| caption.chars().count() + 1);
        assert_eq!(left.samples, [sample("four"), sample("été!")]);
        let list: Vec<_> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(
            list,
            [
                "five5.png: its caption takes 6 positions and the model has room for 5: use a shorter one"
            ]
        );
    }

    #[test]
    fn equal_pictures_are_never_on_both_sides_of_a_split() {
        let sample = |i: usize| Sample::new(i.to_string(), vec![(i % 20) as u8; 48], i.to_string());
        let all = Dataset {
            side: 4,
            samples: (0..60).map(sample).collect(),
        };
        let (train, validation) = all.clone().split(0.1, 7);
        assert_eq!(validation.samples.len(), 6);
        assert_eq!(train.samples.len(), 54);
        assert!(
            validation
                .samples
                .iter()
                .all(|v| train.samples.iter().all(|t| t.rgb != v.rgb))
        );
        assert_eq!(all.clone().split(0.1, 7).1, validation);
        assert_ne!(all.clone().split(0.1, 8).1, validation);
        assert_eq!(all.clone().split(0.0, 7).1.samples.len(), 0);
        let two = Dataset {
            side: 4,
            samples: (0..2).map(sample).collect(),
        };
        assert_eq!(two.split(0.01, 7).1.samples.len(), 1);
        let one = Dataset {
            side: 4,
            samples: vec![sample(0)],
        };
        assert_eq!(one.split(0.5, 7).1.samples.len(), 0);
    }

    #[test]
    fn several_files_become_one_data_set() {
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
        let load = |names: &[&str], strict| {
            let paths: Vec<PathBuf> = names.iter().map(|name| dir.path().join(name)).collect();
            Dataset::load_all(
                &paths,
                4,
                &Layout::default(),
                strict,
                &ProgressBar::hidden(),
            )
        };
        let Loaded { dataset, problems } = load(&["pictures", "lines.jsonl"], false).unwrap();
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
        assert!(
            load(&["pictures", "absent.json"], false)
                .unwrap_err()
                .to_string()
                .contains("absent.json")
        );

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
    fn every_part_of_a_sample_counts_in_the_fingerprint() {
        let of = |sample: Sample| {
            Dataset {
                side: 4,
                samples: vec![sample],
            }
            .fingerprint()
        };
        let plain = Sample::new("a", vec![7; 48], "red");
        let prints = [
            of(plain.clone()),
            of(Sample {
                others: vec!["dark red".into()],
                ..plain.clone()
            }),
            of(Sample {
                concept: Some("dark red".into()),
                ..plain.clone()
            }),
            of(Sample {
                caption: "blue".into(),
                ..plain.clone()
            }),
        ];
        assert_eq!(prints.iter().collect::<BTreeSet<_>>().len(), prints.len());
        // that of checkpoints made before samples had more than one caption
        assert_eq!(prints[0], 0x6c0b_7b84_6018_7eaa);
    }
}
