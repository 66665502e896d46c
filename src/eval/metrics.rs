//! How good written captions are, measured against the true ones as the COCO caption evaluation does it.

mod bleu;
mod calibration;
mod cider;
mod exact_match;
mod rouge;
mod word_f1;
mod words;

use std::collections::BTreeMap;

pub use bleu::bleu;
pub use calibration::{Bin, Calibration};
pub use cider::cider_d;
pub use exact_match::exact_match;
pub use rouge::rouge_l;
pub use word_f1::word_f1;
pub use words::words;

/// A written caption and the true ones of the same picture, as [`words`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub candidate: Vec<String>,
    /// One or more.
    pub references: Vec<Vec<String>>,
}

/// How often each run of `1..=N` words occurs, by its length less one.
fn ngrams<const N: usize>(words: &[String]) -> [BTreeMap<&[String], usize>; N] {
    let counts = |n: usize| {
        let mut counts = BTreeMap::new();
        words
            .windows(n)
            .for_each(|run| *counts.entry(run).or_default() += 1);
        counts
    };
    std::array::from_fn(|i| counts(i + 1))
}

/// The mean; 0 of nothing.
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    // the sum of nothing would be -0
    values.fold(0.0, |sum, value| sum + value) / count
}

/// The metrics of a whole data set, under the names that `seemore eval --json` gives them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    pub word_f1: f64,
    /// BLEU-1 to BLEU-4.
    pub bleu: [f64; 4],
    pub rouge_l: f64,
    pub cider_d: f64,
}

impl Scores {
    pub fn new(cases: &[Case]) -> Scores {
        Scores {
            word_f1: mean(cases.iter().map(word_f1)),
            bleu: bleu(cases),
            rouge_l: mean(cases.iter().map(rouge_l)),
            cider_d: mean(cider_d(cases).into_iter()),
        }
    }
}
