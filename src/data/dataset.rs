//! A set of decoded samples.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::batches::permutation;
use super::duplicates::{Fingerprint, Twin, twins};
use super::error::Problem;
use super::sample::Sample;
use crate::image::Picture;

/// Samples of one picture size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Width and height of every picture, in pixels; 0 for text without pictures.
    pub side: usize,
    /// Samples, in the order of their files.
    pub samples: Vec<Sample>,
}

/// FNV-1a over pieces of content, eight bytes at a time.
pub(super) struct ContentHash(pub u64);

impl Default for ContentHash {
    fn default() -> ContentHash {
        ContentHash(0xcbf2_9ce4_8422_2325)
    }
}

impl ContentHash {
    /// Adds a piece.
    pub fn add(&mut self, piece: &[u8]) {
        let mut mix = |word: u64| self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        for chunk in piece.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            mix(u64::from_le_bytes(word));
        }
        mix(piece.len() as u64);
    }
}

impl Dataset {
    /// Returns a hash that identifies the content: FNV-1a over all pictures, captions and concepts,
    /// eight bytes at a time.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = ContentHash::default();
        let mut add = |bytes: &[u8]| hash.add(bytes);
        for sample in &self.samples {
            add(&sample.rgb);
            add(sample.caption.as_bytes());
            sample
                .others
                .iter()
                .for_each(|caption| add(caption.as_bytes()));
            // no caption starts with a zero byte
            sample
                .concept
                .iter()
                .for_each(|concept| add(format!("\0{concept}").as_bytes()));
        }
        hash.0
    }

    /// Sets [`Sample::varies`] of all samples whose concept has variants in this data set. A
    /// variant is a sample whose caption differs from its concept.
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

    /// Splits off a `share` of the distinct pictures for validation and returns the training and
    /// the validation set.
    ///
    /// Equal pictures stay together, so none is in both sets. With a share above 0 and at least two
    /// distinct pictures, each set gets at least one.
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

    /// Finds the samples whose picture is also in `other`, exactly or nearly, whatever their
    /// captions. [`Twin::left`] indexes this data set, [`Twin::right`] indexes `other`.
    pub fn overlap(&self, other: &Dataset) -> Vec<Twin> {
        let fingerprints = |dataset: &Dataset| -> Vec<Fingerprint> {
            let (width, height) = (dataset.side, dataset.side);
            dataset
                .samples
                .par_iter()
                .map(|sample| {
                    Fingerprint::new(&Picture {
                        width,
                        height,
                        rgb: sample.rgb.clone(),
                    })
                })
                .collect()
        };
        twins(&fingerprints(self), &fingerprints(other))
    }

    /// Removes the samples whose picture is also in `other`, pixel for pixel and whatever their
    /// captions, so that validation pictures are never trained on. Returns the rest and the number
    /// of removed samples.
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

    /// Removes and lists the samples whose caption takes more than `max_len` positions, as counted
    /// by `length`.
    pub fn without_long_captions(
        self,
        max_len: usize,
        length: impl Fn(&str) -> usize,
    ) -> (Dataset, Vec<Problem>) {
        let (mut samples, mut problems) = (vec![], vec![]);
        for sample in self.samples {
            match length(&sample.caption) {
                positions if positions > max_len => {
                    let what = format!(
                        "its caption takes {positions} positions and the model has room for {max_len}: use a shorter one"
                    );
                    problems.push(Problem::new(sample.id, what));
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
    use super::*;

    #[test]
    fn without_removes_pictures_of_another_data_set() {
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
    fn removes_and_lists_long_captions() {
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
    fn split_keeps_equal_pictures_together() {
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
    fn fingerprint_covers_every_field_of_a_sample() {
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
        // value stored by checkpoints from before samples had several captions
        assert_eq!(prints[0], 0x6c0b_7b84_6018_7eaa);
    }
}
