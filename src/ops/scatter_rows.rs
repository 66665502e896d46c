//! Replacement of rows by index, such as image tokens in a text.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::{elements, rows};
use crate::ops::vector_width::{VectorWidth, vector_width};

static SCATTER_ROWS: VectorWidth = vector_width!("scatter_rows"; native: &[
    ("copy", copy),
    ("forward", forward),
    ("clear", clear),
    ("gather", gather),
]);

impl Tape {
    /// Records a copy of `x: [.., w]` whose row `at[j]`, counted over all axes but the last, is
    /// replaced by row `j` of `rows: [.., w]`. `at: [m]` holds a `u32` for each row of `rows`, no
    /// two of them equal. An index past the last row of `x`, such as `u32::MAX`, drops its row.
    ///
    /// Rows that are replaced pass no gradient to `x`, and those that are dropped have none.
    #[track_caller]
    pub fn scatter_rows(&mut self, x: Var, rows: Var, at: Var) -> Var {
        let ((count, width), (m, rows_width)) = (self.rows_cols(x), self.rows_cols(rows));
        assert!(
            width == rows_width && self.shape(at) == [m],
            "scatter_rows: rows {:?} at {:?} in {:?}",
            self.shape(rows),
            self.shape(at),
            self.shape(x)
        );
        let (kernel, cols) = SCATTER_ROWS.of(width);
        let params = [
            ("count", count.into()),
            ("cols", cols.into()),
            ("m", m.into()),
        ];
        // the second dispatch changes the copy in place, with none in between
        let copied = move |t: &mut Tape, x: Var| {
            let y = t.like(x);
            t.call(kernel, "copy")
                .bind("x", x)
                .bind("y", y)
                .params(&params)
                .elements(count * cols);
            y
        };
        let y = copied(self, x);
        self.call(kernel, "forward")
            .bind("rows", rows)
            .bind("at", at)
            .bind("y", y)
            .params(&params)
            .elements(m * cols);
        self.record(y, &[x, rows], move |t, dy| {
            if t.needs_grad(x) {
                let dx = copied(t, dy);
                t.call(kernel, "clear")
                    .bind("at", at)
                    .bind("y", dx)
                    .params(&params)
                    .elements(m * cols);
                t.add_grad(x, dx);
            }
            if t.needs_grad(rows) {
                let drows = t.like(rows);
                t.call(kernel, "gather")
                    .bind("dy", dy)
                    .bind("at", at)
                    .bind("drows", drows)
                    .params(&params)
                    .elements(m * cols);
                t.add_grad(rows, drows);
            }
        });
        y
    }
}

fn copy(call: &NativeCall) {
    let x = call.read::<f32>("x");
    elements(
        call,
        call.write::<f32>("y"),
        #[inline(always)]
        |start, y| y.copy_from_slice(&x[start..][..y.len()]),
    );
}

fn forward(call: &NativeCall) {
    let rows = call.read::<f32>("rows");
    replace(
        call,
        #[inline(always)]
        |row, y| y.copy_from_slice(&rows[row * y.len()..][..y.len()]),
    );
}

fn clear(call: &NativeCall) {
    replace(
        call,
        #[inline(always)]
        |_, y| y.fill(0.0),
    );
}

/// Calls `write` with each row of `y` that has an index, and the place of the index.
#[inline(always)]
fn replace(call: &NativeCall, write: impl Fn(usize, &mut [f32]) + Sync) {
    let (at, y) = (call.read::<u32>("at"), call.write::<f32>("y"));
    let mut places = vec![None; call.size("count")];
    let cols = y.len() / places.len();
    for (place, row) in at.iter().enumerate() {
        if let Some(of_row) = places.get_mut(*row as usize) {
            *of_row = Some(place);
        }
    }
    rows(
        call,
        y,
        cols,
        #[inline(always)]
        |row, y| {
            if let Some(place) = places[row] {
                write(place, y);
            }
        },
    );
}

fn gather(call: &NativeCall) {
    let (dy, at) = (call.read::<f32>("dy"), call.read::<u32>("at"));
    let cols = dy.len() / call.size("count");
    rows(
        call,
        call.write::<f32>("drows"),
        cols,
        #[inline(always)]
        |row, drows| match dy.chunks_exact(cols).nth(at[row] as usize) {
            Some(dy) => drows.copy_from_slice(dy),
            None => drows.fill(0.0),
        },
    );
}

pub(super) mod checks {
    use super::*;
    use crate::device::Device;
    use crate::ops::check::{Array, Outcome, checks, forward, gradients};

    checks![
        agrees_with_its_reference,
        rows_past_the_last_are_dropped,
        gradients_hold_if_one_input_needs_them
    ];

    fn reference(x: &Array, rows: &Array, at: &[u32]) -> Vec<f64> {
        let mut y = x.data.clone();
        let mut of_y: Vec<&mut [f64]> = y.chunks_mut(rows.shape[rows.shape.len() - 1]).collect();
        for (row, &at) in rows.rows().zip(at) {
            if let Some(y) = of_y.get_mut(at as usize) {
                y.copy_from_slice(row);
            }
        }
        y
    }

    fn scattered(device: &Device, shape: &[usize], at: &[u32]) -> Outcome {
        let width = shape[shape.len() - 1];
        gradients(
            device,
            &[[shape, &[at.len(), width]]],
            |t, [x, rows]| {
                let at = t.constant(at);
                t.scatter_rows(x, rows, at)
            },
            |[x, rows]| reference(x, rows, at),
        )
    }

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for width in [1, 4, 5, 36, 1025] {
            scattered(device, &[7, width], &[3])?;
            scattered(device, &[7, width], &[6, 0, 2])?;
            scattered(device, &[2, 5, width], &[9, 1, 4, 5])?;
            scattered(device, &[3, width], &[0, 1, 2])?;
        }
        // every other row, last to first
        let at: Vec<u32> = (0..35_000).rev().map(|row| 2 * row).collect();
        forward(
            device,
            &[[&[70_000, 4], &[35_000, 4]], [&[70_001, 3], &[35_000, 3]]],
            |t, [x, rows]| {
                let at = t.constant(&at);
                t.scatter_rows(x, rows, at)
            },
            |[x, rows]| reference(x, rows, &at),
        )
    }

    fn rows_past_the_last_are_dropped(device: &Device) -> Outcome {
        for width in [3, 8] {
            scattered(device, &[4, width], &[2, 4, u32::MAX, 0, 1 << 31])?;
        }
        forward(
            device,
            &[[&[4, 8], &[2, 8]]],
            |t, [x, rows]| {
                let at = t.constant(&[u32::MAX, u32::MAX]);
                t.scatter_rows(x, rows, at)
            },
            |[x, _]| x.data.clone(),
        )
    }

    fn gradients_hold_if_one_input_needs_them(device: &Device) -> Outcome {
        let at = [4u32, 1];
        let zeros = |t: &mut Tape, shape: &[usize]| t.fill(shape, 0.0);
        let array = |shape: [usize; 2]| Array {
            data: vec![0.0; shape[0] * shape[1]],
            shape: shape.to_vec(),
        };
        gradients(
            device,
            &[[&[5, 6]]],
            |t, [x]| {
                let (rows, at) = (zeros(t, &[2, 6]), t.constant(&at));
                t.scatter_rows(x, rows, at)
            },
            |[x]| reference(x, &array([2, 6]), &at),
        )?;
        gradients(
            device,
            &[[&[2, 6]]],
            |t, [rows]| {
                let (x, at) = (zeros(t, &[5, 6]), t.constant(&at));
                t.scatter_rows(x, rows, at)
            },
            |[rows]| reference(&array([5, 6]), rows, &at),
        )
    }

    #[test]
    #[should_panic(expected = "scatter_rows: rows [2, 8] at [3] in [4, 8]")]
    fn rejects_another_number_of_indices() {
        let mut tape = crate::ops::check::device().tape();
        let (x, rows, at) = (tape.input(&[4, 8]), tape.input(&[2, 8]), tape.input(&[3]));
        tape.scatter_rows(x, rows, at);
    }
}
