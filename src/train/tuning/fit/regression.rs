//! Ridge regression.

use rayon::prelude::*;

/// λ as a part of the mean eigenvalue of `XᵀX`.
const RIDGE: f64 = 0.3;

/// Ridge regression of the rows `t` on the rows `x`.
pub(super) struct Regression {
    /// `[outputs, inputs]`.
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
    /// Part of the variance of `t` that the regression explains, before its result is scaled.
    pub explained: f64,
}

impl Regression {
    pub fn new(x: &[Vec<f64>], t: &[Vec<f64>]) -> Regression {
        let (x, mean_x) = centred(x);
        let (t, mean_t) = centred(t);
        let (inputs, outputs) = (mean_x.len(), mean_t.len());
        let mut squares = products(&x, &x);
        let trace: f64 = (0..inputs).map(|i| squares[i][i]).sum();
        let ridge = (RIDGE * trace / inputs as f64).max(f64::MIN_POSITIVE);
        for (i, row) in squares.iter_mut().enumerate() {
            row[i] += ridge;
        }
        // [inputs][outputs]
        let weights = solve(squares, products(&x, &t));
        let given = x.par_iter().map(|x| {
            let mut given = vec![0.0; outputs];
            for (x, weights) in x.iter().zip(&weights) {
                for (given, weight) in given.iter_mut().zip(weights) {
                    *given += x * weight;
                }
            }
            given
        });
        let given: Vec<Vec<f64>> = given.collect();
        let energy = |rows: &[Vec<f64>]| {
            rows.iter()
                .flatten()
                .map(|value| value * value)
                .sum::<f64>()
        };
        let missed = given
            .iter()
            .zip(&t)
            .flat_map(|(given, t)| given.iter().zip(t));
        let missed: f64 = missed.map(|(given, t)| (given - t).powi(2)).sum();
        let (of_given, of_t) = (energy(&given), energy(&t));
        let scale = match of_given > 0.0 {
            true => (of_t / of_given).sqrt(),
            false => 0.0,
        };
        let of = |output: usize| weights.iter().map(move |row| row[output] * scale);
        Regression {
            weights: (0..outputs)
                .flat_map(of)
                .map(|weight| weight as f32)
                .collect(),
            bias: (0..outputs)
                .map(|output| {
                    let shift: f64 = of(output).zip(&mean_x).map(|(w, x)| w * x).sum();
                    (mean_t[output] - shift) as f32
                })
                .collect(),
            explained: match of_t > 0.0 {
                true => 1.0 - missed / of_t,
                false => 0.0,
            },
        }
    }
}

/// Returns the rows of `XᵀY`: of each column of `x` the sum of the rows of `y`, weighted by it.
pub(super) fn products<X: AsRef<[f64]> + Sync>(x: &[X], y: &[X]) -> Vec<Vec<f64>> {
    /// Sums that stay in the cache while all rows are read.
    const SUMS: usize = 16;
    let (inputs, outputs) = (x[0].as_ref().len(), y[0].as_ref().len());
    let mut sums = vec![vec![0.0; outputs]; inputs];
    sums.par_chunks_mut(SUMS)
        .enumerate()
        .for_each(|(chunk, sums)| {
            let ((x, left_x), (y, left_y)) = (x.as_chunks::<4>(), y.as_chunks::<4>());
            for (x, y) in x.iter().zip(y) {
                let y = [0, 1, 2, 3].map(|i| &y[i].as_ref()[..outputs]);
                for (number, sums) in sums.iter_mut().enumerate() {
                    let x = [0, 1, 2, 3].map(|i| x[i].as_ref()[chunk * SUMS + number]);
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum += x[0] * y[0][j] + x[1] * y[1][j] + x[2] * y[2][j] + x[3] * y[3][j];
                    }
                }
            }
            for (x, y) in left_x.iter().zip(left_y) {
                for (number, sums) in sums.iter_mut().enumerate() {
                    let x = x.as_ref()[chunk * SUMS + number];
                    for (sum, y) in sums.iter_mut().zip(y.as_ref()) {
                        *sum += x * y;
                    }
                }
            }
        });
    sums
}

/// Scalar product.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, left_a), (b, left_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let left = left_a.iter().zip(left_b).map(|(a, b)| a * b);
    sums.iter().sum::<f64>() + left.sum::<f64>()
}

/// Returns rows without their mean, and the mean.
fn centred(rows: &[Vec<f64>]) -> (Vec<Vec<f64>>, Vec<f64>) {
    let mut mean = vec![0.0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        for (mean, value) in mean.iter_mut().zip(row) {
            *mean += value / rows.len() as f64;
        }
    }
    let without = |row: &Vec<f64>| {
        row.iter()
            .zip(&mean)
            .map(|(value, mean)| value - mean)
            .collect()
    };
    (rows.iter().map(without).collect(), mean)
}

/// Solves `A Y = B` for a symmetric, positive definite `A`, by Cholesky's decomposition.
pub(super) fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = a.len();
    for i in 0..n {
        for j in 0..=i {
            let sum = dot(&a[i][..j], &a[j][..j]);
            let rest = a[i][j] - sum;
            a[i][j] = match i == j {
                true => rest.sqrt(),
                false => rest / a[j][j],
            };
        }
    }
    let subtract = |b: &mut [Vec<f64>], from: usize, to: usize, factor: f64| {
        let [from, to] = b.get_disjoint_mut([from, to]).expect("two rows");
        for (to, from) in to.iter_mut().zip(from) {
            *to -= factor * *from;
        }
    };
    let divide = |row: &mut [f64], by: f64| row.iter_mut().for_each(|value| *value /= by);
    for (i, row) in a.iter().enumerate() {
        for (j, &factor) in row[..i].iter().enumerate() {
            subtract(&mut b, j, i, factor);
        }
        divide(&mut b[i], row[i]);
    }
    for i in (0..n).rev() {
        for (j, row) in a.iter().enumerate().skip(i + 1) {
            subtract(&mut b, j, i, row[i]);
        }
        divide(&mut b[i], a[i][i]);
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
        }
    }

    #[test]
    fn systems_are_solved() {
        let mut next = noise(1);
        let roots: Vec<Vec<f64>> = (0..9).map(|_| (0..6).map(|_| next()).collect()).collect();
        let a: Vec<Vec<f64>> = (0..6)
            .map(|i| {
                (0..6)
                    .map(|j| roots.iter().map(|row| row[i] * row[j]).sum())
                    .collect()
            })
            .collect();
        let want: Vec<Vec<f64>> = (0..6).map(|_| (0..3).map(|_| next()).collect()).collect();
        let b = a.iter().map(|row| {
            let of = |k: usize| row.iter().zip(&want).map(|(a, y)| a * y[k]).sum();
            (0..3).map(of).collect()
        });
        let got = solve(a.clone(), b.collect());
        for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
            assert!((got - want).abs() < 1e-9, "{got} {want}");
        }
    }

    #[test]
    fn answers_that_follow_from_pictures_are_explained() {
        let mut next = noise(2);
        let layer: Vec<Vec<f64>> = (0..4).map(|_| (0..8).map(|_| next()).collect()).collect();
        let x: Vec<Vec<f64>> = (0..400).map(|_| (0..8).map(|_| next()).collect()).collect();
        let of = |x: &Vec<f64>| {
            let row = |layer: &Vec<f64>| layer.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + 3.0;
            layer.iter().map(row).collect()
        };
        let t: Vec<Vec<f64>> = x.iter().map(of).collect();
        let fitted = Regression::new(&x, &t);
        // shrunk by 1.3, the ridge being 0.3 of all eigenvalues, and scaled back
        assert!(fitted.explained > 0.9, "{}", fitted.explained);
        for (x, t) in x.iter().zip(&t).take(20) {
            let rows = fitted.weights.chunks_exact(8).zip(&fitted.bias);
            for ((weights, bias), t) in rows.zip(t) {
                let sum: f64 = weights.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
                assert!((sum + f64::from(*bias) - t).abs() < 0.1, "{sum} {bias} {t}");
            }
        }
        let unrelated: Vec<Vec<f64>> = x.iter().map(|_| (0..4).map(|_| next()).collect()).collect();
        let fitted = Regression::new(&x, &unrelated);
        assert!(fitted.explained < 0.1, "{}", fitted.explained);
    }
}
