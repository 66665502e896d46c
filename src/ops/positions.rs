//! Position embeddings, counted from a start for each row of a batch.

use crate::graph::{NativeCall, Tape, Var};
use crate::ops::native::{rows, rows_with_cost};
use crate::ops::vector_width::{VectorWidth, vector_width};

static POSITIONS: VectorWidth =
    vector_width!("positions"; native: &[("forward", forward), ("backward", backward)]);

impl Tape {
    /// Records `y[b, i] = x[b, i] + table[start[b] + i]` with `x: [b, t, c]`, `table: [max, c]` and
    /// `start: [b]` of `u32`, or `[1]` for the whole batch. `start + t` must not exceed `max`:
    /// positions past the table take its last row, without a gradient.
    #[track_caller]
    pub fn positions(&mut self, x: Var, table: Var, start: Var) -> Var {
        let (shape, &[rows, table_width]) = (self.shape(x), self.shape(table)) else {
            panic!("positions: table {:?}, want [max, c]", self.shape(table))
        };
        let &[batch, length, width] = shape else {
            panic!("positions: x {shape:?}, want [b, t, c]")
        };
        assert!(
            width == table_width
                && length <= rows
                && (self.len(start) == 1 || self.len(start) == batch),
            "positions: x {shape:?} with table {:?} and start {:?}",
            self.shape(table),
            self.shape(start)
        );
        let (kernel, cols) = POSITIONS.of(width);
        let y = self.like(x);
        let params = [
            ("batch", batch.into()),
            ("length", length.into()),
            ("rows", rows.into()),
            ("cols", cols.into()),
            ("start_stride", (self.len(start) == batch).into()),
        ];
        self.call(kernel, "forward")
            .bind("x", x)
            .bind("table", table)
            .bind("start", start)
            .bind("y", y)
            .params(&params)
            .elements(batch * length * cols);
        self.record(y, &[x, table], move |t, dy| {
            t.add_grad(x, dy);
            if t.needs_grad(table) {
                let dtable = t.like(table);
                t.call(kernel, "backward")
                    .bind("dy", dy)
                    .bind("start", start)
                    .bind("dtable", dtable)
                    .params(&params)
                    .elements(rows * cols);
                t.add_grad(table, dtable);
            }
        });
        y
    }
}

fn forward(call: &NativeCall) {
    let (x, table) = (call.read::<f32>("x"), call.read::<f32>("table"));
    let (start, stride) = (call.read::<u32>("start"), call.size("start_stride"));
    let (length, last) = (call.size("length"), call.size("rows") - 1);
    let cols = table.len() / (last + 1);
    rows(
        call,
        call.write::<f32>("y"),
        cols,
        #[inline(always)]
        |row, y| {
            let first = start[row / length * stride];
            let place = (first.wrapping_add((row % length) as u32) as usize).min(last);
            let (x, position) = (&x[row * cols..][..cols], &table[place * cols..][..cols]);
            for ((y, x), position) in y.iter_mut().zip(x).zip(position) {
                *y = x + position;
            }
        },
    );
}

fn backward(call: &NativeCall) {
    let (dy, dtable) = (call.read::<f32>("dy"), call.write::<f32>("dtable"));
    let (start, stride) = (call.read::<u32>("start"), call.size("start_stride"));
    let (batch, length) = (call.size("batch"), call.size("length"));
    let cols = dtable.len() / call.size("rows");
    rows_with_cost(
        call,
        dtable,
        cols,
        batch * cols,
        #[inline(always)]
        |row, dtable| {
            dtable.fill(0.0);
            for b in 0..batch {
                // below start this wraps around to a large number
                let place = (row as u32).wrapping_sub(start[b * stride]) as usize;
                if place < length {
                    let dy = &dy[(b * length + place) * cols..][..cols];
                    for (dtable, dy) in dtable.iter_mut().zip(dy) {
                        *dtable += dy;
                    }
                }
            }
        },
    );
}

pub(super) mod checks {
    use super::*;
    use crate::device::Device;
    use crate::ops::check::{Array, Outcome, checks, forward, gradients};

    checks![agrees_with_its_reference];

    fn agrees_with_its_reference(device: &Device) -> Outcome {
        for starts in [&[0][..], &[1], &[5], &[3, 0, 5]] {
            let reference = |[x, table]: [&Array; 2]| {
                let (length, cols) = (x.shape[1], x.shape[2]);
                let start = |row: usize| starts[row / length % starts.len()] as usize;
                let place = |i: usize| (start(i / cols) + i / cols % length) * cols + i % cols;
                x.data
                    .iter()
                    .enumerate()
                    .map(|(i, x)| x + table.data[place(i)])
                    .collect()
            };
            let op = |t: &mut Tape, [x, table]: [Var; 2]| {
                let start = t.constant(starts);
                t.positions(x, table, start)
            };
            gradients(
                device,
                &[[&[3, 2, 4], &[9, 4]], [&[3, 7, 5], &[12, 5]]],
                op,
                reference,
            )?;
            if starts.len() > 1 {
                continue;
            }
            gradients(
                device,
                &[
                    [&[1, 1, 1], &[6, 1]],
                    [&[2, 31, 33], &[36, 33]],
                    [&[5, 16, 64], &[21, 64]],
                    [&[2, 511, 2], &[516, 2]],
                ],
                op,
                reference,
            )?;
            forward(
                device,
                &[[&[70_000, 1, 4], &[6, 4]], [&[1, 70_000, 1], &[70_005, 1]]],
                op,
                reference,
            )?;
        }
        Ok(())
    }
}
