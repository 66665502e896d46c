//! CIDEr-D (Vedantam et al. 2015).

use std::collections::BTreeMap;

use super::{Case, mean, ngrams};

/// Standard deviation of the Gaussian length penalty.
const SIGMA: f64 = 6.0;

/// TF-IDF weights of the n-grams of a caption.
struct Vector<'a> {
    weights: [BTreeMap<&'a [String], f64>; 4],
    norms: [f64; 4],
    /// Number of bigrams, which the reference implementation uses as the length.
    length: f64,
}

/// Computes the CIDEr-D score of every case: 10 times the mean cosine, over references and n from 1
/// to 4, between the TF-IDF weighted n-grams of candidate and reference.
///
/// Document frequencies are those of all references of `cases`. N-grams of every picture have no
/// weight, so a data set of one picture scores 0.
pub fn cider_d(cases: &[Case]) -> Vec<f64> {
    // number of pictures with the n-gram in any of their references
    let mut pictures: BTreeMap<&[String], usize> = BTreeMap::new();
    for case in cases {
        let mut runs: Vec<_> = case
            .references
            .iter()
            .flat_map(|reference| ngrams::<4>(reference))
            .flat_map(BTreeMap::into_keys)
            .collect();
        runs.sort_unstable();
        runs.dedup();
        runs.into_iter()
            .for_each(|run| *pictures.entry(run).or_default() += 1);
    }
    let all = (cases.len() as f64).ln();
    let rarity = |run: &[String]| all - (pictures.get(run).copied().unwrap_or(1) as f64).ln();
    let score = |case: &Case| {
        let candidate = Vector::new(&case.candidate, rarity);
        10.0 * mean(
            case.references
                .iter()
                .map(|reference| candidate.similarity(&Vector::new(reference, rarity))),
        )
    };
    cases.iter().map(score).collect()
}

impl Vector<'_> {
    fn new(words: &[String], rarity: impl Fn(&[String]) -> f64) -> Vector<'_> {
        let weights = ngrams::<4>(words).map(|counts| {
            counts
                .into_iter()
                .map(|(run, count)| (run, count as f64 * rarity(run)))
                .collect()
        });
        let norm = |weights: &BTreeMap<&[String], f64>| {
            weights
                .values()
                .map(|weight| weight * weight)
                .sum::<f64>()
                .sqrt()
        };
        Vector {
            norms: weights.each_ref().map(norm),
            weights,
            length: words.len().saturating_sub(1) as f64,
        }
    }

    /// Returns the mean over n of the cosine, with repetitions in the candidate clipped to the
    /// reference.
    fn similarity(&self, reference: &Vector) -> f64 {
        let off = self.length - reference.length;
        let cosine = |n: usize| {
            let weight = |run| reference.weights[n].get(run).copied().unwrap_or(0.0);
            let product: f64 = self.weights[n]
                .iter()
                .map(|(run, &own)| own.min(weight(run)) * weight(run))
                .sum();
            let norms = self.norms[n] * reference.norms[n];
            if norms == 0.0 {
                product
            } else {
                product / norms
            }
        };
        mean((0..4).map(cosine)) * (-off * off / (2.0 * SIGMA * SIGMA)).exp()
    }
}
