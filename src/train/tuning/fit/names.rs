//! Names of pictures by their embeddings: linear discriminant analysis (Fisher, 1936).
//!
//! A name is an answer to one question. Within each name, pictures
//! vary by artist, ground and light; directions in which they vary are measured by the covariance
//! around the names' means, and count as little as they vary much. A name's logit is the projection
//! of a picture on the name's mean in that measure, scaled so that it tells how probable the name is.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::regression::{dot, products, solve};

/// Shrinkage of the covariance towards equal variance in all directions, in added pictures of each
/// name: few pictures do not show in which directions names vary little.
const ADDED_PICTURES: f64 = 6.0;

/// Logit of names that are not used.
const NEVER: f32 = -1e4;

/// Number of parts of the pictures. Each is named by a layer that the others give.
const PARTS: usize = 5;

/// Pictures of things that have no name in an open set, for each picture of one that has.
const UNNAMED: f64 = 0.25;

/// Layer to the logits of names. The logistic function of the highest one is the probability that
/// its name is right, as measured on held-out pictures. An open set may meet pictures without a name;
/// those measured for it include pictures whose name the layer has no picture of.
pub(super) struct Discriminant {
    /// `[names, inputs]`.
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
    /// Share of pictures that are named rightly by a layer found without them, of those whose name
    /// other pictures have, too; `None` without such pictures.
    pub right: Option<f64>,
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
    /// Fits the layer to pictures `x`, of which each has one of `names` names, for `capacity` names;
    /// `open` says whether other pictures may have none of them.
    pub fn new(
        x: &[&[f64]],
        of: &[usize],
        names: usize,
        capacity: usize,
        open: bool,
    ) -> Discriminant {
        let pictures: Vec<(&[f64], usize)> = x.iter().copied().zip(of.iter().copied()).collect();
        let all = Moments::new(&pictures, names);
        // pictures of one name are in different parts, all of which are equally large
        let mut counts: Vec<usize> = (0..names).collect();
        let numbers = of.iter().map(|&name| {
            counts[name] += 1;
            counts[name]
        });
        let numbers: Vec<usize> = numbers.collect();
        let mut found = held_out(&pictures, &numbers, &all, Moments::has);
        let known = found.len();
        let right = found.iter().filter(|it| it.right).count();
        if open && known > 0 {
            let unnamed = held_out(&pictures, of, &all, |_, _| true);
            let weight = UNNAMED * known as f64 / unnamed.len() as f64;
            found.extend(unnamed.into_iter().map(|it| HeldOut { weight, ..it }));
        }
        let layer = Layer::new(&all);
        let scaled = match known {
            0 => Logistic::unknown(x.iter().map(|x| layer.best(x).1).sum::<f64>() / x.len() as f64),
            _ => Logistic::new(&found),
        };
        let Layer { weights, bias } = layer;
        let unused = capacity - names;
        let weights = weights.iter().flatten().map(|value| scaled.slope * value);
        let bias = bias.iter().map(|value| scaled.at(*value));
        Discriminant {
            weights: weights
                .map(|value| value as f32)
                .chain(std::iter::repeat_n(0.0, unused * x[0].len()))
                .collect(),
            bias: bias
                .map(|value| value as f32)
                .chain(std::iter::repeat_n(NEVER, unused))
                .collect(),
            right: (known > 0).then(|| right as f64 / known as f64),
        }
    }
}

/// Names pictures by layers that the other parts give. Pictures of the same key are in the same part;
/// those are left out whose name does not count, given what the other parts have.
fn held_out(
    pictures: &[(&[f64], usize)],
    keys: &[usize],
    all: &Moments,
    counts: impl Fn(&Moments, usize) -> bool,
) -> Vec<HeldOut> {
    let mut found = vec![];
    for number in 0..PARTS {
        let part = pictures.iter().zip(keys);
        let part = part.filter(|(_, key)| **key % PARTS == number);
        let part: Vec<(&[f64], usize)> = part.map(|(picture, _)| *picture).collect();
        if part.is_empty() || part.len() == pictures.len() {
            continue;
        }
        let mut others = all.clone();
        others.add(&Moments::new(&part, all.counts.len()), -1.0);
        let counted = part.iter().filter(|(_, name)| counts(&others, *name));
        let counted: Vec<_> = counted.collect();
        if counted.is_empty() {
            continue;
        }
        let layer = Layer::new(&others);
        found.par_extend(counted.par_iter().map(|(x, of)| {
            let (name, logit) = layer.best(x);
            HeldOut {
                logit,
                right: name == *of,
                weight: 1.0,
            }
        }));
    }
    found
}

/// Sums over pictures.
#[derive(Clone)]
struct Moments {
    /// Products of each two values of a picture, `[inputs][inputs]`.
    products: Vec<Vec<f64>>,
    /// Values, by name.
    sums: Vec<Vec<f64>>,
    /// Pictures, by name.
    counts: Vec<f64>,
}

impl Moments {
    fn new(pictures: &[(&[f64], usize)], names: usize) -> Moments {
        let inputs = pictures[0].0.len();
        let rows: Vec<&[f64]> = pictures.iter().map(|(x, _)| *x).collect();
        let mut moments = Moments {
            products: products(&rows, &rows),
            sums: vec![vec![0.0; inputs]; names],
            counts: vec![0.0; names],
        };
        for &(x, name) in pictures {
            moments.counts[name] += 1.0;
            add(&mut moments.sums[name], x, 1.0);
        }
        moments
    }

    /// Adds those of other pictures, or takes them away with a factor of -1.
    fn add(&mut self, other: &Moments, factor: f64) {
        for (to, from) in self.products.iter_mut().zip(&other.products) {
            add(to, from, factor);
        }
        for (to, from) in self.sums.iter_mut().zip(&other.sums) {
            add(to, from, factor);
        }
        add(&mut self.counts, &other.counts, factor);
    }

    /// Whether a picture has the name.
    fn has(&self, name: usize) -> bool {
        self.counts[name] > 0.5
    }
}

fn add(to: &mut [f64], from: &[f64], factor: f64) {
    to.iter_mut()
        .zip(from)
        .for_each(|(to, from)| *to += factor * from);
}

/// Layer to the projections on the names' means.
struct Layer {
    /// `[names][inputs]`.
    weights: Vec<Vec<f64>>,
    bias: Vec<f64>,
}

impl Layer {
    fn new(moments: &Moments) -> Layer {
        let inputs = moments.products.len();
        let present = (0..moments.counts.len()).filter(|&name| moments.has(name));
        let present: Vec<usize> = present.collect();
        let means = present.iter().map(|&name| -> Vec<f64> {
            let count = moments.counts[name];
            moments.sums[name].iter().map(|sum| sum / count).collect()
        });
        let means: Vec<Vec<f64>> = means.collect();
        let mut middle = vec![0.0; inputs];
        for mean in &means {
            add(&mut middle, mean, 1.0 / means.len() as f64);
        }
        // around the means
        let mut covariance = moments.products.clone();
        let sums = present.iter().map(|&name| moments.sums[name].as_slice());
        let of_means = products(
            &means.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            &sums.collect::<Vec<_>>(),
        );
        let pictures: f64 = moments.counts.iter().sum();
        for (row, of_means) in covariance.iter_mut().zip(&of_means) {
            add(row, of_means, -1.0);
            row.iter_mut().for_each(|value| *value /= pictures);
        }
        let trace: f64 = (0..inputs).map(|i| covariance[i][i]).sum();
        // pictures of one name each do not vary
        let shrinkage = ADDED_PICTURES * means.len() as f64 / pictures;
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
        let mut layer = Layer {
            weights: vec![vec![0.0; inputs]; moments.counts.len()],
            bias: vec![f64::from(NEVER); moments.counts.len()],
        };
        for (place, &name) in present.iter().enumerate() {
            let squared: f64 = measured
                .iter()
                .zip(&from_middle)
                .map(|(w, row)| w[place] * row[place])
                .sum();
            let length = squared.max(f64::MIN_POSITIVE).sqrt();
            let weights: Vec<f64> = measured.iter().map(|row| row[place] / length).collect();
            layer.bias[name] = -dot(&weights, &middle);
            layer.weights[name] = weights;
        }
        layer
    }

    /// Returns the name with the highest logit, and that.
    fn best(&self, x: &[f64]) -> (usize, f64) {
        let logits = self.weights.iter().zip(&self.bias);
        let logits = logits.map(|(weights, bias)| dot(weights, x) + bias);
        logits
            .enumerate()
            .fold((0, f64::NEG_INFINITY), |best, next| {
                if next.1 > best.1 { next } else { best }
            })
    }
}

/// Prediction for a held-out picture.
struct HeldOut {
    /// Highest logit.
    logit: f64,
    /// Whether its name is right.
    right: bool,
    /// Number of pictures that it stands for.
    weight: f64,
}

/// Logistic regression of whether a name is right on its logit (Platt, 1999).
struct Logistic {
    slope: f64,
    shift: f64,
}

impl Logistic {
    /// Smallest slope, for a logit that varies by 1: the highest logit has to stay the highest.
    const MIN_SLOPE: f64 = 0.1;

    /// Fits the line to pictures, of which there is at least one.
    fn new(found: &[HeldOut]) -> Logistic {
        let sum = |value: &dyn Fn(&HeldOut) -> f64| -> f64 {
            found.iter().map(|it| it.weight * value(it)).sum()
        };
        let count = sum(&|_| 1.0);
        let mean = sum(&|it| it.logit) / count;
        let deviation = (sum(&|it| (it.logit - mean).powi(2)) / count).sqrt();
        // with all of them right, or wrong, the most likely line would be infinitely steep
        let right = sum(&|it| f64::from(it.right));
        let targets = [1.0 / (count - right + 2.0), (right + 1.0) / (right + 2.0)];
        let varies = deviation > 1e-9 * mean.abs();
        let scale = if varies {
            deviation
        } else {
            mean.abs().max(1.0)
        };
        // one step of Newton's method: slope and shift for logits around 0
        let step = |[slope, shift]: [f64; 2], is_slope_free: bool| {
            let (mut g, mut h) = ([0.0; 2], [1e-9, 0.0, 1e-9]);
            for it in found {
                let x = (it.logit - mean) / scale;
                let p = probability(slope * x + shift);
                let off = it.weight * (p - targets[usize::from(it.right)]);
                let weight = it.weight * p * (1.0 - p);
                g = [g[0] + off * x, g[1] + off];
                h = [h[0] + weight * x * x, h[1] + weight * x, h[2] + weight];
            }
            if !is_slope_free {
                return [slope, shift - g[1] / h[2]];
            }
            let determinant = h[0] * h[2] - h[1] * h[1];
            [
                slope - (h[2] * g[0] - h[1] * g[1]) / determinant,
                shift - (h[0] * g[1] - h[1] * g[0]) / determinant,
            ]
        };
        let steps = |line, is_slope_free| (0..50).fold(line, |line, _| step(line, is_slope_free));
        let mut line = [Self::MIN_SLOPE, 0.0];
        if varies {
            line = steps(line, true);
        }
        if !varies || line[0] < Self::MIN_SLOPE {
            line = steps([Self::MIN_SLOPE, 0.0], false);
        }
        let slope = line[0] / scale;
        Logistic {
            slope,
            shift: line[1] - slope * mean,
        }
    }

    /// Line through a half at the mean logit: nothing is known of how often names are right.
    fn unknown(mean: f64) -> Logistic {
        let slope = Self::MIN_SLOPE / mean.abs().max(1e-9);
        Logistic {
            slope,
            shift: -slope * mean,
        }
    }

    fn at(&self, logit: f64) -> f64 {
        self.slope * logit + self.shift
    }
}

/// Logistic function.
fn probability(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probability of the name of a picture.
    fn surest(fitted: &Discriminant, x: &[f64]) -> f64 {
        let rows = fitted.weights.chunks(x.len()).zip(&fitted.bias);
        let logits = rows.map(|(weights, bias)| {
            let sum: f64 = weights.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
            sum + f64::from(*bias)
        });
        probability(logits.fold(f64::MIN, f64::max))
    }

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
        let fitted = Discriminant::new(&x, &of, 3, 5, false);
        assert_eq!((fitted.weights.len(), fitted.bias.len()), (15, 5));
        assert!(fitted.right > Some(0.7), "{:?}", fitted.right);
        for name in [0, 2] {
            let [along, across, _] = fitted.weights.as_chunks().0[name];
            assert!(4.0 * along.abs() < across.abs(), "{along} {across}");
        }
        assert_eq!(fitted.bias[3..], [NEVER; 2]);
    }

    /// Names that overlap along one axis: the layer knows how often it is right.
    #[test]
    fn probabilities_are_those_of_pictures_that_were_held_out() {
        let pictures: Vec<([f64; 2], usize)> = (0..2000)
            .map(|i| {
                let name = i % 2;
                let noise = (i * 7919 % 1999) as f64 / 1999.0 - 0.5;
                ([1.0, name as f64 * 0.5 + noise], name)
            })
            .collect();
        let x: Vec<&[f64]> = pictures.iter().map(|(x, _)| &x[..]).collect();
        let of: Vec<usize> = pictures.iter().map(|(_, name)| *name).collect();
        let fitted = Discriminant::new(&x, &of, 2, 2, false);
        let found = pictures.iter().map(|(x, name)| {
            let logit = |of: usize| {
                let weights = &fitted.weights[2 * of..2 * of + 2];
                let sum: f64 = weights.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
                sum + f64::from(fitted.bias[of])
            };
            let logits = [logit(0), logit(1)];
            let best = usize::from(logits[1] > logits[0]);
            (probability(logits[best]), best == *name)
        });
        let found: Vec<(f64, bool)> = found.collect();
        let mean = found.iter().map(|(p, _)| p).sum::<f64>() / 2000.0;
        let right = found.iter().filter(|(_, right)| *right).count() as f64 / 2000.0;
        // they overlap by a half: one in four is wrong
        assert!((right - 0.75).abs() < 0.01, "{right}");
        assert!((mean - right).abs() < 0.02, "{mean} {right}");
        assert!((fitted.right.unwrap() - right).abs() < 0.01);
        // the outer ones are surer than those between the names
        let of_right = found.iter().filter(|(_, right)| *right).map(|(p, _)| p);
        let of_wrong = found.iter().filter(|(_, right)| !*right).map(|(p, _)| p);
        let surest = |values: &mut dyn Iterator<Item = &f64>| values.fold(0f64, |a, b| a.max(*b));
        let (of_right, of_wrong) = (
            surest(&mut of_right.into_iter()),
            surest(&mut of_wrong.into_iter()),
        );
        assert!(of_right > of_wrong + 0.05, "{of_right} {of_wrong}");
    }

    /// Names far apart, of which pictures are always right: in an open set one in five is of a thing
    /// that has no name.
    #[test]
    fn open_sets_count_pictures_without_a_name() {
        let pictures: Vec<(Vec<f64>, usize)> = (0..400)
            .map(|i| {
                let name = i % 10;
                let noise = |axis: usize| (i * (axis + 3) % 23) as f64 / 50.0;
                let mut x: Vec<f64> = (0..10).map(noise).collect();
                x[name] += 2.0;
                (x, name)
            })
            .collect();
        let x: Vec<&[f64]> = pictures.iter().map(|(x, _)| &x[..]).collect();
        let of: Vec<usize> = pictures.iter().map(|(_, name)| *name).collect();
        let [closed, open] = [false, true].map(|open| Discriminant::new(&x, &of, 10, 10, open));
        assert_eq!((closed.right, open.right), (Some(1.0), Some(1.0)));
        // like none of them
        let strange = [0.2; 10];
        let sure = [
            surest(&closed, &strange),
            surest(&open, &strange),
            surest(&open, x[7]),
        ];
        assert!(sure[0] > 0.9 && sure[1] < 0.1 && sure[2] > 0.9, "{sure:?}");
    }

    #[test]
    fn names_of_one_picture_each_have_no_share() {
        let pictures = [[1.0, 0.0], [0.0, 1.0]];
        let x: Vec<&[f64]> = pictures.iter().map(|x| &x[..]).collect();
        let fitted = Discriminant::new(&x, &[0, 1], 2, 2, true);
        assert_eq!(fitted.right, None);
        for (i, x) in pictures.iter().enumerate() {
            let logit = |of: usize| {
                fitted.weights[2 * of..2 * of + 2]
                    .iter()
                    .zip(x)
                    .map(|(w, x)| f64::from(*w) * x)
                    .sum::<f64>()
                    + f64::from(fitted.bias[of])
            };
            assert!(logit(i) > logit(1 - i));
        }
    }

    /// With pictures that are all right, the highest logit stays the highest.
    #[test]
    fn slopes_stay_positive() {
        for (found, share) in [
            ([(1.0, true), (2.0, true), (3.0, true)], 0.8),
            ([(1.0, false), (2.0, false), (3.0, false)], 0.2),
            ([(1.0, true), (2.0, false), (3.0, false)], 0.4),
            // no logit tells more than others
            ([(0.0, true), (0.0, true), (0.0, true)], 0.8),
            ([(1e4, true), (1e4, true), (1e4, false)], 0.6),
        ] {
            let found = found.map(|(logit, right)| HeldOut {
                logit,
                right,
                weight: 1.0,
            });
            let line = Logistic::new(&found);
            let mean = found
                .iter()
                .map(|it| probability(line.at(it.logit)))
                .sum::<f64>()
                / 3.0;
            assert!(line.slope > 0.0 && line.slope.is_finite());
            assert!((mean - share).abs() < 0.06, "{mean}, want {share}");
        }
        let unknown = Logistic::unknown(1e4);
        assert!(unknown.slope > 0.0 && probability(unknown.at(1e4)) == 0.5);
    }

    /// With two pictures of each name, one is held out of each half.
    #[test]
    fn few_pictures_of_each_name_are_enough_for_probabilities() {
        let names = 40;
        let pictures: Vec<(Vec<f64>, usize)> = (0..2 * names)
            .map(|i| {
                let name = i / 2;
                let noise = |axis: usize| ((i * 7 + axis * 13) * 31 % 101) as f64 / 101.0 - 0.5;
                let mean = |axis: usize| ((name * 5 + axis * 3) * 17 % 89) as f64 / 89.0;
                (
                    (0..8).map(|axis| mean(axis) + 0.03 * noise(axis)).collect(),
                    name,
                )
            })
            .collect();
        let x: Vec<&[f64]> = pictures.iter().map(|(x, _)| &x[..]).collect();
        let of: Vec<usize> = pictures.iter().map(|(_, name)| *name).collect();
        let fitted = Discriminant::new(&x, &of, names, names, false);
        let right = fitted.right.unwrap();
        let mean = x.iter().map(|x| surest(&fitted, x)).sum::<f64>() / x.len() as f64;
        assert!(right > 0.5 && (mean - right).abs() < 0.1, "{right} {mean}");
    }
}
