//! Root mean square normalisation over the last axis.

use crate::graph::{NativeCall, Param, Tape, Var};
use crate::ops::native::{math, rows, rows_of_two, rows_with_cost};
use crate::ops::shared;
use crate::ops::vector_width::{VectorWidth, vector_width};

static RMSNORM: VectorWidth = vector_width!("rmsnorm", shared::REDUCE; native: &[
    ("forward", forward),
    ("backward", backward),
    ("backward_weight", backward_weight),
]);

/// Rows over which one invocation sums the gradient of the weight.
const CHUNK: usize = 32;

/// Operands of a recorded RMSNorm, for its gradients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm {
    pub x: Var,
    pub weight: Var,
    /// `[rows]`: one over the root mean square of each row.
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
        let (kernel, cols) = RMSNORM.of(width);
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

    /// Records the gradient with respect to `weight`, where wanted.
    pub fn backward_weight(&self, t: &mut Tape, dy: Var) {
        if !t.needs_grad(self.weight) {
            return;
        }
        let (rows, width) = t.rows_cols(self.x);
        let (kernel, cols) = RMSNORM.of(width);
        let chunks = rows.div_ceil(CHUNK);
        let partial = t.output(&[chunks, width]);
        t.call(kernel, "backward_weight")
            .bind("dy", dy)
            .bind("x", self.x)
            .bind("saved", self.stats)
            .bind("dweight", partial)
            .params(&params(rows, cols, self.eps))
            .elements(chunks * cols);
        let dweight = t.sum_rows(partial, width);
        t.add_grad(self.weight, dweight);
    }
}

impl Tape {
    /// Records RMSNorm (Zhang & Sennrich 2019): `y = x / sqrt(mean(x^2) + eps) * weight` over the
    /// last axis of `x: [.., c]`. `weight` is `[c]`.
    #[track_caller]
    pub fn rmsnorm(&mut self, x: Var, weight: Var, eps: f32) -> Var {
        let (rows, width) = self.rows_cols(x);
        assert!(
            self.shape(weight) == [width],
            "rmsnorm: weight of shape {:?} for x of shape {:?}",
            self.shape(weight),
            self.shape(x)
        );
        let (kernel, cols) = RMSNORM.of(width);
        let workgroup = self.row_workgroup(cols);
        let (y, stats) = (self.like(x), self.output(&[rows]));
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("weight", weight)
            .bind("y", y)
            .bind("stats", stats)
            .params(&params(rows, cols, eps))
            .constant("WG", workgroup)
            .rows(rows);
        self.record(y, &[x, weight], move |t, dy| {
            let norm = Norm {
                x,
                weight,
                stats,
                eps,
            };
            if t.needs_grad(x) {
                let dx = norm.backward(t, dy);
                t.add_grad(x, dx);
            }
            norm.backward_weight(t, dy);
        });
        y
    }
}

/// Writes RMSNorm of a row to `y`, and one over its root mean square to `stats`.
#[inline(always)]
pub(super) fn normalize(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32], stats: &mut [f32]) {
    let squares = math::dot(x, x);
    let rstd = 1.0 / (squares / x.len() as f32 + eps).sqrt();
    for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
        *y = x * rstd * weight;
    }
    stats[0] = rstd;
}

/// Writes the gradient with respect to a row `x` to `dx`.
#[inline(always)]
pub(super) fn differentiate(dy: &[f32], x: &[f32], weight: &[f32], rstd: f32, dx: &mut [f32]) {
    let products = math::sum(
        [dy, x, weight],
        #[inline(always)]
        |[dy, x, weight]| dy * weight * x * rstd,
    );
    let mean = products / x.len() as f32;
    for (((dx, dy), x), weight) in dx.iter_mut().zip(dy).zip(x).zip(weight) {
        *dx = rstd * (dy * weight - x * rstd * mean);
    }
}

fn forward(call: &NativeCall) {
    let (x, weight) = (call.read::<f32>("x"), call.read::<f32>("weight"));
    let (y, stats) = (call.write::<f32>("y"), call.write::<f32>("stats"));
    let (eps, cols) = (call.float("eps"), weight.len());
    rows_of_two(
        call,
        (y, cols),
        (stats, 1),
        #[inline(always)]
        |row, y, stats| normalize(&x[row * cols..][..cols], weight, eps, y, stats),
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
            differentiate(dy, x, weight, saved[row], dx);
        },
    );
}

fn backward_weight(call: &NativeCall) {
    let (dy, x) = (call.read::<f32>("dy"), call.read::<f32>("x"));
    let (saved, dweight) = (call.read::<f32>("saved"), call.write::<f32>("dweight"));
    let (rows, chunk) = (call.size("rows"), call.size("chunk"));
    let cols = x.len() / rows;
    rows_with_cost(
        call,
        dweight,
        cols,
        chunk.min(rows) * cols,
        #[inline(always)]
        |index, dweight| {
            dweight.fill(0.0);
            for row in index * chunk..rows.min((index + 1) * chunk) {
                let (dy, x) = (&dy[row * cols..][..cols], &x[row * cols..][..cols]);
                let rstd = saved[row];
                for ((dweight, dy), x) in dweight.iter_mut().zip(dy).zip(x) {
                    *dweight += dy * x * rstd;
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
        rows_of_zeros_stay_zero
    ];

    const EPS: f32 = 1e-5;

    fn normalized(x: &Array, weight: &Array, eps: f64) -> Vec<f64> {
        let mut y = Vec::with_capacity(x.data.len());
        for row in x.rows() {
            let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
            let rstd = 1.0 / (mean + eps).sqrt();
            y.extend(row.iter().zip(&weight.data).map(|(x, w)| x * rstd * w));
        }
        y
    }

    fn reference([x, weight]: [&Array; 2]) -> Vec<f64> {
        normalized(x, weight, EPS as f64)
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for cols in [2, 4, 31, 32, 33, 36, 576, 1028] {
            gradients(
                device,
                &[[&[3, cols], &[cols]]],
                |t, [x, w]| t.rmsnorm(x, w, EPS),
                reference,
            )?;
        }
        gradients(
            device,
            &[[&[2, 33, 8], &[8]], [&[65, 7], &[7]]],
            |t, [x, w]| t.rmsnorm(x, w, EPS),
            reference,
        )?;
        forward(
            device,
            // one value always becomes -1 or 1: the gradient with respect to x is eps alone, below
            // f32's rounding
            &[[&[70_000, 4], &[4]], [&[1, 1], &[1]]],
            |t, [x, w]| t.rmsnorm(x, w, EPS),
            reference,
        )
    }

    fn gradients_hold_past_one_dimension_of_workgroups(device: &Device) -> Outcome {
        gradients(
            device,
            &[[&[65_537, 2], &[2]]],
            |t, [x, w]| t.rmsnorm(x, w, 1.0),
            |[x, w]| normalized(x, w, 1.0),
        )
    }

    fn rows_of_zeros_stay_zero(device: &Device) -> Outcome {
        forward(
            device,
            &[[&[3, 8], &[8]], [&[3, 5], &[5]]],
            |t, [x, w]| {
                let x = t.scale(x, 0.0);
                t.rmsnorm(x, w, EPS)
            },
            |[x, _]| x.map(|_| 0.0),
        )
    }

    #[test]
    #[should_panic(expected = "rmsnorm: weight of shape [3] for x of shape [2, 4]")]
    fn rejects_a_weight_of_another_width() {
        let mut tape = crate::ops::check::device().tape();
        let (x, weight) = (tape.input(&[2, 4]), tape.input(&[3]));
        tape.rmsnorm(x, weight, EPS);
    }
}
