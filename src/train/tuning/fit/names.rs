//! Names of pictures by their embeddings: linear discriminant analysis (Fisher, 1936).
//!
//! A name is an answer to one question. Within each name, pictures
//! vary by artist, ground and light; directions in which they vary are measured by the covariance
//! around the names' means, and count as little as they vary much. A name's logit is the projection
//! of a picture on the name's mean in that measure.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::regression::{products, solve};

/// Shrinkage of the covariance towards equal variance in all directions, in added pictures of each
/// name: few pictures do not show in which directions names vary little.
const ADDED_PICTURES: f64 = 6.0;

/// Logit of names that are not used.
const NEVER: f32 = -1e4;

/// Layer to the logits of names.
pub(super) struct Discriminant {
    /// `[names, inputs]`.
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
    /// Part of the pictures that it names rightly.
    pub right: f64,
}

/// Returns the most frequent answers, at most `limit`, and the number of that of each picture.
pub(super) fn frequent<'a>(
    answers: &[&'a [u32]],
    limit: usize,
) -> (Vec<&'a [u32]>, Vec<Option<usize>>) {
    let mut counts = BTreeMap::<&[u32], usize>::new();
    for &answer in answers {
        *counts.entry(answer).or_default() += 1;
    }
    let mut order: Vec<(&[u32], usize)> = counts.into_iter().collect();
    order.sort_by_key(|&(answer, count)| (std::cmp::Reverse(count), answer));
    order.truncate(limit);
    let names: Vec<&[u32]> = order.into_iter().map(|(answer, _)| answer).collect();
    let numbers: BTreeMap<&[u32], usize> = names.iter().copied().zip(0..).collect();
    let of_each = answers.iter().map(|answer| numbers.get(answer).copied());
    (names, of_each.collect())
}

impl Discriminant {
    /// Fits the layer to pictures `x`, of which each has one of `names` names, for `capacity` names.
    pub fn new(x: &[&[f64]], of: &[usize], names: usize, capacity: usize) -> Discriminant {
        let inputs = x[0].len();
        let mut means = vec![vec![0.0; inputs]; names];
        let mut counts = vec![0.0; names];
        for (x, &name) in x.iter().zip(of) {
            counts[name] += 1.0;
            means[name]
                .iter_mut()
                .zip(*x)
                .for_each(|(mean, x)| *mean += x);
        }
        for (mean, count) in means.iter_mut().zip(&counts) {
            mean.iter_mut().for_each(|value| *value /= count);
        }
        let mut middle = vec![0.0; inputs];
        for mean in &means {
            middle
                .iter_mut()
                .zip(mean)
                .for_each(|(middle, value)| *middle += value / names as f64);
        }
        let around = x.iter().zip(of).map(|(x, &name)| -> Vec<f64> {
            x.iter()
                .zip(&means[name])
                .map(|(x, mean)| x - mean)
                .collect()
        });
        let around: Vec<Vec<f64>> = around.collect();
        let mut covariance = products(&around, &around);
        let trace: f64 = (0..inputs).map(|i| covariance[i][i]).sum();
        // pictures of one name each do not vary
        let shrinkage = ADDED_PICTURES * names as f64 / x.len() as f64;
        let added = (shrinkage * trace / inputs as f64).max(1e-9);
        for (i, row) in covariance.iter_mut().enumerate() {
            row[i] += added;
        }
        let from_middle: Vec<Vec<f64>> = (0..inputs)
            .map(|input| {
                means
                    .iter()
                    .map(|mean| mean[input] - middle[input])
                    .collect()
            })
            .collect();
        let measured = solve(covariance, from_middle.clone());
        let mut layer: Vec<Vec<f64>> = (0..names)
            .map(|name| measured.iter().map(|row| row[name]).collect())
            .collect();
        for (name, row) in layer.iter_mut().enumerate() {
            let squared: f64 = row
                .iter()
                .zip(&from_middle)
                .map(|(w, row)| w * row[name])
                .sum();
            let length = squared.max(f64::MIN_POSITIVE).sqrt();
            row.iter_mut().for_each(|value| *value /= length);
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let shift: Vec<f64> = layer.iter().map(|row| -dot(row, &middle)).collect();
        let logits = x.par_iter().map(|x| -> Vec<f64> {
            layer
                .iter()
                .zip(&shift)
                .map(|(row, shift)| dot(row, x) + shift)
                .collect()
        });
        let logits: Vec<Vec<f64>> = logits.collect();
        let best = |logits: &[f64]| {
            (0..logits.len()).fold(
                0,
                |best, it| if logits[it] > logits[best] { it } else { best },
            )
        };
        let pictures = || logits.iter().zip(of);
        let right = pictures()
            .filter(|(logits, name)| best(logits) == **name)
            .count();
        let right = right as f64 / x.len() as f64;
        let unused = capacity - names;
        let padding = std::iter::repeat_n(0.0, unused * inputs);
        let rounded = |value: &f64| *value as f32;
        Discriminant {
            weights: layer.iter().flatten().map(rounded).chain(padding).collect(),
            bias: shift
                .iter()
                .map(rounded)
                .chain(std::iter::repeat_n(NEVER, unused))
                .collect(),
            right,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_answers_are_the_names() {
        let answers: [&[u32]; 6] = [&[1], &[2, 3], &[4], &[2, 3], &[4], &[2, 3]];
        let (names, of) = frequent(&answers, 2);
        assert_eq!(names, [&[2, 3][..], &[4]]);
        assert_eq!(of, [None, Some(0), Some(1), Some(0), Some(1), Some(0)]);
    }

    /// Pictures that vary along the first axis, and whose names are apart along the second.
    #[test]
    fn directions_that_vary_within_names_do_not_count() {
        let varied = |i: usize| (i * 37 % 101) as f64 / 20.0 - 2.5;
        let pictures: Vec<(Vec<f64>, usize)> = (0..60)
            .map(|i| {
                let name = i % 3;
                let noise = (i * 17 % 11) as f64 / 100.0;
                (
                    vec![varied(i), name as f64 + noise, (name == 1) as u8 as f64],
                    name,
                )
            })
            .collect();
        let x: Vec<&[f64]> = pictures.iter().map(|(x, _)| &x[..]).collect();
        let of: Vec<usize> = pictures.iter().map(|(_, name)| *name).collect();
        let fitted = Discriminant::new(&x, &of, 3, 5);
        assert_eq!((fitted.weights.len(), fitted.bias.len()), (15, 5));
        assert!(fitted.right > 0.7, "{}", fitted.right);
        for name in [0, 2] {
            let [along, across, _] = fitted.weights.as_chunks().0[name];
            assert!(4.0 * along.abs() < across.abs(), "{along} {across}");
        }
        assert_eq!(fitted.bias[3..], [NEVER; 2]);
    }
}
