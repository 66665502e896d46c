//! Scaling of rows to one length, which makes products of rows cosines.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::{math, rows, rows_of_two};
use crate::ops::shared;
use crate::ops::vector_width::{VectorWidth, vector_width};

static L2_NORMALIZE: VectorWidth = vector_width!("l2_normalize", shared::REDUCE;
    native: &[("forward", forward), ("backward", backward)]);

impl Tape {
    /// Records `y = length * x / sqrt(sum of x * x + 1e-12)` over the last axis of `x: [.., c]`.
    #[track_caller]
    pub fn l2_normalize(&mut self, x: Var, length: f32) -> Var {
        let (rows, width) = self.rows_cols(x);
        let (kernel, cols) = L2_NORMALIZE.of(width);
        let workgroup = self.row_workgroup(cols);
        let (y, inverse) = (self.like(x), self.output(&[rows]));
        let params = [
            ("rows", rows.into()),
            ("cols", cols.into()),
            ("length", length.into()),
        ];
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("y", y)
            .bind("inverse", inverse)
            .params(&params)
            .constant("WG", workgroup)
            .rows(rows);
        self.record(y, &[x], move |t, dy| {
            let dx = t.like(x);
            t.call(kernel, "backward")
                .bind("dy", dy)
                .bind("x", x)
                .bind("saved", inverse)
                .bind("dx", dx)
                .params(&params)
                .constant("WG", workgroup)
                .rows(rows);
            t.add_grad(x, dx);
        });
        y
    }
}

fn forward(call: &NativeCall) {
    let (x, length) = (call.read::<f32>("x"), call.float("length"));
    let (y, inverse) = (call.write::<f32>("y"), call.write::<f32>("inverse"));
    let cols = x.len() / inverse.len();
    rows_of_two(
        call,
        (y, cols),
        (inverse, 1),
        #[inline(always)]
        |row, y, inverse| {
            let x = &x[row * cols..][..cols];
            let scale = 1.0 / (math::dot(x, x) + 1e-12).sqrt();
            for (y, x) in y.iter_mut().zip(x) {
                *y = length * scale * x;
            }
            inverse[0] = scale;
        },
    );
}

fn backward(call: &NativeCall) {
    let (x, dy) = (call.read::<f32>("x"), call.read::<f32>("dy"));
    let (saved, length) = (call.read::<f32>("saved"), call.float("length"));
    let cols = x.len() / saved.len();
    rows(
        call,
        call.write::<f32>("dx"),
        cols,
        #[inline(always)]
        |row, dx| {
            let (x, dy) = (&x[row * cols..][..cols], &dy[row * cols..][..cols]);
            let scale = saved[row];
            let along = math::dot(x, dy) * scale * scale;
            for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
                *dx = length * scale * (dy - along * x);
            }
        },
    );
}

pub(super) mod checks {
    use crate::device::Device;
    use crate::ops::check::{Array, Outcome, checks, forward, gradients};

    checks![agrees_with_its_reference, zero_rows_stay_zero];

    fn reference(x: &Array, length: f64) -> Vec<f64> {
        let row = |row: &[f64]| {
            let norm = (row.iter().map(|x| x * x).sum::<f64>() + 1e-12).sqrt();
            row.iter().map(|x| length * x / norm).collect::<Vec<_>>()
        };
        x.rows().flat_map(row).collect()
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for cols in [2, 3, 4, 31, 32, 33, 64, 192, 1000] {
            gradients(
                device,
                &[[&[1, cols]], [&[2, 3, cols]], [&[65, cols]]],
                |t, [x]| t.l2_normalize(x, 20.0),
                |[x]| reference(x, 20.0),
            )?;
        }
        forward(
            device,
            &[[&[70_000, 4]], [&[70_000, 3]]],
            |t, [x]| t.l2_normalize(x, 1.0),
            |[x]| reference(x, 1.0),
        )
    }

    fn zero_rows_stay_zero(device: &Device) -> Outcome {
        forward(
            device,
            &[[&[3, 8]]],
            |t, [x]| {
                let nothing = t.scale(x, 0.0);
                t.l2_normalize(nothing, 20.0)
            },
            |[x]| x.map(|_| 0.0),
        )
    }
}
