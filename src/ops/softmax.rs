//! Softmax over the last axis.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::{math, rows};
use crate::ops::shared;
use crate::ops::vector_width::{VectorWidth, vector_width};

static SOFTMAX: VectorWidth = vector_width!("softmax", shared::REDUCE;
    native: &[("forward", forward), ("backward", backward)]);

impl Tape {
    /// Records `y = exp(x) / sum of exp(x)` over the last axis of `x: [.., c]`.
    #[track_caller]
    pub fn softmax(&mut self, x: Var) -> Var {
        let (rows, width) = self.rows_cols(x);
        let (kernel, cols) = SOFTMAX.of(width);
        let workgroup = self.row_workgroup(cols);
        let y = self.like(x);
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("y", y)
            .param("rows", rows)
            .param("cols", cols)
            .constant("WG", workgroup)
            .rows(rows);
        self.record(y, &[x], move |t, dy| {
            let dx = t.like(x);
            t.call(kernel, "backward")
                .bind("dy", dy)
                .bind("saved", y)
                .bind("dx", dx)
                .param("rows", rows)
                .param("cols", cols)
                .constant("WG", workgroup)
                .rows(rows);
            t.add_grad(x, dx);
        });
        y
    }
}

fn forward(call: &NativeCall) {
    let (x, y) = (call.read::<f32>("x"), call.write::<f32>("y"));
    let cols = y.len() / call.size("rows");
    rows(
        call,
        y,
        cols,
        #[inline(always)]
        |row, y| {
            let x = &x[row * cols..][..cols];
            let peak = math::max(x);
            for (y, x) in y.iter_mut().zip(x) {
                *y = math::exp(x - peak);
            }
            let scale = 1.0
                / math::sum(
                    [y],
                    #[inline(always)]
                    |[y]| y,
                );
            y.iter_mut().for_each(|y| *y *= scale);
        },
    );
}

fn backward(call: &NativeCall) {
    let (saved, dy) = (call.read::<f32>("saved"), call.read::<f32>("dy"));
    let dx = call.write::<f32>("dx");
    let cols = dx.len() / call.size("rows");
    rows(
        call,
        dx,
        cols,
        #[inline(always)]
        |row, dx| {
            let (y, dy) = (&saved[row * cols..][..cols], &dy[row * cols..][..cols]);
            let product = math::dot(y, dy);
            for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = y * (dy - product);
            }
        },
    );
}

pub(super) mod checks {
    use super::*;
    use crate::device::{Device, Plan};
    use crate::graph::Capabilities;
    use crate::ops::check::{
        Array, Outcome, checks, close, close_to_scale, f32s, forward, gradients, random,
    };

    checks![
        agrees_with_its_reference,
        gradients_hold_past_one_dimension_of_workgroups,
        every_workgroup_size_reduces_correctly
    ];

    fn reference(x: &Array, factor: f64) -> Vec<f64> {
        let row = |row: &[f64]| {
            let most = row.iter().fold(f64::MIN, |most, x| most.max(factor * x));
            let sum: f64 = row.iter().map(|x| (factor * x - most).exp()).sum();
            row.iter()
                .map(|x| (factor * x - most).exp() / sum)
                .collect::<Vec<_>>()
        };
        x.rows().flat_map(row).collect()
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for cols in [1, 2, 4, 31, 32, 33, 36, 65, 512, 1000] {
            gradients(
                device,
                &[[&[1, cols]], [&[2, 3, cols]]],
                |t, [x]| t.softmax(x),
                |[x]| reference(x, 1.0),
            )?;
        }
        forward(
            device,
            &[[&[70_000, 4]], [&[70_000, 3]], [&[1, 300_000]]],
            |t, [x]| t.softmax(x),
            |[x]| reference(x, 1.0),
        )?;
        // logits up to 16,384
        forward(
            device,
            &[[&[3, 65]]],
            |t, [x]| {
                let x = t.scale(x, 8192.0);
                t.softmax(x)
            },
            |[x]| reference(x, 8192.0),
        )
    }

    fn gradients_hold_past_one_dimension_of_workgroups(device: &Device) -> Outcome {
        gradients(
            device,
            &[[&[65_600, 1]]],
            |t, [x]| t.softmax(x),
            |[x]| reference(x, 1.0),
        )
    }
    fn every_workgroup_size_reduces_correctly(device: &Device) -> Outcome {
        for workgroup in (0..9).map(|exponent| 1 << exponent) {
            for cols in [1, 36, 1025, 2052] {
                let mut tape = Tape::new(Capabilities {
                    software: false,
                    workgroup,
                    ..device.capabilities()
                });
                let (x, dy) = (tape.variable(&[3, cols]), tape.input(&[3, cols]));
                let y = tape.softmax(x);
                tape.backward(y, dy);
                let dx = tape.grad(x).unwrap();
                tape.hold(y);
                tape.hold(dx);
                let plan = Plan::new(device, tape)?;
                let data = Array {
                    shape: vec![3, cols],
                    data: random(3 * cols, 1),
                };
                plan.write(x, &f32s(&data.data));
                plan.write(dy, &vec![1f32; 3 * cols]);
                plan.run()?;
                let what = format!("{workgroup} invocations for {cols} columns");
                let y_reference = reference(&data, 1.0);
                close(&what, &plan.read(y)?, &y_reference, 0..3 * cols)?;
                // a row always sums to 1, so its gradient y - y * 1 cancels at the scale of y
                let largest = y_reference
                    .iter()
                    .fold(0.0, |largest: f64, y| largest.max(*y));
                let (dx, zeros) = (plan.read(dx)?, vec![0.0; 3 * cols]);
                close_to_scale(&what, &dx, &zeros, 0..3 * cols, largest)?;
            }
        }
        Ok(())
    }
}
