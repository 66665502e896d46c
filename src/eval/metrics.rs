//! Caption metrics, as in the COCO caption evaluation.

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

/// A generated caption and the reference captions of the same picture, split into [`words`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Generated caption.
    pub candidate: Vec<String>,
    /// Reference captions, at least one.
    pub references: Vec<Vec<String>>,
}

/// Counts the n-grams of `n` words at index `n - 1`, for `n` from 1 to `N`.
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

/// Returns the mean, or 0 for no values.
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    // the sum of no values would be -0
    values.fold(0.0, |sum, value| sum + value) / count
}

/// Metrics of a whole data set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// Mean [`word_f1`].
    pub word_f1: f64,
    /// BLEU-1 to BLEU-4.
    pub bleu: [f64; 4],
    /// Mean [`rouge_l`].
    pub rouge_l: f64,
    /// Mean [`cider_d`].
    pub cider_d: f64,
}

impl Scores {
    /// Computes all metrics.
    pub fn new(cases: &[Case]) -> Scores {
        Scores {
            word_f1: mean(cases.iter().map(word_f1)),
            bleu: bleu(cases),
            rouge_l: mean(cases.iter().map(rouge_l)),
            cider_d: mean(cider_d(cases).into_iter()),
        }
    }
}
