//! Layer normalisation over the last axis.

use crate::graph::{NativeCall, Param, Tape, Var};
use crate::ops::native::{math, rows, rows_of_two, rows_of_two_with_cost};
use crate::ops::shared;
use crate::ops::vector_width::{VectorWidth, vector_width};

static LAYERNORM: VectorWidth = vector_width!("layernorm", shared::REDUCE; native: &[
    ("forward", forward),
    ("backward", backward),
    ("backward_weights", backward_weights),
]);

/// Rows over which one invocation sums the gradients of weight and bias.
const CHUNK: usize = 32;

/// Operands of a recorded LayerNorm, for its gradients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm {
    pub x: Var,
    pub weight: Var,
    pub bias: Var,
    /// `[rows, 2]`: mean of each row, and one over its standard deviation.
    pub stats: Var,
    pub eps: f32,
}

fn params(rows: usize, cols: usize, eps: f32) -> [(&'static str, Param); 5] {
    [
        ("rows", rows.into()),
        ("cols", cols.into()),
        ("eps", eps.into()),
        ("chunk", CHUNK.into()),
        ("chunks", rows.div_ceil(CHUNK).into()),
    ]
}

impl Norm {
    /// Records the gradient with respect to `x`.
    pub fn backward(&self, t: &mut Tape, dy: Var) -> Var {
        let (rows, width) = t.rows_cols(self.x);
        let (kernel, cols) = LAYERNORM.of(width);
        let dx = t.like(self.x);
        let workgroup = t.row_workgroup(cols);
        t.call(kernel, "backward")
            .bind("dy", dy)
            .bind("x", self.x)
            .bind("weight", self.weight)
            .bind("saved", self.stats)
            .bind("dx", dx)
            .params(&params(rows, cols, self.eps))
            .constant("WG", workgroup)
            .rows(rows);
        dx
    }

    /// Records the gradients with respect to `weight` and `bias`, where wanted.
    pub fn backward_weights(&self, t: &mut Tape, dy: Var) {
        if !t.needs_grad(self.weight) && !t.needs_grad(self.bias) {
            return;
        }
        let (rows, width) = t.rows_cols(self.x);
        let (kernel, cols) = LAYERNORM.of(width);
        let chunks = rows.div_ceil(CHUNK);
        let (dweight, dbias) = (t.output(&[chunks, width]), t.output(&[chunks, width]));
        t.call(kernel, "backward_weights")
            .bind("dy", dy)
            .bind("x", self.x)
            .bind("saved", self.stats)
            .bind("dweight", dweight)
            .bind("dbias", dbias)
            .params(&params(rows, cols, self.eps))
            .elements(chunks * cols);
        for (v, partial) in [(self.weight, dweight), (self.bias, dbias)] {
            if t.needs_grad(v) {
                let dv = t.sum_rows(partial, width);
                t.add_grad(v, dv);
            }
        }
    }
}

impl Tape {
    /// Records LayerNorm (Ba et al. 2016): `y = (x - mean) / sqrt(variance + eps) * weight + bias`
    /// over the last axis of `x: [.., c]`, with the biased variance. `weight` and `bias` are `[c]`.
    #[track_caller]
    pub fn layernorm(&mut self, x: Var, weight: Var, bias: Var, eps: f32) -> Var {
        let (rows, width) = self.rows_cols(x);
        for (name, v) in [("weight", weight), ("bias", bias)] {
            assert!(
                self.shape(v) == [width],
                "layernorm: {name} of shape {:?} for x of shape {:?}",
                self.shape(v),
                self.shape(x)
            );
        }
        let (kernel, cols) = LAYERNORM.of(width);
        let workgroup = self.row_workgroup(cols);
        let (y, stats) = (self.like(x), self.output(&[rows, 2]));
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("weight", weight)
            .bind("bias", bias)
            .bind("y", y)
            .bind("stats", stats)
            .params(&params(rows, cols, eps))
            .constant("WG", workgroup)
            .rows(rows);
        self.record(y, &[x, weight, bias], move |t, dy| {
            let norm = Norm {
                x,
                weight,
                bias,
                stats,
                eps,
            };
            if t.needs_grad(x) {
                let dx = norm.backward(t, dy);
                t.add_grad(x, dx);
            }
            norm.backward_weights(t, dy);
        });
        y
    }
}

/// Writes LayerNorm of a row to `y`, and its mean and one over its standard deviation to `stats`.
#[inline(always)]
pub(super) fn normalize(
    x: &[f32],
    [weight, bias]: [&[f32]; 2],
    eps: f32,
    y: &mut [f32],
    stats: &mut [f32],
) {
    let count = x.len() as f32;
    let mean = math::sum(
        [x],
        #[inline(always)]
        |[x]| x,
    ) / count;
    let squares = math::sum(
        [x],
        #[inline(always)]
        |[x]| (x - mean) * (x - mean),
    );
    let rstd = 1.0 / (squares / count + eps).sqrt();
    for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
        *y = (x - mean) * rstd * weight + bias;
    }
    stats.copy_from_slice(&[mean, rstd]);
}

/// Writes the gradient with respect to a row `x` to `dx`.
#[inline(always)]
pub(super) fn differentiate(dy: &[f32], x: &[f32], weight: &[f32], stats: &[f32], dx: &mut [f32]) {
    let (mean, rstd) = (stats[0], stats[1]);
    let sums = math::sums(
        [dy, x, weight],
        #[inline(always)]
        |[dy, x, weight]| {
            let g = dy * weight;
            [g, g * (x - mean) * rstd]
        },
    );
    let [mean_g, mean_gz] = sums.map(|sum| sum / x.len() as f32);
    for (((dx, dy), x), weight) in dx.iter_mut().zip(dy).zip(x).zip(weight) {
        *dx = rstd * (dy * weight - mean_g - (x - mean) * rstd * mean_gz);
    }
}

fn forward(call: &NativeCall) {
    let (x, eps) = (call.read::<f32>("x"), call.float("eps"));
    let affine = [call.read::<f32>("weight"), call.read::<f32>("bias")];
    let (y, stats) = (call.write::<f32>("y"), call.write::<f32>("stats"));
    let cols = affine[0].len();
    rows_of_two(
        call,
        (y, cols),
        (stats, 2),
        #[inline(always)]
        |row, y, stats| normalize(&x[row * cols..][..cols], affine, eps, y, stats),
    );
}

fn backward(call: &NativeCall) {
    let (dy, x) = (call.read::<f32>("dy"), call.read::<f32>("x"));
    let (weight, saved) = (call.read::<f32>("weight"), call.read::<f32>("saved"));
    let cols = weight.len();
    rows(
        call,
        call.write::<f32>("dx"),
        cols,
        #[inline(always)]
        |row, dx| {
            let (dy, x) = (&dy[row * cols..][..cols], &x[row * cols..][..cols]);
            differentiate(dy, x, weight, &saved[2 * row..][..2], dx);
        },
    );
}

fn backward_weights(call: &NativeCall) {
    let (dy, x) = (call.read::<f32>("dy"), call.read::<f32>("x"));
    let saved = call.read::<f32>("saved");
    let (dweight, dbias) = (call.write::<f32>("dweight"), call.write::<f32>("dbias"));
    let (rows, chunk) = (call.size("rows"), call.size("chunk"));
    let cols = x.len() / rows;
    rows_of_two_with_cost(
        call,
        (dweight, cols),
        (dbias, cols),
        chunk.min(rows) * cols,
        #[inline(always)]
        |index, dweight, dbias| {
            dweight.fill(0.0);
            dbias.fill(0.0);
            for row in index * chunk..rows.min((index + 1) * chunk) {
                let (dy, x) = (&dy[row * cols..][..cols], &x[row * cols..][..cols]);
                let (mean, rstd) = (saved[2 * row], saved[2 * row + 1]);
                let sums = dweight.iter_mut().zip(dbias.iter_mut());
                for (((dweight, dbias), dy), x) in sums.zip(dy).zip(x) {
                    *dweight += dy * (x - mean) * rstd;
                    *dbias += dy;
                }
            }
        },
    );
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::ops::check::{Array, Outcome, checks, forward, gradients};

    checks![
        agrees_with_its_reference,
        gradients_hold_past_one_dimension_of_workgroups,
        large_mean_does_not_cancel
    ];

    const EPS: f32 = 1e-5;

    fn reference([x, weight, bias]: [&Array; 3]) -> Vec<f64> {
        let row = |row: &[f64]| {
            let n = row.len() as f64;
            let mean = row.iter().sum::<f64>() / n;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let rstd = 1.0 / (variance + EPS as f64).sqrt();
            let scaled = row
                .iter()
                .zip(&weight.data)
                .zip(&bias.data)
                .map(|((x, w), b)| (x - mean) * rstd * w + b);
            scaled.collect::<Vec<_>>()
        };
        x.rows().flat_map(row).collect()
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for cols in [4, 31, 32, 33, 36, 512, 1028] {
            gradients(
                device,
                &[[&[3, cols], &[cols], &[cols]]],
                |t, [x, w, b]| t.layernorm(x, w, b, EPS),
                reference,
            )?;
        }
        gradients(
            device,
            &[[&[2, 33, 8], &[8], &[8]], [&[65, 7], &[7], &[7]]],
            |t, [x, w, b]| t.layernorm(x, w, b, EPS),
            reference,
        )?;
        forward(
            device,
            &[
                [&[70_000, 4], &[4], &[4]],
                // two values always become -1 and 1: the gradient with respect to x is eps alone,
                // below f32's rounding
                [&[3, 2], &[2], &[2]],
                [&[1, 1], &[1], &[1]],
            ],
            |t, [x, w, b]| t.layernorm(x, w, b, EPS),
            reference,
        )
    }

    fn gradients_hold_past_one_dimension_of_workgroups(device: &Device) -> Outcome {
        gradients(
            device,
            &[[&[65_537, 2], &[2], &[2]]],
            |t, [x, w, b]| t.layernorm(x, w, b, 1.0),
            // `reference` of two columns without its allocation per row, which takes most of the
            // time here
            |[x, w, b]| {
                let row = |row: &[f64]| {
                    let mean = (row[0] + row[1]) / 2.0;
                    let variance = ((row[0] - mean).powi(2) + (row[1] - mean).powi(2)) / 2.0;
                    let rstd = 1.0 / (variance + 1.0).sqrt();
                    [0, 1].map(|i| (row[i] - mean) * rstd * w.data[i] + b.data[i])
                };
                x.rows().flat_map(row).collect()
            },
        )
    }

    fn large_mean_does_not_cancel(device: &Device) -> Outcome {
        let shift = |x: f64| (x as f32 + 1024.0) as f64;
        forward(
            device,
            &[[&[5, 64], &[64], &[64]]],
            |t, [x, w, b]| {
                let mean = t.fill(&[5, 64], 1024.0);
                let x = t.add(x, mean);
                t.layernorm(x, w, b, EPS)
            },
            |[x, w, b]| {
                let x = Array {
                    shape: x.shape.clone(),
                    data: x.map(shift),
                };
                reference([&x, w, b])
            },
        )
    }
}
